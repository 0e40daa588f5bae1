"""Records and self-tests in words, in lines of at most 80 columns. Nothing here measures or decides."""

from holdfire_protocol import cose, fields, record, words

from .report import decibels, time_text


def selftest_lines(failed: int) -> list:
    """One line a failed test, or one that says all is well."""
    lines = ["FAIL %s" % name for bit, name in enumerate(words.SELFTEST_NAMES) if failed >> bit & 1]
    return lines or ["self-test: all well"]


def record_lines(message: bytes) -> list:
    """A record in words."""
    named = record.decode_record(cose.parse(message).payload)
    lines = ["record %d, boot %d, %d bytes" % (named["seq"], named["boot"], len(message))]
    lines.append("  " + time_text(named["time"]))
    if "restart" in named:
        lines.append("  restart: " + words.RESTARTS[named["restart"]])
    for first, last in named.get("thinned", ()):
        lines.append("  given up for room: numbers %d to %d" % (first, last))
    for observation in named.get("observations", ()):
        lines.append("  " + observation_text(observation))
    if "status" in named:
        status = named["status"]
        lines.append("  status: heard %d s, lost %d ms, %d impulses, floor %s" % (
            status["heard_ms"] // 1000, status["lost_ms"], status["impulses"], decibels(status["floor_db10"])))
    return lines


def observation_text(observation: dict) -> str:
    """An observation in words."""
    before_ms = -observation["onset_us"] // 1000
    if observation["kind"] == fields.KIND_TAMPER:
        return "case %s %d ms before" % ("opened" if observation["open"] else "closed", before_ms)
    return "impulse %d ms before: peak %d, %s over floor, %d ms long" % (
        before_ms, observation["peak"], decibels(observation["snr_db10"]), observation["duration_ms"])  # fmt: skip
