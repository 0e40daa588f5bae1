"""Every error the host raises on purpose, as one tree.

HoldfireError               shown to the operator as one line, without a traceback; `exit_code` ends the command
├── UsageError              what was asked cannot be done as asked                                       2
├── ConfigError             config.toml: names file, key and reason                                     3
├── RegistryError           registry.json or a key file: names file, key and reason                     3
├── PortError               a serial port cannot be used: says what to do                               4
│   └── Unplugged           it went away while it was used                                              4
├── AlreadyRunning          another collector holds this directory                                      5
├── ClockError              the base's own clock cannot be right; no record's time can be judged        6
├── StorageError            the durable state is unknown: stop, acknowledge nothing, recover at start   7
└── Refused                 one record, beacon or line is not accepted: `reason` is a stable short code 8

Holds no logic, and no message here ever carries key material.
"""

DAMAGED = "damaged"
WRONG_NETWORK = "wrong-network"
UNKNOWN_STATION = "unknown-station"
NOT_CANONICAL = "not-canonical"
BAD_SIGNATURE = "bad-signature"
TIME_RANGE = "time-range"
REPLAY = "replay"
SEQUENCE_REUSE = "sequence-reuse"
CHAIN_BREAK = "chain-break"

REASONS = (
    DAMAGED,
    WRONG_NETWORK,
    UNKNOWN_STATION,
    NOT_CANONICAL,
    BAD_SIGNATURE,
    TIME_RANGE,
    REPLAY,
    SEQUENCE_REUSE,
    CHAIN_BREAK,
)


class HoldfireError(Exception):
    """Base of all. `str(error)` is one line that says what is wrong and what to do."""

    exit_code = 1


class UsageError(HoldfireError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class ConfigError(HoldfireError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 3


class RegistryError(HoldfireError):
    """The registry or a key file is missing, malformed or contradicts itself."""

    exit_code = 3


class PortError(HoldfireError):
    """A serial port cannot be opened or used."""

    exit_code = 4


class Unplugged(PortError):
    """A serial port that was in use went away."""


class AlreadyRunning(HoldfireError):
    """Another collector works on this directory."""

    exit_code = 5


class ClockError(HoldfireError):
    """The base's clock is implausible."""

    exit_code = 6


class StorageError(HoldfireError):
    """A write or commit failed, so what is on disk is unknown until the start-up path has looked."""

    exit_code = 7


class Refused(HoldfireError):
    """Bytes that are not accepted. `reason` is one of REASONS; `field` names the part, when one is to blame."""

    exit_code = 8

    def __init__(self, reason: str, text: str, field: str = "", kid: bytes | None = None, seq: int | None = None):
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.field = field
        self.kid = kid
        self.seq = seq
