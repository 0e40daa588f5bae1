"""A station's line in words: a record is told with whether it holds, and no byte gets the better of a terminal."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfire.registry import Registry
from holdfire.viewer import BAR, GROUPS, MAX_TEXT_CHARS, Viewer
from holdfire_protocol import fields, line

from .made import NETWORK, START_US, Base, Signer, impulse, lines_of, status, tamper


@pytest.fixture
def ridge():
    return Signer("Ridge north", 1)


@pytest.fixture
def base(tmp_path, ridge):
    return Base(tmp_path / "base", ridge)


def shown(viewer, *chunks):
    return [item for chunk in chunks for item in viewer.feed(chunk)]


def test_a_record_is_told_in_words_and_verified(base, ridge):
    message = ridge.make(START_US + 60_000_000, observations=[impulse()])
    (item,) = shown(Viewer(base.registry), *lines_of(message))
    assert (item.kind, item.verified) == ("record", True)
    assert item.text.startswith("record 1  Ridge north  2026-11-18T11:07:40.000Z ± 40 µs (GNSS+PPS)  ")
    assert "1 impulse, peak -12.0 dBFS" in item.text and item.text.endswith("  verified")


def test_without_a_registry_or_in_another_deployment_nothing_is_called_verified(base, ridge, tmp_path):
    (line_,) = lines_of(ridge.make(START_US, status=status()))
    (item,) = shown(Viewer(None), line_)
    assert item.verified is None and item.text.endswith("not verified: no registry at hand")
    other = Base(tmp_path / "other", network=bytes(16))
    (item,) = shown(Viewer(other.registry), line_)
    assert item.verified is None and item.text.endswith("not verified: of another deployment (00010203)")


def test_a_forged_record_and_a_stranger_s_are_shown_as_such(base, ridge):
    forged = bytearray(ridge.make(START_US, observations=[tamper(1)]))
    forged[-1] ^= 1
    stranger = Signer("Stranger", 9).make(START_US, status=status())
    first, second = shown(Viewer(base.registry), *lines_of(bytes(forged), stranger))
    assert first.verified is False and "NOT VERIFIED: bad-signature" in first.text
    assert first.text.startswith(f"record 1  station {ridge.kid.hex()}  ")  # the name is not for the taking
    assert second.verified is False and "NOT VERIFIED: unknown-station" in second.text
    (unread,) = shown(Viewer(base.registry), *lines_of(b"\x84" + bytes(90)))
    assert unread.verified is False and unread.text.startswith("record that cannot be read")


def test_beacons_are_told_with_their_receipts(base, ridge):
    sent = base.beacon_line(START_US, (ridge.kid, 12, bytes(32)))
    (item,) = shown(Viewer(base.registry), sent)
    assert (item.kind, item.verified) == ("beacon", True)
    assert "receipts: Ridge north to 12" in item.text and item.text.endswith("verified")
    assert shown(Viewer(None), sent)[0].verified is None
    impostor = Signer("x", 3)
    registry = Registry(base.registry.path, "Valley", NETWORK, START_US, impostor.public)
    assert shown(Viewer(registry), sent)[0].verified is False


def test_text_stands_behind_a_bar_so_that_it_cannot_pass_for_a_record(base, ridge):
    (real,) = shown(Viewer(base.registry), *lines_of(ridge.make(START_US, status=status())))
    (fake,) = shown(Viewer(base.registry), real.text.encode() + b"\r\n")
    assert fake.kind == "text" and fake.text == BAR + real.text and fake.verified is None
    (note,) = shown(Viewer(None), b"-- /dev/ttyUSB0 is back\r\n")
    assert note.text.startswith(BAR)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"battery    3912 mV", "| battery    3912 mV"),
        (b"clear \x1b[2J\x1b[H the screen", r"| clear \x1b[2J\x1b[H the screen"),
        (b"title \x1b]0;owned\x07 and more words", r"| title \x1b]0;owned\x07 and more words"),
        ("c1 \x9b31m in UTF-8, and more".encode(), r"| c1 \x9b31m in UTF-8, and more"),
        ("right to left \u202e override, with words".encode(), r"| right to left \u202e override, with words"),
        ("zürich Ø".encode(), "| zürich Ø"),
        (b"\x1b[0;31mE (31) boot: no app\x1b[0m", "| E (31) boot: no app"),
        (b"a\tb", "| a    b"),
        (b"\x80\x90\xff\x00\x01", "noise, 5 bytes"),
        (b"x" * (MAX_TEXT_CHARS + 7), f"| {'x' * MAX_TEXT_CHARS} ... and 7 more"),
    ],
)  # fmt: skip
def test_what_a_hostile_line_becomes(sent, seen):
    (item,) = shown(Viewer(None), sent + b"\n")
    assert item.text == seen


@given(st.lists(st.binary(max_size=300), max_size=8))
@example([b"!HF1:AAAA:00000000\r\n"])
@example([line.encode(b"\x83\x00\x44ABCD\x58\x20" + bytes(32))])
@example([line.encode(b"\x80"), line.encode(b"\x83\x00\x00\x00"), line.encode(b"")])
@example([b"> ", b"\x1b[6n"])
def test_no_bytes_make_it_raise_or_print_a_control_character(chunks):
    viewer = Viewer(None)
    for chunk in chunks:
        for item in viewer.feed(chunk) + viewer.idle():
            assert item.text.isprintable() and len(item.text) < 8 * MAX_TEXT_CHARS


def test_damage_is_shown_and_what_follows_is_whole(base, ridge):
    first, second = lines_of(ridge.make(START_US, status=status()), ridge.make(START_US + 1, status=status()))
    items = shown(Viewer(base.registry), first[:40] + b"\r\n", b"\x00\xfe" * 900 + b"\n", second)
    assert [item.kind for item in items] == ["damaged", "damaged", "record"]
    assert items[-1].verified


def test_a_prompt_without_a_line_end_is_shown_once_when_it_grows_quiet():
    viewer = Viewer(None)
    assert viewer.feed(b"booted\r\n>>> ")[0].text == "| booted"
    assert [item.text for item in viewer.idle()] == ["| >>> "]
    assert viewer.idle() == []
    assert [item.text for item in viewer.feed(b"1\r\n")] == ["| >>> 1"]
    assert viewer.feed(b"!HF1:abc") == viewer.idle() == []  # half a frame is no text


def test_half_a_line_from_before_an_unplugging_is_not_joined_to_what_comes_after(base, ridge):
    viewer = Viewer(base.registry)
    (sent,) = lines_of(ridge.make(START_US, status=status()))
    assert viewer.feed(sent[:100]) == []
    viewer.restart()
    (item,) = viewer.feed(sent)
    assert item.verified


@pytest.mark.parametrize(("only", "kinds"), [(None, 4), ("records", 1), ("text", 1), ("beacons", 1), ("frames", 2)])
def test_only_and_filter_choose(base, ridge, only, kinds):
    assert only is None or only in GROUPS
    (sent,) = lines_of(ridge.make(START_US, observations=[impulse()]))
    everything = [sent, base.beacon_line(START_US), b"up 3 s\r\n", b"!HF1:x:00000000\r\n"]
    viewer = Viewer(base.registry, only)
    assert len(shown(viewer, *everything)) == kinds
    assert viewer.summary() == "1 record, 1 beacon, 1 text line, 1 damaged line"
    picked = shown(Viewer(base.registry, only, re.compile("impulse|up")), *everything)
    assert len(picked) == {None: 2, "records": 1, "text": 1, "beacons": 0, "frames": 1}[only]


def test_a_record_that_cannot_know_the_time_says_so(base, ridge):
    named = {"seq": 1, "prev": ridge.prev, "boot": 1, "time": (fields.TIME_NONE, 0, fields.U32), "uptime_ms": 5,
             "restart": fields.RESTART_FIRST}  # fmt: skip
    (item,) = shown(Viewer(base.registry), *lines_of(ridge.sign(named)))
    assert "time unknown" in item.text and item.verified
