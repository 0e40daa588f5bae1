"""`holdfire pull` against a peer on a cable that plays a station, an unlucky one, or a hostile one: whatever it sends,
the command ends with a reason, the file holds whole records that were verified, and the rest is kept apart."""

import base64
import binascii
import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
import serial

from holdfire import cli, clips, pull, pulled, times
from holdfire.statement import check
from holdfire.verify import Verifier
from holdfire_protocol import clip, fields, frame, line, record
from tests.mpy import REPO

from .made import START_US, Base, Signer, impulse, lines_of, status

sys.path.insert(0, str(REPO / "tools"))

from simulate.cable import Cable

pytestmark = pytest.mark.timeout(120)
LONG_S = PATIENCE_S = 60  # nothing is measured: how long a busy machine may take
MINUTE_US = 60_000_000
COUNT = 14


def sealed(text):
    return b"%s %08x\r\n" % (text.encode(), binascii.crc32(text.encode()))


class Peer:
    """Answers as a station does, from `messages` and `clips`, both by number. Tests replace its methods."""

    def __init__(self, folder, signer, messages, kept_clips=None):
        self.signer, self.messages, self.clips = signer, messages, kept_clips or {}
        self.asked = []
        self.cable = Cable(folder / "port")
        self._stdin, to_station = os.pipe()
        from_station, self._stdout = os.pipe()
        self.cable.attach(to_station, from_station)
        self.cable.plug()
        self.port = str(self.cable.path)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self):
        self.cable.close()
        os.close(self._stdout)

    def say(self, data):
        with contextlib.suppress(OSError):  # the test is over
            os.write(self._stdout, data)

    def _run(self):
        buffer = b""
        while True:
            with contextlib.suppress(OSError):
                data = os.read(self._stdin, 4096)
                if not data:
                    os.close(self._stdin)
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for words in (text.decode("ascii", "replace").split() for text in lines):
                    if words:
                        self.asked.append(" ".join(words))
                        getattr(self, "on_" + words[0], self.on_other)(*words[1:])

    def on_other(self, *_):
        self.say(b"error: no such command; `help` lists them\r\n")

    def on_identity(self):
        kid, public = self.signer.kid.hex(), self.signer.public.hex()
        self.say(f"identity network={self.signer.network.hex()} public={public} kid={kid}\r\n".encode())

    def on_enrolment(self, challenge):
        self.say(b"enrolment " + self.signer.statement(challenge=bytes.fromhex(challenge)).hex().encode() + b"\r\n")

    def on_pull(self, first):
        sent = [seq for seq in sorted(self.messages) if seq >= int(first)][:6]
        self.list(first, sent)
        for seq in sent:
            self.send(seq)

    def list(self, first, sent, last=None):
        said = ",".join(map(str, sent)) or "none"
        newest = max(self.messages, default=0) if last is None else last
        self.say(sealed(f"pull first={first} sent={said} last={newest}"))

    def send(self, seq):
        self.say(lines_of(self.messages[seq], network=self.signer.network)[0])

    def on_clips(self, number=None, offset="0"):
        if number is None:
            self.say(sealed(f"clips first={min(self.clips)} last={max(self.clips)}" if self.clips else "clips none"))
        elif int(number) not in self.clips:
            self.say(sealed(f"clip {number} none"))
        else:
            self.piece(int(number), int(offset))

    def piece(self, number, offset, size=256):
        data = self.clips[number]
        text = base64.b64encode(data[offset : offset + size]).decode()
        self.say(sealed(f"clip {number} {offset} {len(data)} {text}"))


def some_clips(count, seed=1, boot=1):
    """A chain of clips, by number; the third is as new as the newest of `some_records`."""
    made, prev = {}, bytes(32)
    for number in range(1, count + 1):
        blocks = b"".join(bytes((number % 9,)) + bytes((seed + i) & 255 for i in range(32)) for _ in range(20))
        named = {"number": number, "prev": prev, "boot": boot, "start_us": (COUNT - 3 + number) * MINUTE_US,
                 "rate_hz": 1000, "data": blocks}  # fmt: skip
        made[number] = clip.encode(named)
        prev = hashlib.sha256(made[number]).digest()
    return made


def some_records(signer, count=COUNT, **of_last):
    """Alerts and status records, one a minute; `of_last` goes into the last one's status."""
    made = {}
    for number in range(1, count + 1):
        at_us = START_US + number * MINUTE_US
        if number == count and of_last:
            made[number] = signer.make(at_us, status=status(**of_last))
        else:
            content = {"status": status()} if number % 4 == 0 else {"observations": [impulse()]}
            made[number] = signer.make(at_us, **content)
    return made


@pytest.fixture(autouse=True)
def _later(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: START_US + 60 * MINUTE_US)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A peer that is enrolled station Ridge in ./holdfire-data, with records; its cable is closed at the end."""
    monkeypatch.chdir(tmp_path)
    ridge = Signer("Ridge", 1)
    Base(tmp_path / "holdfire-data", ridge, Signer("Bridge", 2))
    kept = some_clips(3)
    peer = Peer(tmp_path, ridge, some_records(ridge, clips=hashlib.sha256(kept[2]).digest()), kept)
    yield peer
    peer.close()


def run(peer, capsys, *options, timeout=PATIENCE_S):
    code = cli.main(["pull", peer.port, "-o", "out.cbor", "--timeout", str(timeout), *options])
    told = capsys.readouterr()
    return code, told.out, told.err


def whole(peer):
    return b"".join(peer.messages[seq] for seq in sorted(peer.messages))


def refusals():
    with open("out.cbor.refused") as file:
        return [json.loads(row) for row in file]


def test_records_and_clips_are_copied_byte_for_byte_and_summed_up(made, capsys, tmp_path):
    code, out, err = run(made, capsys)
    assert code == 0, out + err
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)
    kept = {path.read_bytes() for path in (tmp_path / "out-clips").glob("*.cbor")}
    assert kept == set(made.clips.values())
    assert len(list((tmp_path / "out-clips").glob("*.wav"))) == 3
    assert "DID NOT COME" not in out
    assert "14 records, numbers 1 to 14" in out and "unbroken  records 1 to 14" in out
    assert "proven   2 of 3 clips" in out and "not yet  1 clip" in out and "proven by record 14" in out
    assert "records: 14 of 14" in err and "clips: 3 of 3" in err
    assert not (tmp_path / "out.cbor.refused").exists()


def test_the_file_is_one_that_verify_and_import_take(made, capsys, tmp_path):
    assert run(made, capsys)[0] == 0
    assert cli.main(["verify", "out.cbor"]) == 0
    assert cli.main(["import", "out.cbor"]) == 0
    assert "stored         14 records" in capsys.readouterr().out


def test_a_second_pull_takes_what_is_new_and_no_proven_clip_again(made, capsys, tmp_path):
    newest = made.messages.pop(COUNT)
    assert run(made, capsys)[0] == 0
    made.messages[COUNT] = newest
    made.asked.clear()
    code, out, _ = run(made, capsys)
    assert code == 0 and "1 record, 13 were there before" in out
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)
    assert [text for text in made.asked if text.startswith("pull")] == ["pull 13"]
    asked = [text for text in made.asked if text.startswith("clips ")]
    assert asked[:2] == ["clips 1 0", "clips 2 0"] and {text[:8] for text in asked[2:]} == {"clips 3 "}


@pytest.mark.parametrize("left", [1, 9, 100])
def test_a_torn_end_is_cut_off_and_told(made, capsys, tmp_path, left):
    (tmp_path / "out.cbor").write_bytes(made.messages[1] + made.messages[2] + made.messages[3][:left])
    code, out, err = run(made, capsys)
    assert code == 0 and f"{left} bytes of a torn record at its end were cut off" in err
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_zeros_that_a_laptop_without_power_leaves_are_cut_off(made, capsys, tmp_path):
    (tmp_path / "out.cbor").write_bytes(made.messages[1] + bytes(4096))
    assert run(made, capsys)[0] == 0
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def others():
    bridge = Signer("Bridge", 2)
    ridge = Signer("Ridge", 1)
    first, second, third = (ridge.make(START_US + n * MINUTE_US, status=status()) for n in (1, 2, 3))
    return [
        (b"notes of a meeting\n", "no signed record"),
        (bridge.make(START_US, status=status()), "holds records of Bridge, and Ridge is on the port"),
        (first[:-1] + bytes([first[-1] ^ 1]), "bad-signature"),
        (second + first, "record 1 at byte"),
        (first + b"\xff" + second, "damaged: what stands at byte"),
        (first + second[:50] + bytes(2000), "damaged: what stands at byte"),
        (first + second[:17] + b"\x57" + second[18:] + third, "damaged: what stands at byte"),  # a bit of its length
    ]


@pytest.mark.parametrize("content, words", others())
def test_a_file_that_is_not_its_own_is_never_written_to(made, capsys, tmp_path, content, words):
    (tmp_path / "out.cbor").write_bytes(content)
    code, _, err = run(made, capsys)
    assert code == 2 and words in err and "name another" in err
    assert (tmp_path / "out.cbor").read_bytes() == content


def test_what_is_no_file_is_not_waited_for(made, capsys):
    code = cli.main(["pull", made.port, "-o", "/dev/zero"])
    assert code == 2 and "is no file" in capsys.readouterr().err


def test_the_lines_that_the_specification_shows_are_ones_that_are_believed():
    section = (REPO / "protocol" / "SPEC.md").read_text().split("### Fetching what a station holds")[1]
    shown = [row[16:] for row in section.split("```")[1].splitlines() if row]
    assert len(shown) == 5
    for text, pattern in zip(shown, (pull._PULL, pull._PULL, pull._CLIPS, pull._CLIP, pull._CLIP), strict=True):
        assert pattern.fullmatch(pull._unsealed(text.encode()))


def test_clips_are_judged_again_offline_by_verify(made, capsys, tmp_path):
    assert run(made, capsys)[0] == 0
    words = ["verify", "out.cbor", "--clips", "out-clips"]
    assert cli.main(words) == 0 and "proven by record 14" in capsys.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["clips"]
    assert [one["number"] for one in told] == [1, 2, 3] and [one["too_new"] for one in told] == [False, False, True]
    assert told[0]["proven_by"] == {"seq": 14, "hash": hashlib.sha256(made.messages[14]).hexdigest()}
    (first,) = (tmp_path / "out-clips").glob("000001-*.cbor")
    first.write_bytes(clip.encode({**clip.decode(made.clips[1]), "data": bytes(33)}))
    assert cli.main(words) == 1 and "NOT PROVEN  1 clip" in capsys.readouterr().out
    first.write_bytes(b"RIFF")
    assert cli.main(words) == 1 and f"NO CLIP  {first.name}" in capsys.readouterr().out
    assert cli.main([*words[:-1], "nowhere"]) == 2
    two = Signer("Bridge", 2).make(START_US, status=status())
    (tmp_path / "two.cbor").write_bytes(whole(made) + two)
    assert cli.main(["verify", "two.cbor", "--clips", "out-clips"]) == 2


# What a bad line or a bad peer does


def test_a_damaged_line_is_asked_for_again(made, capsys, tmp_path):
    damaged = []

    def send(seq):
        text = lines_of(made.messages[seq])[0]
        if seq == 3 and not damaged:
            damaged.append(seq)
            text = text[:20] + b"A" + text[21:] if text[20:21] != b"A" else text[:20] + b"B" + text[21:]
        made.say(text)

    made.send = send
    code, out, _ = run(made, capsys)
    assert code == 0 and "1 damaged line, asked for again" in out
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_noise_endless_lines_and_forged_answers_between_are_passed_over(made, capsys, tmp_path):
    honest = made.on_pull

    def on_pull(first):
        made.say(b"!HF1:AAAA\r\n\xff\x00\x1b[2J\r\n" + b"x" * 100_000)
        made.say(b"\r\npull first=%b sent=none last=0 00000000\r\nerrorr: no\r\n" % first.encode())
        honest(first)
        made.say(sealed(f"pull first={int(first) - 1} sent=none last=0"))  # to another question

    made.on_pull = on_pull
    assert run(made, capsys)[0] == 0
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_a_question_that_the_line_damaged_is_asked_again(made, capsys, tmp_path):
    honest, refused = made.on_pull, []

    def on_pull(first):
        if first not in refused:
            refused.append(first)
            made.say(b"error: pvll: no such command; `help` lists them\r\n")
        else:
            honest(first)

    made.on_pull = on_pull
    assert run(made, capsys)[0] == 0
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_a_forged_record_is_kept_apart_and_the_rest_is_taken(made, capsys, tmp_path):
    genuine = made.messages[3]
    made.messages[3] = genuine[:-1] + bytes([genuine[-1] ^ 1])
    code, out, err = run(made, capsys)
    assert code == 1 and "REFUSED bad-signature" in err
    assert "DID NOT COME  number 3" in out and "missing   number 3" in out
    assert (tmp_path / "out.cbor").read_bytes() == whole(made).replace(made.messages[3], b"")
    (row,) = refusals()  # once, however often it was sent
    assert row["reason"] == "bad-signature" and base64.b64decode(row["bytes"]) == made.messages[3]


def test_a_genuine_record_of_another_station_is_refused(made, capsys, tmp_path):
    foreign = Signer("Bridge", 2).make(START_US, status=status())
    honest = made.on_pull

    def on_pull(first):
        made.say(lines_of(foreign)[0])
        made.say(line.encode(frame.encode(fields.FRAME_RECORD, bytes(16)[::-1] + b"x", foreign)))
        honest(first)

    made.on_pull = on_pull
    code, _, _ = run(made, capsys)
    assert code == 1 and (tmp_path / "out.cbor").read_bytes() == whole(made)
    assert {row["reason"] for row in refusals()} == {"unknown-station", "wrong-network"}


def test_a_number_that_was_signed_twice_shows_when_the_last_record_is_fetched_again(made, capsys, tmp_path):
    before = Signer("Ridge", 1)
    other = some_records(before, 5)
    named = before.fields_of(START_US + 5 * MINUTE_US, status=status(impulses=9))
    fifth = before.sign({**named, "seq": 5, "restart": fields.RESTART_UNCLEAN})
    assert other[5] == made.messages[5]
    (tmp_path / "out.cbor").write_bytes(b"".join(other[seq] for seq in range(1, 5)) + fifth)
    code, _, err = run(made, capsys)
    assert code == 1 and "REFUSED sequence-reuse" in err
    (row,) = refusals()
    assert base64.b64decode(row["bytes"]) == made.messages[5]


def test_of_two_records_with_one_number_in_one_answer_none_is_lost(made, capsys, tmp_path):
    before = Signer("Ridge", 1)
    some_records(before, 2)
    other = before.make(START_US + 3 * MINUTE_US, status=status(impulses=9))
    honest = made.send

    def send(seq):
        honest(seq)
        if seq == 3:
            made.say(lines_of(other)[0])

    made.send = send
    code, _, err = run(made, capsys)
    assert code == 1 and "REFUSED sequence-reuse" in err and (tmp_path / "out.cbor").read_bytes() == whole(made)
    (row,) = refusals()
    assert base64.b64decode(row["bytes"]) == other


def test_records_are_on_the_disk_before_the_first_clip_is_asked_for(made, capsys, monkeypatch):
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (made.asked.append("fsync"), sync(fd))[1])
    monkeypatch.setattr(pulled, "SYNC_S", 1000.0)
    assert run(made, capsys)[0] == 0
    assert "fsync" in made.asked[: made.asked.index("clips")]


def test_a_broken_chain_is_told_at_once_and_fails_the_whole(made, capsys):
    ridge = Signer("Ridge", 1)
    some_records(ridge, 6)
    ridge.prev = bytes(32)
    made.messages = {**{seq: made.messages[seq] for seq in range(1, 7)}, 7: ridge.make(START_US + 7 * MINUTE_US,
                                                                                     status=status())}  # fmt: skip
    code, out, err = run(made, capsys)
    assert code == 1 and "CHAIN BREAK: record 7 does not follow record 6" in err and "1 check FAILED" in out


def test_a_chain_that_began_anew_after_its_journal_was_lost_goes_into_the_same_file(made, capsys):
    ridge = Signer("Ridge", 1)
    made.messages = some_records(ridge, 6)
    assert run(made, capsys)[0] == 0
    ridge.prev = record.genesis(ridge.network, ridge.public)
    restart = ridge.make(START_US + 7 * MINUTE_US, status=status(), restart=fields.RESTART_JOURNAL_LOST)
    made.messages = {7: restart, 8: ridge.make(START_US + 8 * MINUTE_US, status=status())}
    code, out, err = run(made, capsys)
    assert code == 0 and "BREAK" not in err
    assert "8 records, numbers 1 to 8" in out and "lost its journal before record 7" in out


def test_a_station_that_makes_records_as_fast_as_they_are_pulled_does_not_keep_it_for_ever(made, capsys):
    honest = made.on_pull

    def on_pull(first):
        for _ in range(6):
            message = made.signer.make(START_US + 20 * MINUTE_US, status=status())
            made.messages[made.signer.seq] = message
        honest(first)

    made.on_pull = on_pull
    assert run(made, capsys)[0] == 0
    assert len([text for text in made.asked if text.startswith("pull")]) == 4  # 14 and the first 6


def test_declared_and_undeclared_gaps_are_told_apart(made, capsys):
    ridge = Signer("Ridge", 1)
    messages = some_records(ridge, 6)
    messages[7] = ridge.make(START_US + 7 * MINUTE_US, thinned=[(2, 3)])
    for seq in (2, 3, 5):
        del messages[seq]
    made.messages = messages
    code, out, _ = run(made, capsys)
    assert code == 0 and "missing   number 5" in out and "2 routine records" in out.replace("numbers 2 to 3", "")


def hostile():
    """(what the peer does instead, how long an answer is waited for, exit code, words that say why)."""

    def backwards(peer):
        peer.on_pull = lambda first: peer.list(first, [int(first) + 2, int(first) + 1])

    def before_first(peer):
        peer.on_pull = lambda first: peer.list(first, [int(first) - 1, int(first)])

    def beyond_last(peer):
        peer.on_pull = lambda first: peer.list(first, [int(first), int(first) + 1], last=int(first))

    def never_ends(peer):
        peer.on_pull = lambda first: peer.list(first, range(int(first), int(first) + 6), last=0xFFFFFFFF)

    def silent(peer):
        peer.on_pull = lambda _: None

    def only_noise(peer):
        peer.on_pull = lambda _: peer.say(b"noise " * 10_000)

    def old(peer):
        peer.on_pull = lambda _: peer.say(b"error: pull: no such command; `help` lists them\r\n")

    def refuses(peer):
        peer.on_pull = lambda _: peer.say(b"error: not enrolled: there are no \x07records\r\n")

    def floods(peer):
        def on_pull(first):
            for number in range(400):
                forged = bytearray(peer.messages[1])
                forged[-3:] = number.to_bytes(3, "big")
                peer.say(lines_of(bytes(forged))[0])

        peer.on_pull = on_pull

    def many_clips(peer):
        peer.on_clips = lambda *_: peer.say(sealed("clips first=1 last=4294967295"))

    def no_clips(peer):
        peer.on_clips = lambda number=0, _=0: peer.say(
            sealed(f"clip {number} none" if number else "clips first=1 last=9999")
        )

    def tiny_pieces(peer):
        honest = peer.on_clips
        peer.on_clips = lambda *words: peer.piece(int(words[0]), int(words[1]), 9) if words else honest()

    def huge_clip(peer):
        peer.clips[1] = bytes(5000)

    return [
        (never_ends, 2, 4, "6 records in a row"), (silent, 0.4, 4, "no longer answers"),
        (only_noise, 0.4, 4, "no longer answers"), (old, 0.4, 4, "holdfire update"), (refuses, 0.4, 4, "there are no"),
        (backwards, LONG_S, 4, "contradicts itself"), (before_first, LONG_S, 4, "contradicts itself"),
        (beyond_last, LONG_S, 4, "contradicts itself"), (floods, LONG_S, 4, "200 messages were refused"),
        (many_clips, LONG_S, 4, "not believed"), (no_clips, LONG_S, 4, "20 clips in a row"),
        (tiny_pieces, LONG_S, 4, "do not fit together"),
        (huge_clip, LONG_S, 4, "do not fit together"),
    ]  # fmt: skip


@pytest.mark.parametrize("change, answer_s, code, words", [pytest.param(*row, id=row[0].__name__) for row in hostile()])
def test_whatever_a_peer_does_there_is_an_end_with_a_reason_and_how_to_go_on(
    made, capsys, monkeypatch, change, answer_s, code, words
):
    change(made)
    monkeypatch.setattr(pull, "ANSWER_S", answer_s)
    monkeypatch.setattr(pull, "MISSED_AT_ONCE", 6)  # the first answer's: less to wait for
    ended, _, err = run(made, capsys)
    last = err.splitlines()[-1]
    assert ended == code and words in last and "go on with: holdfire pull" in last and "\x07" not in err


def test_a_clip_that_is_none_is_refused_and_one_that_was_altered_is_not_proven(made, capsys, tmp_path):
    altered = clip.decode(made.clips[1])
    altered["data"] = bytes(33)
    made.clips[1] = clip.encode(altered)
    code, out, _ = run(made, capsys)
    assert code == 1 and "proven      1 of 3 clips" in out and "NOT PROVEN  1 clip" in out
    made.clips[3] = b"\xa0" + made.clips[3][1:]
    assert run(made, capsys)[0] == 1
    assert [row["reason"] for row in refusals()] == ["not-canonical"]
    made.clips = {2: made.clips[2], 4: made.clips[2]}
    run(made, capsys)
    assert refusals()[-1]["text"] == "clip 4: number: 2, asked for 4"


def test_a_clip_that_came_altered_is_fetched_again_when_somebody_else_brings_it(made, capsys, tmp_path):
    """Its beginning is right, so is its length: only what records prove need not be fetched."""
    genuine = made.clips[1]
    made.clips[1] = genuine[:-1] + bytes([genuine[-1] ^ 1])
    code, out, _ = run(made, capsys)
    assert code == 1 and "NOT PROVEN  1 clip" in out
    made.clips[1] = genuine
    run(made, capsys)
    kept = {path.read_bytes() for path in (tmp_path / "out-clips").glob("000001-*.cbor")}
    assert genuine in kept and len(kept) == 2


def test_a_clip_older_than_a_status_record_that_does_not_know_it_is_not_called_new(made, capsys):
    forged = {**clip.decode(made.clips[3]), "start_us": (COUNT - 1) * MINUTE_US + 1}
    made.clips[3] = clip.encode(forged)
    code, out, _ = run(made, capsys)
    assert code == 1 and "NOT PROVEN  1 clip" in out


@pytest.mark.parametrize("kept_back", [(1, 2, 3), (2,)])
def test_a_clip_that_a_record_names_and_that_does_not_come_is_told(made, capsys, kept_back):
    """Somebody on the cable could keep clips back; the ring overwrites the oldest, and never the newest."""
    for number in kept_back:
        del made.clips[number]
    _, out, _ = run(made, capsys)
    assert "DID NOT COME  the newest clip that a record names, record 14" in out


def test_a_device_that_goes_and_comes_brings_no_more_clips_than_a_station_holds(made, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(pull, "CLIPS_MOST", 4)
    honest = made.on_clips

    def on_clips(*words):
        if words[:1] == ("3",):
            made.clips = some_clips(3, seed=len(made.asked))  # others
            made.cable.unplug()
            made.cable.plug()
        else:
            honest(*words)

    made.on_clips = on_clips
    code, _, err = run(made, capsys)
    assert code == 4 and "not believed" in err.splitlines()[-1]
    assert len(list((tmp_path / "out-clips").glob("*.cbor"))) <= 4


@pytest.mark.parametrize("place", [
    lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir(),
    lambda path: path.write_bytes(bytes(1 << 16)),
])  # fmt: skip
def test_a_folder_from_somebody_else_keeps_nobody_waiting(made, capsys, tmp_path, place):
    assert run(made, capsys)[0] == 0
    place(tmp_path / "out-clips" / "000000-trap.cbor")
    assert cli.main(["verify", "out.cbor", "--clips", "out-clips"]) == 1
    assert "NO CLIP  000000-trap.cbor" in capsys.readouterr().out


def test_a_piece_of_a_clip_that_the_line_damaged_is_asked_for_again(made, capsys, tmp_path):
    honest, damaged = made.piece, []

    def piece(number, offset):
        if (number, offset) == (2, 256) and not damaged:
            damaged.append(1)
            data = made.clips[number]
            made.clips[number] = data[:300] + b"\x01" + data[301:]
            said = made.say
            made.say = lambda text: said(text[:-10] + b"00000000\r\n")
            honest(number, offset)
            made.say, made.clips[number] = said, data
        else:
            honest(number, offset)

    made.piece = piece
    assert run(made, capsys)[0] == 0
    assert {path.read_bytes() for path in (tmp_path / "out-clips").glob("*.cbor")} == set(made.clips.values())


# Who is on the port


def test_a_station_that_forgot_what_the_file_has_is_not_mixed_into_it(made, capsys, tmp_path):
    assert run(made, capsys)[0] == 0
    before = (tmp_path / "out.cbor").read_bytes()
    made.messages = {seq: made.messages[seq] for seq in (1, 2)}
    code, _, err = run(made, capsys)
    assert code == 2 and "it lost its memory" in err and (tmp_path / "out.cbor").read_bytes() == before


def test_a_station_that_is_not_in_the_registry_or_of_another_network_is_refused(made, capsys, tmp_path):
    for signer, words in ((Signer("Mill", 9), "is not in"), (Signer("Ridge", 1, bytes(16)), "another deployment")):
        made.signer = signer
        code, _, err = run(made, capsys)
        assert code == 3 and words in err
    assert not (tmp_path / "out.cbor").exists()


def test_a_station_with_a_collector_that_the_registry_does_not_know_gives_its_records(made, capsys, tmp_path):
    """An inspector's copy of the registry may be older than the collector's handover: nobody shall erase for that."""
    statement = made.signer.statement
    made.signer.statement = lambda **how: statement(**{**how, "collector": Signer("", 8).public})
    code, out, _ = run(made, capsys)
    assert code == 1 and "WARNING" in out and "newer copy" in out
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_a_port_that_is_missing_in_use_or_silent_is_one_line_that_says_what_to_do(made, capsys, tmp_path):
    assert cli.main(["pull", "/dev/nothing", "--timeout", "1"]) == 4
    assert "no such port" in capsys.readouterr().err
    with serial.Serial(made.port, exclusive=True):
        code, _, err = run(made, capsys)
        assert code == 4 and "another program is using it" in err
    made.on_identity = lambda: None
    code, _, err = run(made, capsys, timeout=0.4)
    assert code == 4 and "nothing at all came back" in err
    made.on_identity = lambda: made.say(b"login: \r\n" * 100)
    code, _, err = run(made, capsys, timeout=2)
    assert code == 4 and "no Holdfire station's" in err


def test_a_station_in_safe_mode_is_known_by_its_records_alone(made, capsys, tmp_path):
    made.on_enrolment = lambda _: made.say(b"error: enrolment: not in safe mode; `help` lists what is\r\n")
    code, _, err = run(made, capsys)
    assert code == 0 and "in safe mode" in err and (tmp_path / "out.cbor").read_bytes() == whole(made)
    made.signer = Signer("Bridge", 2)  # says so, and sends what Ridge signed
    code, _, err = run(made, capsys, "-o", "other.cbor")
    assert code == 4 and "did not come" in err and (tmp_path / "other.cbor").read_bytes() == b""
    made.signer = Signer("Ridge", 1, bytes(16))
    code, _, err = run(made, capsys)
    assert code == 3 and "another deployment" in err


def test_the_records_of_a_station_that_was_reported_lost_are_taken_with_a_warning(made, capsys, tmp_path):
    base = Base(tmp_path / "other", made.signer)
    lost_us = START_US + 50 * MINUTE_US
    base.registry.report_lost(base.registry.find("Ridge"), lost_us, lost_us, "gone")
    base.registry.save()
    code, out, _ = run(made, capsys, "--registry", "other/registry.json")
    assert code == 1 and "WARNING" in out and "reported lost" in out and "14 records" in out


# Cables and ends


def swap_once_gone(made, gone, change):
    """Once `gone` is set, in a thread: pull the cable, `change` what is on it, and put it back."""

    def hand():
        gone.wait(PATIENCE_S)
        made.cable.unplug()
        change()
        made.cable.plug()

    thread = threading.Thread(target=hand, daemon=True)
    thread.start()
    return thread


def test_a_cable_that_is_pulled_and_put_back_is_waited_for_and_nothing_is_lost(made, capsys, tmp_path):
    honest, asked_once, gone = made.on_pull, [], threading.Event()

    def on_pull(first):
        if first == "7" and not asked_once:
            asked_once.append(first)
            made.list(first, [7, 8, 9])
            made.say(lines_of(made.messages[7])[0][:60])  # and cut in the middle of a line
            gone.set()
        else:
            honest(first)

    waiting = threading.Event()
    made.on_pull = on_pull
    original = pull.Pull._wait
    pull.Pull._wait = lambda self: (waiting.set(), original(self))[1]
    try:
        thread = swap_once_gone(made, gone, lambda: waiting.wait(PATIENCE_S))
        code, out, err = run(made, capsys)
        thread.join()
    finally:
        pull.Pull._wait = original
    assert code == 0 and "IS GONE" in err and "is back" in err
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_another_station_on_the_cable_that_came_back_is_not_mixed_in(made, capsys, tmp_path):
    honest, gone = made.on_pull, threading.Event()

    def on_pull(first):
        if first == "7":
            gone.set()
        else:
            honest(first)

    made.on_pull = on_pull
    swap_once_gone(made, gone, lambda: setattr(made, "signer", Signer("Bridge", 2)))
    code, _, err = run(made, capsys)
    assert code == 2 and "Bridge is on" in err and "no longer Ridge" in err
    assert (tmp_path / "out.cbor").read_bytes() == b"".join(made.messages[seq] for seq in range(1, 7))


def test_a_copy_of_the_board_on_the_cable_that_came_back_is_told(made, capsys, tmp_path):
    honest, gone, statement = made.on_pull, threading.Event(), made.signer.statement
    base = Base(tmp_path / "other")
    base.registry.add(made.signer.station(statement=check(statement(), made.signer.network)))
    base.registry.save()

    def on_pull(first):
        if first == "7" and not gone.is_set():
            gone.set()
        else:
            honest(first)

    def copied():
        made.signer.statement = lambda **how: statement(**{**how, "chip": b"\x99" * 6})

    made.on_pull = on_pull
    swap_once_gone(made, gone, copied)
    code, out, _ = run(made, capsys, "--registry", "other/registry.json")
    assert code == 1 and "WARNING" in out and "one of them is a copy" in out


def command(made, *options, **how):
    words = [sys.executable, "-m", "holdfire", "pull", made.port, "-o", "out.cbor", "--timeout", "20", *options]
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'host'}:{REPO / 'protocol'}"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_or_killed_the_same_command_goes_on(made, capsys, tmp_path, number, code):
    honest, reached = made.on_pull, threading.Event()

    def on_pull(first):
        if first == "13" and not reached.is_set():
            reached.set()  # and no answer
        else:
            honest(first)

    made.on_pull = on_pull
    process = command(made)
    assert reached.wait(PATIENCE_S)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    if number == signal.SIGINT:
        assert err.splitlines()[-1].startswith("-- stopped; out.cbor holds 12 records, go on with: holdfire pull ")
    assert (tmp_path / "out.cbor").read_bytes() == b"".join(made.messages[seq] for seq in range(1, 13))
    assert run(made, capsys)[0] == 0
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_a_full_disk_is_told_and_what_was_whole_stays_whole(made, capsys, tmp_path):
    limit = sum(len(made.messages[seq]) for seq in range(1, 9)) + 10
    process = command(made, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 7 and "make room" in err.splitlines()[-1]
    assert (tmp_path / "out.cbor").read_bytes() == b"".join(made.messages[seq] for seq in range(1, 7))
    assert run(made, capsys)[0] == 0
    assert (tmp_path / "out.cbor").read_bytes() == whole(made)


def test_two_pulls_do_not_write_one_file(made, capsys, tmp_path):
    verifier = Verifier(Base(tmp_path / "other", made.signer).registry)
    file = pulled.RecordFile(tmp_path / "out.cbor", made.signer.station(), verifier)
    code, _, err = run(made, capsys)
    assert code == 2 and "is being written by another program" in err
    file.close()


# What proves a clip


def verified(signer, folder, *messages):
    verifier = Verifier(Base(folder, signer).registry)
    return [verifier.check(message) for message in messages]


def rated(kept, records):
    return {one.clip.number: one.proof.seq if one.proof else "new" if one.too_new else None
            for one in clips.judge([clips.read(data) for data in kept.values()], records)}  # fmt: skip


def test_a_status_record_proves_its_clip_and_all_that_lead_back_from_it(tmp_path):
    ridge, kept = Signer("Ridge", 1), some_clips(6)
    digest = {number: hashlib.sha256(data).digest() for number, data in kept.items()}
    records = verified(ridge, tmp_path / "base", *(
        ridge.make(START_US + n * MINUTE_US, status=status(clips=digest[number])) for n, number in ((1, 2), (2, 4))))
    assert rated(kept, records) == {1: 1, 2: 1, 3: 2, 4: 2, 5: "new", 6: "new"}
    assert rated({n: kept[n] for n in (1, 3, 4)}, records) == {1: None, 3: 2, 4: 2}  # 2 is lost: nothing leads to 1
    altered = {**kept, 3: clip.encode({**clip.decode(kept[3]), "start_us": 1})}
    assert rated(altered, records)[3] is None and rated(altered, records)[2] == 1
    assert rated(kept, []) == dict.fromkeys(kept, "new")


def test_when_a_clip_was_heard_is_told_by_the_nearest_record_of_its_boot_that_knew_the_time(tmp_path):
    ridge, kept = Signer("Ridge", 1), some_clips(2)
    undated = ridge.fields_of(START_US + MINUTE_US, status=status()) | {"time": (fields.TIME_NONE, 0, fields.U32)}
    messages = [ridge.sign(undated)]
    ridge.seq, ridge.prev = 1, record.record_hash(messages[0])
    messages.append(ridge.make(START_US + 3 * MINUTE_US, status=status()))
    drifted = ridge.fields_of(START_US + 40 * MINUTE_US, status=status())
    drifted["time"] = (fields.TIME_CRYSTAL, START_US + 40 * MINUTE_US + 5_000_000, 9_000_000)
    messages.append(ridge.sign(drifted))
    records = verified(ridge, tmp_path / "base", *messages)
    began = [one.began_us for one in clips.judge(map(clips.read, kept.values()), records)]
    assert began == [START_US + 12 * MINUTE_US, START_US + 13 * MINUTE_US]
    other = some_clips(1, boot=7)
    assert clips.judge([clips.read(other[1])], records)[0].began_us is None
