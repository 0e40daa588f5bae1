"""From bytes to commits: damage is refused with its reason, never accepted and never fatal; answers follow commits."""

import os
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import config, errors, events, ingest, store
from holdfire.beacons import Beacons
from holdfire.ingest import Ingest
from holdfire.registry import load_collector_key
from holdfire.store import Reader, Store
from holdfire_protocol import cbor, cose, fields, frame, line, record
from tests.system.peer import Chain, found_deployment, frame_line, impulse


class Bench:
    def __init__(self, folder, names=("alpha", "bravo"), **settings):
        self.deployment, self.registry, keys = found_deployment(folder / "base", names)
        self.chains = {name: Chain(key, self.registry.network) for name, key in keys.items()}
        self.store = Store(self.deployment.database_path, settings.get("refusal_rows", 100_000))
        self.settings = config.make(settings)
        self.ingest = Ingest(self.registry, self.store, self.settings)
        self.reader = Reader(self.deployment.database_path)

    def line(self, message):
        return frame_line(self.registry.network, message)

    def take(self, *lines, port="usb0"):
        return self.ingest.take([(port, b"".join(lines))])

    def close(self):
        self.reader.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_a_record_becomes_a_row_an_answer_and_an_event(bench):
    alpha = bench.chains["alpha"]
    message = alpha.make()
    outcome = bench.take(b"alpha is up\r\n", bench.line(message))
    assert outcome.stored == 1
    assert outcome.answers == {"usb0": {alpha.kid}}
    assert [(e.kind, e.station, e.seq) for e in outcome.events] == [("text", "", 0), ("record", "alpha", 1)]
    (row,) = bench.reader.records()
    assert (row["message"], row["port"], row["link"]) == (message, "usb0", 2)
    assert bench.ingest.receipts([alpha.kid]) == [(alpha.kid, 1, record.record_hash(message))]


def test_a_repeat_is_answered_again_and_stored_once(bench):
    alpha = bench.chains["alpha"]
    sent = bench.line(alpha.make())
    bench.take(sent)
    outcome = bench.take(sent, sent)
    assert outcome.stored == 0
    assert outcome.answers == {"usb0": {alpha.kid}}
    assert bench.reader.refusal_totals() == {errors.REPLAY: (2, 0)}
    assert len(list(bench.reader.records())) == 1


def test_every_refusal_is_stored_with_its_reason_and_bytes(bench, tmp_path):
    alpha, network = bench.chains["alpha"], bench.registry.network
    elsewhere = Bench(tmp_path / "far")
    elsewhere.close()
    far = elsewhere.chains["alpha"]
    good = alpha.make()
    parts = cose.parse(good)
    bad = cose.join(parts.kid, parts.payload, bytes(64))
    late = alpha.make(time=(3, fields.UTC_MAX_US, 0))
    # The twin says the same but for its observation, so its clocks are above doubt.
    said = record.decode_record(parts.payload)
    copy = Chain(alpha.key, network)
    twin = copy.make(time=said["time"], uptime_ms=said["uptime_ms"], observations=[impulse(peak=1)])
    gap = alpha.make(seq=9)
    whole = frame.encode(1, network, good)
    cases = [
        (line.encode(whole)[:-20] + b"\r\n", errors.DAMAGED, line.encode(whole)[:-20]),
        (b"x" * 5000 + b"\r\n", errors.DAMAGED, b"x" * store.KEPT_BYTES),
        (line.encode(whole[:-1]), errors.DAMAGED, whole[:-1]),
        (line.encode(frame.encode(1, far.network, good)), errors.WRONG_NETWORK, frame.encode(1, far.network, good)),
        (bench.line(far.make()), errors.UNKNOWN_STATION, far.make(keep=False)),
        (bench.line(alpha.sign(b"\xa0")), errors.NOT_CANONICAL, alpha.sign(b"\xa0")),
        (bench.line(bad), errors.BAD_SIGNATURE, bad),
        (bench.line(good) + bench.line(late), errors.TIME_RANGE, late),
        (bench.line(good), errors.REPLAY, good),
        (bench.line(twin), errors.SEQUENCE_REUSE, twin),
        (bench.line(gap), errors.CHAIN_BREAK, gap),
    ]
    stored = set()
    for sent, reason, kept in cases:
        outcome = bench.take(sent)
        refused = [event for event in outcome.events if event.kind == "refused"]
        assert [event.reason for event in refused] == [reason]
        row = max(bench.reader.refusals(reason), key=lambda row: row["id"])
        assert row["text"] == refused[0].text
        assert (row["count"], row["port"]) == (1, "usb0")
        stored = {row["message"] for row in bench.reader.records()}
        if reason == errors.UNKNOWN_STATION:
            assert row["kid"] == far.kid
        elif kept is not None:
            assert row["bytes"] == kept or (row["bytes"] is None and kept in stored)
    assert stored == {good, late, twin, gap}, "what a station did sign is kept, whatever is wrong with it"
    assert set(bench.reader.refusal_totals()) == set(errors.REASONS)


def test_every_flipped_bit_of_a_line_is_refused_or_leaves_no_frame(bench):
    good = bench.line(bench.chains["alpha"].make())
    sent = bytearray()
    for bit in range(8 * len(good)):
        sent += good + b"\n"
        sent[-1 - len(good) + bit // 8] ^= 1 << bit % 8
    bench.take(bytes(sent))
    # A flip in the line end leaves the frame whole: CR and LF both end lines. Nothing else may be stored.
    rows = list(bench.reader.records())
    assert len(rows) <= 1
    assert all(row["message"] == bench.chains["alpha"].make(keep=False) or row["seq"] == 1 for row in rows)
    assert set(bench.reader.refusal_totals()) <= {errors.DAMAGED, errors.REPLAY}


def test_ten_megabytes_of_noise_and_mutated_frames(bench):
    chance = random.Random(7)
    alpha = bench.chains["alpha"]
    valid = [alpha.make() for _ in range(20)]
    told = dict.fromkeys(errors.REASONS, 0)
    fed = 0
    while fed < 10_000_000:
        kind = chance.randrange(4)
        if kind == 0:
            data = chance.randbytes(50_000)
        elif kind == 1:  # printable noise, endless lines among it
            data = bytes(chance.choices(b"!HF1:ABCabc019+/=\n", k=20_000))
        elif kind == 2:  # whole lines round damaged records, as an attacker would send
            data = b""
            for _ in range(40):
                message = bytearray(chance.choice(valid))
                message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)
                data += bench.line(bytes(message))
        else:  # lines damaged on the cable
            lines = bytearray(b"".join(bench.line(chance.choice(valid)) for _ in range(40)))
            for at in range(0, len(lines), 100):
                lines[at + chance.randrange(min(100, len(lines) - at))] ^= 1 + chance.randrange(255)
            data = bytes(lines)
        cut = chance.randrange(len(data))
        outcome = bench.ingest.take([("usb0", data[:cut]), ("usb0", data[cut:] + b"\n")])
        fed += len(data)
        assert outcome.stored == 0 or kind == 3, "only a line that the noise spared may be accepted"
        assert len(outcome.events) <= 3 * (ingest.EVENTS_EACH + 1)
    assert {row["message"] for row in bench.reader.records()} <= set(valid)
    totals = bench.reader.refusal_totals()
    assert {errors.DAMAGED, errors.BAD_SIGNATURE, errors.NOT_CANONICAL, errors.UNKNOWN_STATION} <= set(totals)
    for reason in told:
        rows = bench.reader.refusals(reason, limit=1 << 31)
        total, not_kept = totals.get(reason, (0, 0))
        assert sum(row["count"] for row in rows) + not_kept == total
    before = len(list(bench.reader.records(limit=1000)))
    bench.take(bench.line(alpha.make()))
    assert len(list(bench.reader.records(limit=1000))) == before + 1, "and it goes on as if nothing had been"


@pytest.mark.parametrize("restart", [False, True])
def test_an_impossible_time_is_no_measure_for_the_next_record(bench, restart):
    alpha = bench.chains["alpha"]
    bench.take(bench.line(alpha.make()), bench.line(alpha.make(time=(3, fields.UTC_MAX_US, 0))))
    if restart:
        bench.ingest = Ingest(bench.registry, bench.store, bench.settings)
    assert [event.kind for event in bench.take(bench.line(alpha.make())).events] == ["record"]


@pytest.mark.parametrize("late", [False, True])
def test_a_clock_that_jumps_ahead_within_tolerance_is_marked_and_its_way_back_too(bench, late):
    """What a forged satellite signal does: 90 s are less than the tolerance for dates."""
    alpha = bench.chains["alpha"]

    def at(seconds, jumped_s=0):
        time = (fields.TIME_GNSS, alpha.started_us + (seconds + jumped_s) * 1_000_000, 1000)
        return alpha.make(time=time, uptime_ms=seconds * 1000)

    sent = [bench.line(message) for message in (at(1), at(2, 90), at(3, 90), at(4), at(5))]
    if late:  # the jump came over an alert channel, before what was made before it
        sent[0], sent[1] = sent[1], sent[0]
    bench.take(*sent)
    assert [row["seq"] for row in bench.reader.records(problem=True, newest_first=False)] == [1 if late else 2, 4]
    told = [row["text"] for row in bench.reader.refusals("time-range")]
    assert late or any("ahead of uptime by 90.000 s" in text for text in told), told
    assert [seq for _, seq, _ in bench.ingest.receipts([alpha.kid])] == [5]


@pytest.mark.parametrize("restart", [False, True])
def test_boots_and_uptimes_that_run_backwards_are_marked(bench, restart):
    alpha = bench.chains["alpha"]
    alpha.boot = 3
    none = (fields.TIME_NONE, 0, fields.U32)
    bench.take(bench.line(alpha.make(time=none, uptime_ms=5000)))
    if restart:
        bench.ingest = Ingest(bench.registry, bench.store, bench.settings)
    bench.take(bench.line(alpha.make(time=none, uptime_ms=4999)), bench.line(alpha.make(time=none, boot=2)))
    texts = {row["text"] for row in bench.reader.refusals("time-range")}
    assert texts == {
        "uptime runs backwards, from 5000 to 4999 ms",
        "is of boot 2, yet record 1 before it is of boot 3",
    }


def test_refusals_are_bounded_for_each_reason_and_the_rest_is_counted(tmp_path):
    bench = Bench(tmp_path, refusal_rows=100)
    each = 100 // len(errors.REASONS)
    stranger = Chain(Ed25519PrivateKey.generate(), bench.registry.network)
    bench.take(*(bench.line(stranger.make()) for _ in range(30)))
    bench.take(b"!HF1:AAAA:00000000\r\n")
    totals = bench.reader.refusal_totals()
    assert totals[errors.UNKNOWN_STATION] == (30, 30 - each)
    assert totals[errors.DAMAGED] == (1, 0), "noise of one kind does not push out another"
    assert len(bench.reader.refusals(errors.UNKNOWN_STATION)) == each
    bench.store.close()
    again = Store(bench.deployment.database_path, 100)
    later = Ingest(bench.registry, again, bench.settings)
    later.take([("usb0", bench.line(stranger.make()))])
    assert bench.reader.refusal_totals()[errors.UNKNOWN_STATION] == (31, 31 - each), "a restart knows the bound"
    again.close()
    bench.reader.close()


def test_the_short_cut_opens_exactly_the_frames_that_the_protocol_opens(bench):
    chance = random.Random(3)
    network = bench.registry.network

    def verdict(open_frame, data):
        try:
            return open_frame(data)
        except frame.FrameError as error:
            return str(error)

    bodies = [bytes(n) for n in (0, 1, 23, 24, 25, 255, 256, 1024)]
    samples = [frame.encode(1, network, body) for body in bodies] + [frame.encode(2, network, bytes(80))]
    samples += [sample[:cut] for sample in samples for cut in range(min(len(sample), 40))]
    for _ in range(4000):
        data = bytearray(chance.choice(samples[:9]))
        data[chance.randrange(min(14, len(data)))] = chance.randrange(256)
        samples.append(bytes(data))
    for data in samples:
        assert verdict(bench.ingest._open_frame, data) == verdict(lambda d: frame.decode(d, network), data)


def test_a_damaged_line_is_kept_whole_however_it_arrives(bench):
    """In pieces of any size, and with a whole frame after the damage on the same line."""
    good = bench.line(bench.chains["alpha"].make()).rstrip()
    other = b"1" if good.endswith(b"0") else b"0"  # another last digit of the CRC than the right one
    for number, sent in enumerate((good[:-1] + other, good[:60] + good, b"z" * 1400 + b"tail")):
        for size in (1, 7, 300, 5000):
            port = f"usb{number}.{size}"
            chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
            bench.ingest.take([(port, chunk) for chunk in [*chunks, b"\r\n"]])
        kept = {row["bytes"] for row in bench.reader.refusals("damaged") if row["port"].startswith(f"usb{number}.")}
        assert len(kept) >= 1 and all(sent.startswith(each) and len(each) > 1000 or each == sent for each in kept), kept


def test_half_a_line_from_before_a_port_closed_is_not_joined_to_what_comes_after(bench):
    sent = bench.line(bench.chains["alpha"].make())
    bench.ingest.take([("usb0", sent[:50]), ("usb0", b""), ("usb0", sent[50:]), ("usb0", sent)])
    assert bench.reader.refusal_totals() == {}
    assert len(list(bench.reader.records())) == 1


def test_our_own_beacon_echoed_by_a_console_is_passed_over(bench):
    outcome = bench.take(line.encode(frame.encode(fields.FRAME_BEACON, bench.registry.network, bytes(80))))
    assert (outcome.stored, outcome.events) == (0, [])


def test_text_of_stations_is_harmless_on_a_terminal(bench):
    (event,) = bench.take(b"\x1b[2J\x07\x9bevil \xe2\x80\xae\xff" + b"x" * 500 + b"\n").events
    assert event.text.isprintable()
    assert "evil" in event.text
    assert len(event.text) <= events.MAX_TEXT_CHARS


def test_nothing_is_promised_that_is_not_committed(bench):
    """A write that fails ends the batch without an answer, and the next start finds only whole batches."""
    alpha, bravo = bench.chains["alpha"], bench.chains["bravo"]
    bench.take(bench.line(alpha.make()))
    bench.store._db.execute("PRAGMA max_page_count = 1")  # SQLite's own disk-full: the file may not grow
    pages = bench.store._db.execute("PRAGMA page_count").fetchone()[0]
    bench.store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(errors.StorageError, match="the disk is full: make room"):
        bench.take(*(bench.line(bravo.make()) for _ in range(200)))
    with pytest.raises(errors.StorageError, match="the disk is full: make room"):
        bench.take(bench.line(alpha.make()))
    bench.store.close()
    again = Store(bench.deployment.database_path)
    fresh = Ingest(bench.registry, again, bench.settings)
    assert [seq for _, seq, _ in fresh.receipts([alpha.kid, bravo.kid])] == [1]
    again.close()


def test_beacons_verify_page_their_receipts_and_never_repeat_a_number(bench):
    key = load_collector_key(bench.deployment.key_path)
    network = bench.registry.network
    numbers = []
    for _ in range(2):  # the second round is another start of the collector
        beacons = Beacons(key, network, bench.store, 5000, lambda: 1_795_000_000_000_000)
        for receipts in ([], [(bytes(8), 1, bytes(32))] * 16, [(os.urandom(8), 7, bytes(32)) for _ in range(40)]):
            found = []
            for sent in beacons.lines(receipts):
                assert len(sent) <= fields.MAX_LINE_BYTES
                ((kind, data),) = line.LineReader().feed(sent)
                kind, message = frame.decode(data, network)
                assert kind == fields.FRAME_BEACON
                verify = lambda public, signed, signature: key.public_key().verify(signature, signed)  # noqa: E731
                payload = record.verify1(
                    message, bench.registry.collector_public, fields.AAD_BEACON, network, verify
                )
                beacon = record.decode_beacon(payload)
                assert beacon["time"] == (fields.TIME_HOST, 1_795_000_000_000_000, 5000)
                numbers.append(beacon["number"])
                found += beacon["receipts"]
            assert found == receipts
    assert numbers == sorted(set(numbers))
    assert cbor.decode(payload)[1] == numbers[-1]


def test_beacon_numbers_go_on_growing_when_the_database_comes_back_from_a_backup(tmp_path, bench):
    key = load_collector_key(bench.deployment.key_path)
    start_us = 1_795_000_000_000_000

    def number(store, clock_us):
        (sent,) = Beacons(key, bench.registry.network, store, 5000, lambda: clock_us).lines([])
        ((_, data),) = line.LineReader().feed(sent)
        return record.decode_beacon(cose.parse(frame.decode(data, bench.registry.network)[1]).payload)["number"]

    before = [number(bench.store, start_us + step) for step in range(3)]  # also when starts follow at once
    restored = Store(tmp_path / "restored.sqlite")  # an older copy: it knows of none of them
    after = number(restored, start_us + 86_400_000_000)
    restored.close()
    assert before == sorted(set(before)) and before[0] == start_us // 1000
    assert after > before[-1]
    assert after < 1 << 53
