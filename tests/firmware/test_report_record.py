"""What `last` says on the console: every kind of record in words, in lines that fit."""

from holdfire_protocol import cose, record
from tests.mpy import DEVICE_PATH, run_micropython

COMMON = {"seq": 40, "prev": bytes(32), "boot": 7, "time": (0, 0, 4294967295), "uptime_ms": 61_000}
STATUS = {"interval_s": 660, "reset_cause": 1, "selftest": 0, "heard_ms": 600_000, "lost_ms": 120, "impulses": 4,
          "floor_db10": -612, "floor_min_db10": -655, "floor_max_db10": -601, "journal_permille": 5, "pending": 9,
          "firmware": b"12345678", "heap_free": 43_210, "refused": 0}  # fmt: skip
CASES = (
    ({"thinned": [(3, 9), (11, 11), (4_294_960_000, 4_294_967_293)], "seq": 4_294_967_295},
     ["given up for room: numbers 3 to 9", "given up for room: numbers 11 to 11",
      "given up for room: numbers 4294960000 to 4294967293"]),
    ({"restart": 2, "status": STATUS}, ["restart: ", "status: heard 600 s, lost 120 ms, 4 impulses, floor -61.2 dB"]),
    ({"observations": [{"kind": 2, "onset_us": -5_000, "onset_uncertainty_us": 10, "open": 1}]},
     ["case opened 5 ms before"]),
)  # fmt: skip


def test_each_kind_of_record_is_told_in_words():
    for content, words in CASES:
        payload = record.encode_record({**COMMON, **content})
        message = cose.join(bytes(8), payload, bytes(64))
        said = run_micropython(
            "import sys\nfrom holdfire_station import report_record\n"
            f"print('\\n'.join(report_record.record_lines(bytes.fromhex({message.hex()!r}))))", path=DEVICE_PATH,
        ).stdout.splitlines()
        assert said[0].startswith(f"record {content.get('seq', 40)}, boot 7, ") and said[1] == "  time unknown"
        assert len(said) == 2 + len(words), said
        for line, start in zip(said[2:], words, strict=True):
            assert line.startswith("  " + start) and len(line) < 80, line
