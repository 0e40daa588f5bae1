"""THE definition of every field, limit and domain-separation string on the wire.

The code reads these tables; `holdfire.cddl` and the tables of `SPEC.md` are generated from this file, comments
included, by `tools/generate`, and `make check` fails when they differ. A row is (key, name, type, low, high, required)
and, where the value is made of fields itself, its shape; low and high bound the value of an integer, the length of a
byte string, the count of a list. The comment after a row is its description. Units are in the names: `_db10` is tenths
of a decibel (levels: relative to full scale), `_e7` is 1e-7 degree.
"""

from .shape import Shape

UINT = 0
INT = 1
BYTES = 2
MAP = 3
LIST = 4
TUPLE = 5

U16 = 0xFFFF
U32 = 0xFFFFFFFF
UTC_MIN_US = 1_700_000_000_000_000  # 2023-11: before Holdfire existed, so no honest clock says less
UTC_MAX_US = 4_102_444_800_000_000  # 2100-01-01

HASH_BYTES = 32  # SHA-256
KID_BYTES = 8  # first bytes of the COSE Key Thumbprint, RFC 9679
NETWORK_BYTES = 16  # identifies a deployment; drawn at random when it is founded
NETWORK_TAG_BYTES = 4  # its first bytes, on every frame
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

MAX_RECORD_BYTES = 1024  # a whole COSE_Sign1; a burst of 12 impulses always fits, of 16 usually
MAX_FRAME_BYTES = MAX_RECORD_BYTES + 10  # array, kind, network tag, byte string head
MAX_LINE_BYTES = 1400  # base64 of the largest frame, mark and CRC; text lines may be as long
LORA_FRAME_BYTES = 255  # a record with one observation fits, and any but a freak status record: held by a test

# What a signature is for stands in its external_aad, followed by the network id: a signature made for one purpose or
# one deployment is worth nothing in another.
AAD_RECORD = b"holdfire.record.1\x00"
AAD_BEACON = b"holdfire.beacon.1\x00"
GENESIS = b"holdfire.genesis.1\x00"  # hashed with network id and public key: the `prev` of a chain's first record

FRAME_RECORD = 1
FRAME_BEACON = 2

# time source; these and the following numbers have words in words.py
TIME_NONE = 0
TIME_CRYSTAL = 1
TIME_BEACON = 2
TIME_GNSS = 3
TIME_GNSS_PPS = 4
TIME_HOST = 5

# restart reason: why this record does not simply follow the one before it
RESTART_FIRST = 1
RESTART_JOURNAL_LOST = 2
RESTART_UNCLEAN = 3

# reset cause, as `machine.reset_cause` of the ESP32 numbers them
RESET_SOFT = 5

KIND_IMPULSE = 1
KIND_TAMPER = 2

# self-test: a set bit is a failed test
SELFTEST_MIC_QUIET = 1
SELFTEST_MIC_LOUD = 2
SELFTEST_MIC_STUCK = 4
SELFTEST_GNSS = 8
SELFTEST_TAMPER = 16
SELFTEST_BATTERY = 32
SELFTEST_JOURNAL = 64
SELFTEST_TASK = 128
SELFTEST_PART = 256
SELFTEST_SAFE = 512
SELFTEST_MAINTENANCE = 1024

FAULT_BYTES = 64  # printable ASCII


TIME = Shape("instant", (
    (0, "source", UINT, 0, 5, True),  # 0 none, 1 crystal, 2 beacon, 3 gnss, 4 gnss_pps, 5 host
    (1, "utc_us", UINT, 0, UTC_MAX_US, True),  # microseconds since 1970-01-01T00:00:00Z; 0 without a source
    (2, "uncertainty_us", UINT, 0, U32, True),  # true UTC is within this of utc_us; 4294967295 without a source
), is_tuple=True)

POSITION = Shape("position", (
    (0, "latitude_e7", INT, -900_000_000, 900_000_000, True),  # WGS 84, north positive
    (1, "longitude_e7", INT, -1_800_000_000, 1_800_000_000, True),  # WGS 84, east positive
    (2, "height_dm", INT, -10_000, 1_000_000, True),  # above mean sea level, decimetres
    (3, "hdop_x10", UINT, 0, 1000, True),  # horizontal dilution of precision, tenths
), is_tuple=True)

IMPULSE_ROWS = (
    (1, "kind", UINT, 1, 1, True),  # 1: an impulsive sound
    (2, "onset_us", INT, -(1 << 40), 1 << 40, True),  # onset at the microphone, relative to the record's time
    (3, "onset_uncertainty_us", UINT, 0, U32, True),  # of picking the onset; the clock's own is in time
    (4, "peak", UINT, 0, 1 << 23, True),  # largest absolute sample, 24-bit counts
    (5, "rise_us", UINT, 0, U32, True),  # onset to peak
    (6, "duration_ms", UINT, 0, U16, True),  # onset until the short-term average fell to the off threshold
    (7, "snr_db10", UINT, 0, 2000, True),  # peak short-term average over long-term average
    (8, "floor_db10", INT, -2000, 0, True),  # noise floor before the onset
    (9, "bands", BYTES, 1, 16, True),  # octave band levels from the highest down, half decibels below full scale
    (10, "zero_crossings", UINT, 0, U16, True),  # while triggered
    (11, "clipped", UINT, 0, U16, True),  # samples at full scale
)

TAMPER_ROWS = (
    (1, "kind", UINT, 2, 2, True),  # 2: the case switch changed
    (2, "onset_us", INT, -(1 << 40), 1 << 40, True),  # when, relative to the record's time
    (3, "onset_uncertainty_us", UINT, 0, U32, True),  # of seeing the change
    (4, "open", UINT, 0, 1, True),  # 1 opened, 0 closed
)

OBSERVATION = Shape("observation", (), variants=(
    (KIND_IMPULSE, Shape("impulse", IMPULSE_ROWS)),
    (KIND_TAMPER, Shape("tamper", TAMPER_ROWS)),
))

STATUS = Shape("status", (
    (1, "interval_s", UINT, 1, 86400, True),  # the next status record follows within this, or something is wrong
    (2, "reset_cause", UINT, 0, 5, True),  # 0 unknown, 1 power on, 2 hard, 3 watchdog, 4 deep sleep, 5 soft
    (3, "selftest", UINT, 0, U16, True),  # failed tests, one bit each; 0 is all well
    (4, "heard_ms", UINT, 0, U32, True),  # sound analysed since the last status record
    (5, "lost_ms", UINT, 0, U32, True),  # sound missed since then
    (6, "impulses", UINT, 0, U16, True),  # impulsive sounds detected since then
    (7, "floor_db10", INT, -2000, 0, True),  # noise floor now; -2000 without a microphone, as the next two
    (8, "floor_min_db10", INT, -2000, 0, True),  # lowest since the last status record
    (9, "floor_max_db10", INT, -2000, 0, True),  # highest since then
    (10, "battery_mv", UINT, 0, U16, False),  # absent when it cannot be measured
    (11, "position", TUPLE, 0, 0, False, POSITION),  # absent without a fix
    (12, "satellites", UINT, 0, 255, False),  # used in the fix
    (13, "journal_permille", UINT, 0, 1000, True),  # journal in use
    (14, "pending", UINT, 0, U32, True),  # records no receipt covers yet
    (15, "firmware", BYTES, 8, 8, True),  # first bytes of SHA-256 over the station's program files
    (16, "heap_free", UINT, 0, U32, True),  # bytes, after a collection; on an ESP32 with what its heap can yet grow by
    (17, "refused", UINT, 0, U32, True),  # damaged or refused lines and beacons since boot
    (18, "unrecorded", UINT, 1, U32, False),  # observations since the last status record that no record holds
    (19, "fault", BYTES, 1, FAULT_BYTES, False),  # what failed or is missing, in ASCII, for people
    (20, "clips", BYTES, HASH_BYTES, HASH_BYTES, False),  # SHA-256 of the newest sound clip
))

RUN = Shape("run", (
    (0, "first", UINT, 1, U32, True),  # the first number of the run
    (1, "last", UINT, 1, U32, True),  # the last; both are included
), is_tuple=True)

RECORD = Shape("record", (
    (1, "seq", UINT, 1, U32, True),  # never used twice by a station, whatever happens
    (2, "prev", BYTES, HASH_BYTES, HASH_BYTES, True),  # SHA-256 of the previous record, or of the genesis string
    (3, "boot", UINT, 1, U32, True),  # boots of this station, this one included
    (4, "time", TUPLE, 0, 0, True, TIME),  # when the record was made
    (5, "uptime_ms", UINT, 0, 1 << 48, True),  # since boot; dates records made before time was known
    (6, "restart", UINT, 1, 3, False),  # 1 first record, 2 journal lost, 3 sequence number lost in a power cut
    (7, "observations", LIST, 1, 16, False, OBSERVATION),  # what was heard or seen
    (8, "status", MAP, 0, 0, False, STATUS),  # how the station is
    (9, "thinned", LIST, 1, 32, False, RUN),  # numbers given up without a receipt, because the memory was full
))

RECEIPT = Shape("receipt", (
    (0, "kid", BYTES, KID_BYTES, KID_BYTES, True),  # the station's
    (1, "seq", UINT, 1, U32, True),  # this record and all that its chain holds before it are durably stored
    (2, "hash", BYTES, HASH_BYTES, HASH_BYTES, True),  # SHA-256 of that record
), is_tuple=True)

BEACON = Shape("beacon", (
    (1, "number", UINT, 1, (1 << 53) - 1, True),  # grows with every beacon of a collector
    (2, "time", TUPLE, 0, 0, True, TIME),  # when it was signed
    (3, "receipts", LIST, 0, 16, True, RECEIPT),  # a beacon may cover a part of the stations
))
