"""Words for the numbers of `fields.py`, for people: apart, because a station rarely needs them and RAM is short."""

TIME_SOURCES = ("none", "crystal", "beacon", "gnss", "gnss_pps", "host")
RESTARTS = ("", "first record", "journal lost", "sequence number lost in a power cut")
RESET_CAUSES = ("unknown", "power on", "hard", "watchdog", "deep sleep", "soft")
SELFTEST_NAMES = (
    "microphone too quiet",
    "microphone too loud",
    "microphone stuck",
    "no GNSS time",
    "case open",
    "battery low",
    "journal nearly full",
    "a task failed",
    "a part is missing",
    "safe mode: not listening",
    "stopped for maintenance: the key could be read",
)
