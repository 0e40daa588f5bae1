"""SHA-512 (FIPS 180-4) for the chip: MicroPython's hashlib stops at SHA-256.

A 64-bit word is two 32-bit halves, high first, each 0..2^32-1 where it is stored. Sums and left shifts may run over 32
bits and are masked before they are stored or shifted right, so the result is the same where viper ints are 64 bits
wide and where this runs as plain Python. Shifts, masks and sums only: the time taken depends on the length of the
message, never on its bytes.

A Sha512 makes its buffers once; reset, update, update_part and finish_into allocate nothing.
"""

from array import array

import micropython
from micropython import const

# FIPS 180-4 section 4.2.3: the first 64 bits of the fractional parts of the cube roots of the first 80 primes, as the
# chip reads them: 32-bit little-endian words, high half first.
_ROUND = (
    b"\x98\x2f\x8a\x42\x22\xae\x28\xd7\x91\x44\x37\x71\xcd\x65\xef\x23\xcf\xfb\xc0\xb5\x2f\x3b\x4d\xec"
    b"\xa5\xdb\xb5\xe9\xbc\xdb\x89\x81\x5b\xc2\x56\x39\x38\xb5\x48\xf3\xf1\x11\xf1\x59\x19\xd0\x05\xb6"
    b"\xa4\x82\x3f\x92\x9b\x4f\x19\xaf\xd5\x5e\x1c\xab\x18\x81\x6d\xda\x98\xaa\x07\xd8\x42\x02\x03\xa3"
    b"\x01\x5b\x83\x12\xbe\x6f\x70\x45\xbe\x85\x31\x24\x8c\xb2\xe4\x4e\xc3\x7d\x0c\x55\xe2\xb4\xff\xd5"
    b"\x74\x5d\xbe\x72\x6f\x89\x7b\xf2\xfe\xb1\xde\x80\xb1\x96\x16\x3b\xa7\x06\xdc\x9b\x35\x12\xc7\x25"
    b"\x74\xf1\x9b\xc1\x94\x26\x69\xcf\xc1\x69\x9b\xe4\xd2\x4a\xf1\x9e\x86\x47\xbe\xef\xe3\x25\x4f\x38"
    b"\xc6\x9d\xc1\x0f\xb5\xd5\x8c\x8b\xcc\xa1\x0c\x24\x65\x9c\xac\x77\x6f\x2c\xe9\x2d\x75\x02\x2b\x59"
    b"\xaa\x84\x74\x4a\x83\xe4\xa6\x6e\xdc\xa9\xb0\x5c\xd4\xfb\x41\xbd\xda\x88\xf9\x76\xb5\x53\x11\x83"
    b"\x52\x51\x3e\x98\xab\xdf\x66\xee\x6d\xc6\x31\xa8\x10\x32\xb4\x2d\xc8\x27\x03\xb0\x3f\x21\xfb\x98"
    b"\xc7\x7f\x59\xbf\xe4\x0e\xef\xbe\xf3\x0b\xe0\xc6\xc2\x8f\xa8\x3d\x47\x91\xa7\xd5\x25\xa7\x0a\x93"
    b"\x51\x63\xca\x06\x6f\x82\x03\xe0\x67\x29\x29\x14\x70\x6e\x0e\x0a\x85\x0a\xb7\x27\xfc\x2f\xd2\x46"
    b"\x38\x21\x1b\x2e\x26\xc9\x26\x5c\xfc\x6d\x2c\x4d\xed\x2a\xc4\x5a\x13\x0d\x38\x53\xdf\xb3\x95\x9d"
    b"\x54\x73\x0a\x65\xde\x63\xaf\x8b\xbb\x0a\x6a\x76\xa8\xb2\x77\x3c\x2e\xc9\xc2\x81\xe6\xae\xed\x47"
    b"\x85\x2c\x72\x92\x3b\x35\x82\x14\xa1\xe8\xbf\xa2\x64\x03\xf1\x4c\x4b\x66\x1a\xa8\x01\x30\x42\xbc"
    b"\x70\x8b\x4b\xc2\x91\x97\xf8\xd0\xa3\x51\x6c\xc7\x30\xbe\x54\x06\x19\xe8\x92\xd1\x18\x52\xef\xd6"
    b"\x24\x06\x99\xd6\x10\xa9\x65\x55\x85\x35\x0e\xf4\x2a\x20\x71\x57\x70\xa0\x6a\x10\xb8\xd1\xbb\x32"
    b"\x16\xc1\xa4\x19\xc8\xd0\xd2\xb8\x08\x6c\x37\x1e\x53\xab\x41\x51\x4c\x77\x48\x27\x99\xeb\x8e\xdf"
    b"\xb5\xbc\xb0\x34\xa8\x48\x9b\xe1\xb3\x0c\x1c\x39\x63\x5a\xc9\xc5\x4a\xaa\xd8\x4e\xcb\x8a\x41\xe3"
    b"\x4f\xca\x9c\x5b\x73\xe3\x63\x77\xf3\x6f\x2e\x68\xa3\xb8\xb2\xd6\xee\x82\x8f\x74\xfc\xb2\xef\x5d"
    b"\x6f\x63\xa5\x78\x60\x2f\x17\x43\x14\x78\xc8\x84\x72\xab\xf0\xa1\x08\x02\xc7\x8c\xec\x39\x64\x1a"
    b"\xfa\xff\xbe\x90\x28\x1e\x63\x23\xeb\x6c\x50\xa4\xe9\xbd\x82\xde\xf7\xa3\xf9\xbe\x15\x79\xc6\xb2"
    b"\xf2\x78\x71\xc6\x2b\x53\x72\xe3\xce\x3e\x27\xca\x9c\x61\x26\xea\xc7\xb8\x86\xd1\x07\xc2\xc0\x21"
    b"\xd6\x7d\xda\xea\x1e\xeb\xe0\xcd\x7f\x4f\x7d\xf5\x78\xd1\x6e\xee\xaa\x67\xf0\x06\xba\x6f\x17\x72"
    b"\xc5\x7d\x63\x0a\xa6\x98\xc8\xa2\x04\x98\x3f\x11\xae\x0d\xf9\xbe\x35\x0b\x71\x1b\x1b\x47\x1c\x13"
    b"\xf5\x77\xdb\x28\x84\x7d\x04\x23\x7b\xab\xca\x32\x93\x24\xc7\x40\x0a\xbe\x9e\x3c\xbc\xbe\xc9\x15"
    b"\xc4\x67\x1d\x43\x4c\x0d\x10\x9c\xbe\xd4\xc5\x4c\xb6\x42\x3e\xcb\x9c\x29\x7f\x59\x2a\x7e\x65\xfc"
    b"\xab\x6f\xcb\x5f\xec\xfa\xd6\x3a\x8c\x19\x44\x6c\x17\x58\x47\x4a"
)
# Section 5.3.5, square roots of the first eight primes, in the order that the rounds keep: d, h, c, g, b, f, a, e.
_START = (
    b"\x3a\xf5\x4f\xa5\xf1\x36\x1d\x5f\x19\xcd\xe0\x5b\x79\x21\x7e\x13\x72\xf3\x6e\x3c\x2b\xf8\x94\xfe"
    b"\xab\xd9\x83\x1f\x6b\xbd\x41\xfb\x85\xae\x67\xbb\x3b\xa7\xca\x84\x8c\x68\x05\x9b\x1f\x6c\x3e\x2b"
    b"\x67\xe6\x09\x6a\x08\xc9\xbc\xf3\x7f\x52\x0e\x51\xd1\x82\xe6\xad"
)
_PADDING = b"\x80" + bytes(127)
_BLOCK = const(128)
# Words of the state array: 0..79 history of the rounds, 80..95 chaining value, 96..255 block and message schedule.
_LENGTH = const(127)
_WORDS = const(256)


@micropython.viper
def _fill(s: ptr8, at: int, data: ptr8, start: int, count: int):
    """Bytes data[start..] to place `at`.. (modulo 128) of the block, each turned to its place in a word."""
    at = (at & 127) + 384
    count += start
    while start < count:
        s[at ^ 3] = data[start]
        at += 1
        start += 1


@micropython.viper
def _reset(s: ptr32, start: ptr32):
    i = 0
    while i < 16:
        s[80 + i] = start[i]
        i += 1


@micropython.viper
def _digest(out: ptr8, s: ptr32):
    """The chaining value as bytes, from the order d, h, c, g, b, f, a, e back to a..h."""
    i = 0
    while i < 64:
        k = i >> 3
        out[i] = (s[92 - 4 * (k & 3) + 2 * (k >> 2) + ((i >> 2) & 1)] >> (24 - 8 * (i & 3))) & 0xFF
        i += 1


@micropython.viper
def _schedule(w: ptr32, x: uint, s: ptr32):
    """The block to the whole message schedule (FIPS 180-4 section 6.4.2 step 1). `w` is `s` too, x is not used: give
    0.
    """
    w = ptr32(int(s) + 4 * 96)
    m = uint(0x3FFFFFFF)
    m = (m << 2) | 3  # 2^32 - 1; a literal of that size is not a small int on the chip
    i = 0
    while i < 64:
        # sigma0 = ROTR 1 ^ ROTR 8 ^ SHR 7 of the word 15 back, sigma1 = ROTR 19 ^ ROTR 61 ^ SHR 6 of the word 2 back
        x = uint(w[2])
        y = uint(w[3])
        s0h = (x >> 1) ^ (y << 31) ^ (x >> 8) ^ (y << 24) ^ (x >> 7)
        s0l = (y >> 1) ^ (x << 31) ^ (y >> 8) ^ (x << 24) ^ (y >> 7) ^ (x << 25)
        x = uint(w[28])
        y = uint(w[29])
        s1h = (x >> 19) ^ (y << 13) ^ (y >> 29) ^ (x << 3) ^ (x >> 6)
        s1l = (y >> 19) ^ (x << 13) ^ (x >> 29) ^ (y << 3) ^ (y >> 6) ^ (x << 26)
        x = uint(w[1])
        y = uint(w[19])
        low = (x & 0xFFFF) + (y & 0xFFFF) + (s0l & 0xFFFF) + (s1l & 0xFFFF)
        x = (x >> 16) + (y >> 16) + ((s0l >> 16) & 0xFFFF) + ((s1l >> 16) & 0xFFFF) + (low >> 16)
        w[33] = int(((x << 16) | (low & 0xFFFF)) & m)
        w[32] = int((uint(w[0]) + uint(w[18]) + s0h + s1h + (x >> 16)) & m)
        w = ptr32(int(w) + 8)
        i += 1


@micropython.viper
def _rounds(p: ptr32, x: uint, s: ptr32, k: ptr32):
    """The eighty rounds (step 3) and their addition to the chaining value (step 4). `p` is `s` too, x is not used:
    give 0.

    A round makes a new a and e and renames the rest, so p walks along their history and nothing else moves: p[0..3] is
    a, e of three rounds ago, which is d, h; then c, g; b, f; a, e; and p[16..19] takes the new pair.
    """
    w = ptr32(int(s) + 4 * 96)
    i = 0
    while i < 16:
        s[i] = s[80 + i]
        i += 1
    m = uint(0x3FFFFFFF)
    m = (m << 2) | 3
    i = 0
    while i < 80:
        # T1 = h + Sigma1(e) + Ch(e, f, g) + K + W: low halves in two sums of 16-bit pieces, `low` and `mid`; `high`
        # wraps
        x = uint(p[14])
        y = uint(p[15])
        high = (x >> 14) ^ (y << 18) ^ (x >> 18) ^ (y << 14) ^ (y >> 9) ^ (x << 23)
        high = high + (uint(p[6]) ^ (x & (uint(p[10]) ^ uint(p[6])))) + uint(p[2]) + uint(k[0]) + uint(w[0])
        t = (y >> 14) ^ (x << 18) ^ (y >> 18) ^ (x << 14) ^ (x >> 9) ^ (y << 23)
        x = uint(p[7]) ^ (y & (uint(p[11]) ^ uint(p[7])))
        y = uint(p[3])
        low = (t & 0xFFFF) + (x & 0xFFFF) + (y & 0xFFFF)
        mid = ((t >> 16) & 0xFFFF) + (x >> 16) + (y >> 16)
        x = uint(k[1])
        y = uint(w[1])
        low = low + (x & 0xFFFF) + (y & 0xFFFF)
        mid = mid + (x >> 16) + (y >> 16)
        # new e = d + T1
        x = uint(p[1])
        t = low + (x & 0xFFFF)
        x = mid + (x >> 16) + (t >> 16)
        p[19] = int(((x << 16) | (t & 0xFFFF)) & m)
        p[18] = int((uint(p[0]) + high + (x >> 16)) & m)
        # new a = T1 + Sigma0(a) + Maj(a, b, c)
        x = uint(p[12])
        y = uint(p[13])
        high = high + ((x >> 28) ^ (y << 4) ^ (y >> 2) ^ (x << 30) ^ (y >> 7) ^ (x << 25))
        t = (y >> 28) ^ (x << 4) ^ (x >> 2) ^ (y << 30) ^ (x >> 7) ^ (y << 25)
        high = high + ((x & uint(p[8])) | (uint(p[4]) & (x | uint(p[8]))))
        x = (y & uint(p[9])) | (uint(p[5]) & (y | uint(p[9])))
        low = low + (t & 0xFFFF) + (x & 0xFFFF)
        x = mid + ((t >> 16) & 0xFFFF) + (x >> 16) + (low >> 16)
        p[17] = int(((x << 16) | (low & 0xFFFF)) & m)
        p[16] = int((high + (x >> 16)) & m)
        p = ptr32(int(p) + 16)
        w = ptr32(int(w) + 8)
        k = ptr32(int(k) + 8)
        i += 1
        if i & 15 == 0:  # the history has room for sixteen rounds: move its end to its start
            p = s
            j = 0
            while j < 16:
                s[j] = s[64 + j]
                j += 1
    i = 0
    while i < 16:
        x = uint(s[i + 1])
        y = uint(s[i + 81])
        low = (x & 0xFFFF) + (y & 0xFFFF)
        x = (x >> 16) + (y >> 16) + (low >> 16)
        s[i + 81] = int(((x << 16) | (low & 0xFFFF)) & m)
        s[i + 80] = int((uint(s[i]) + uint(s[i + 80]) + (x >> 16)) & m)
        i += 2


class Sha512:
    """One running hash over a buffer made here, once. Not to be shared by two tasks that yield between its calls."""

    def __init__(self):
        self._state = array("I", bytes(4 * _WORDS))
        self.reset()

    # A call whose frame is larger than 11 words would take it from the heap (py/objfun.c, VM_MAX_STATE_ON_STACK):
    # hence the small functions.

    def reset(self) -> None:
        _reset(self._state, _START)
        self._length = 0

    def update(self, data) -> None:
        """Take in all of `data`."""
        self.update_part(data, 0, len(data))

    def update_part(self, data, start: int, count: int) -> None:
        """Take in data[start:start+count] without making a slice; a caller that must yield takes a block at a time."""
        if start < 0 or count < 0 or start + count > len(data):
            raise ValueError("part of the message lies outside of it")
        while count:
            taken = self._take(data, start, count)
            start += taken
            count -= taken

    def _take(self, data, start: int, count: int) -> int:
        """As much as the block has room for."""
        room = _BLOCK - self._length % _BLOCK
        if count > room:
            count = room
        _fill(self._state, self._length, data, start, count)
        self._length += count
        if count == room:
            self._absorb()
        return count

    def _absorb(self) -> None:
        _schedule(self._state, 0, self._state)
        _rounds(self._state, 0, self._state, _ROUND)

    def finish_into(self, digest) -> None:
        """Write the 64 bytes of the digest over the start of `digest`. Call reset() before using this object again."""
        bits = 8 * self._length
        padding = _BLOCK - 16 - self._length % _BLOCK
        self.update_part(_PADDING, 0, padding if padding > 0 else padding + _BLOCK)
        _fill(self._state, _BLOCK - 16, _PADDING, 1, 12)
        self._state[_LENGTH] = bits  # the other 96 bits of the length are 0: a chip holds no such message
        self._absorb()
        _digest(digest, self._state)


def sha512(data: bytes) -> bytes:
    """The digest of one message; allocates. The signing code keeps a Sha512 instead."""
    running, digest = Sha512(), bytearray(64)
    running.update(data)
    running.finish_into(digest)
    return bytes(digest)
