"""SHA-512 (FIPS 180-4) for the chip: MicroPython's hashlib stops at SHA-256.

A 64-bit word is two 32-bit halves, high first, each 0..2^32-1. Every shift left and every sum is masked to 32 bits, so the code gives
the same result where viper ints are 64 bits wide and where it runs as plain Python. Shifts, masks and sums only: the time taken
depends on the length of the message, never on its bytes.

A Sha512 makes its buffers once; reset, update and finish_into allocate nothing.
"""

from array import array

import micropython

# FIPS 180-4 section 4.2.3: the first 64 bits of the fractional parts of the cube roots of the first 80 primes, big-endian.
_ROUND = (
    b"\x42\x8a\x2f\x98\xd7\x28\xae\x22\x71\x37\x44\x91\x23\xef\x65\xcd\xb5\xc0\xfb\xcf\xec\x4d\x3b\x2f\xe9\xb5\xdb\xa5\x81\x89\xdb\xbc"
    b"\x39\x56\xc2\x5b\xf3\x48\xb5\x38\x59\xf1\x11\xf1\xb6\x05\xd0\x19\x92\x3f\x82\xa4\xaf\x19\x4f\x9b\xab\x1c\x5e\xd5\xda\x6d\x81\x18"
    b"\xd8\x07\xaa\x98\xa3\x03\x02\x42\x12\x83\x5b\x01\x45\x70\x6f\xbe\x24\x31\x85\xbe\x4e\xe4\xb2\x8c\x55\x0c\x7d\xc3\xd5\xff\xb4\xe2"
    b"\x72\xbe\x5d\x74\xf2\x7b\x89\x6f\x80\xde\xb1\xfe\x3b\x16\x96\xb1\x9b\xdc\x06\xa7\x25\xc7\x12\x35\xc1\x9b\xf1\x74\xcf\x69\x26\x94"
    b"\xe4\x9b\x69\xc1\x9e\xf1\x4a\xd2\xef\xbe\x47\x86\x38\x4f\x25\xe3\x0f\xc1\x9d\xc6\x8b\x8c\xd5\xb5\x24\x0c\xa1\xcc\x77\xac\x9c\x65"
    b"\x2d\xe9\x2c\x6f\x59\x2b\x02\x75\x4a\x74\x84\xaa\x6e\xa6\xe4\x83\x5c\xb0\xa9\xdc\xbd\x41\xfb\xd4\x76\xf9\x88\xda\x83\x11\x53\xb5"
    b"\x98\x3e\x51\x52\xee\x66\xdf\xab\xa8\x31\xc6\x6d\x2d\xb4\x32\x10\xb0\x03\x27\xc8\x98\xfb\x21\x3f\xbf\x59\x7f\xc7\xbe\xef\x0e\xe4"
    b"\xc6\xe0\x0b\xf3\x3d\xa8\x8f\xc2\xd5\xa7\x91\x47\x93\x0a\xa7\x25\x06\xca\x63\x51\xe0\x03\x82\x6f\x14\x29\x29\x67\x0a\x0e\x6e\x70"
    b"\x27\xb7\x0a\x85\x46\xd2\x2f\xfc\x2e\x1b\x21\x38\x5c\x26\xc9\x26\x4d\x2c\x6d\xfc\x5a\xc4\x2a\xed\x53\x38\x0d\x13\x9d\x95\xb3\xdf"
    b"\x65\x0a\x73\x54\x8b\xaf\x63\xde\x76\x6a\x0a\xbb\x3c\x77\xb2\xa8\x81\xc2\xc9\x2e\x47\xed\xae\xe6\x92\x72\x2c\x85\x14\x82\x35\x3b"
    b"\xa2\xbf\xe8\xa1\x4c\xf1\x03\x64\xa8\x1a\x66\x4b\xbc\x42\x30\x01\xc2\x4b\x8b\x70\xd0\xf8\x97\x91\xc7\x6c\x51\xa3\x06\x54\xbe\x30"
    b"\xd1\x92\xe8\x19\xd6\xef\x52\x18\xd6\x99\x06\x24\x55\x65\xa9\x10\xf4\x0e\x35\x85\x57\x71\x20\x2a\x10\x6a\xa0\x70\x32\xbb\xd1\xb8"
    b"\x19\xa4\xc1\x16\xb8\xd2\xd0\xc8\x1e\x37\x6c\x08\x51\x41\xab\x53\x27\x48\x77\x4c\xdf\x8e\xeb\x99\x34\xb0\xbc\xb5\xe1\x9b\x48\xa8"
    b"\x39\x1c\x0c\xb3\xc5\xc9\x5a\x63\x4e\xd8\xaa\x4a\xe3\x41\x8a\xcb\x5b\x9c\xca\x4f\x77\x63\xe3\x73\x68\x2e\x6f\xf3\xd6\xb2\xb8\xa3"
    b"\x74\x8f\x82\xee\x5d\xef\xb2\xfc\x78\xa5\x63\x6f\x43\x17\x2f\x60\x84\xc8\x78\x14\xa1\xf0\xab\x72\x8c\xc7\x02\x08\x1a\x64\x39\xec"
    b"\x90\xbe\xff\xfa\x23\x63\x1e\x28\xa4\x50\x6c\xeb\xde\x82\xbd\xe9\xbe\xf9\xa3\xf7\xb2\xc6\x79\x15\xc6\x71\x78\xf2\xe3\x72\x53\x2b"
    b"\xca\x27\x3e\xce\xea\x26\x61\x9c\xd1\x86\xb8\xc7\x21\xc0\xc2\x07\xea\xda\x7d\xd6\xcd\xe0\xeb\x1e\xf5\x7d\x4f\x7f\xee\x6e\xd1\x78"
    b"\x06\xf0\x67\xaa\x72\x17\x6f\xba\x0a\x63\x7d\xc5\xa2\xc8\x98\xa6\x11\x3f\x98\x04\xbe\xf9\x0d\xae\x1b\x71\x0b\x35\x13\x1c\x47\x1b"
    b"\x28\xdb\x77\xf5\x23\x04\x7d\x84\x32\xca\xab\x7b\x40\xc7\x24\x93\x3c\x9e\xbe\x0a\x15\xc9\xbe\xbc\x43\x1d\x67\xc4\x9c\x10\x0d\x4c"
    b"\x4c\xc5\xd4\xbe\xcb\x3e\x42\xb6\x59\x7f\x29\x9c\xfc\x65\x7e\x2a\x5f\xcb\x6f\xab\x3a\xd6\xfa\xec\x6c\x44\x19\x8c\x4a\x47\x58\x17"
)
# Section 5.3.5: square roots of the first eight primes.
_START = (
    b"\x6a\x09\xe6\x67\xf3\xbc\xc9\x08\xbb\x67\xae\x85\x84\xca\xa7\x3b\x3c\x6e\xf3\x72\xfe\x94\xf8\x2b\xa5\x4f\xf5\x3a\x5f\x1d\x36\xf1"
    b"\x51\x0e\x52\x7f\xad\xe6\x82\xd1\x9b\x05\x68\x8c\x2b\x3e\x6c\x1f\x1f\x83\xd9\xab\xfb\x41\xbd\x6b\x5b\xe0\xcd\x19\x13\x7e\x21\x79"
)
_BLOCK = 128


@micropython.viper
def _words(out: ptr32, at: int, data: ptr8, count: int):
    """Big-endian bytes to `count` 32-bit words at out[at]."""
    i = 0
    while i < count:
        out[at + i] = (data[4 * i] << 24) | (data[4 * i + 1] << 16) | (data[4 * i + 2] << 8) | data[4 * i + 3]
        i += 1


@micropython.viper
def _bytes(out: ptr8, at: int, words: ptr32, count: int):
    i = 0
    while i < 4 * count:
        out[at + i] = (words[i >> 2] >> (24 - 8 * (i & 3))) & 0xFF
        i += 1


@micropython.viper
def _copy(out: ptr8, at: int, data: ptr8, start: int, count: int):
    i = 0
    while i < count:
        out[at + i] = data[start + i]
        i += 1


@micropython.viper
def _compress(eh: uint, el: uint, s: ptr32, k: ptr32):
    """One block. s[0..15] is the chaining value, s[16..47] the block and then the rolling message schedule."""
    m = uint(0x3FFFFFFF)
    m = (m << 2) | 3  # 2^32 - 1; a literal of that size is not a small int on the chip
    ah = uint(s[0])
    al = uint(s[1])
    bh = uint(s[2])
    bl = uint(s[3])
    ch = uint(s[4])
    cl = uint(s[5])
    dh = uint(s[6])
    dl = uint(s[7])
    eh = uint(s[8])
    el = uint(s[9])
    fh = uint(s[10])
    fl = uint(s[11])
    gh = uint(s[12])
    gl = uint(s[13])
    hh = uint(s[14])
    hl = uint(s[15])
    i = 0
    while i < 80:
        j = 16 + ((i + i) & 31)
        if i >= 16:
            n = 16 + ((i + i + 2) & 31)
            xh = uint(s[n])
            xl = uint(s[n + 1])
            n = 16 + ((i + i + 28) & 31)
            yh = uint(s[n])
            yl = uint(s[n + 1])
            n = 16 + ((i + i + 18) & 31)
            # sigma0 = ROTR 1 ^ ROTR 8 ^ SHR 7 of the word 15 back, sigma1 = ROTR 19 ^ ROTR 61 ^ SHR 6 of the word 2 back
            th = ((xh >> 1) ^ (xl << 31) ^ (xh >> 8) ^ (xl << 24) ^ (xh >> 7)) & m
            tl = ((xl >> 1) ^ (xh << 31) ^ (xl >> 8) ^ (xh << 24) ^ (xl >> 7) ^ (xh << 25)) & m
            xh = ((yh >> 19) ^ (yl << 13) ^ (yl >> 29) ^ (yh << 3) ^ (yh >> 6)) & m
            xl = ((yl >> 19) ^ (yh << 13) ^ (yh >> 29) ^ (yl << 3) ^ (yl >> 6) ^ (yh << 26)) & m
            yh = uint(s[n])
            yl = uint(s[n + 1])
            vh = uint(s[j])
            vl = uint(s[j + 1])
            lo = (tl & 0xFFFF) + (xl & 0xFFFF) + (yl & 0xFFFF) + (vl & 0xFFFF)
            mid = (tl >> 16) + (xl >> 16) + (yl >> 16) + (vl >> 16) + (lo >> 16)
            vh = (th + xh + yh + vh + (mid >> 16)) & m
            vl = ((mid << 16) | (lo & 0xFFFF)) & m
            s[j] = int(vh)
            s[j + 1] = int(vl)
        else:
            vh = uint(s[j])
            vl = uint(s[j + 1])
        # T1 = h + Sigma1(e) + Ch(e, f, g) + K + W
        th = ((eh >> 14) ^ (el << 18) ^ (eh >> 18) ^ (el << 14) ^ (el >> 9) ^ (eh << 23)) & m
        tl = ((el >> 14) ^ (eh << 18) ^ (el >> 18) ^ (eh << 14) ^ (eh >> 9) ^ (el << 23)) & m
        xh = gh ^ (eh & (fh ^ gh))
        xl = gl ^ (el & (fl ^ gl))
        yh = uint(k[i + i])
        yl = uint(k[i + i + 1])
        lo = (hl & 0xFFFF) + (tl & 0xFFFF) + (xl & 0xFFFF) + (yl & 0xFFFF) + (vl & 0xFFFF)
        mid = (hl >> 16) + (tl >> 16) + (xl >> 16) + (yl >> 16) + (vl >> 16) + (lo >> 16)
        vh = (hh + th + xh + yh + vh + (mid >> 16)) & m
        vl = ((mid << 16) | (lo & 0xFFFF)) & m
        hh = gh
        hl = gl
        gh = fh
        gl = fl
        fh = eh
        fl = el
        lo = (dl & 0xFFFF) + (vl & 0xFFFF)
        mid = (dl >> 16) + (vl >> 16) + (lo >> 16)
        eh = (dh + vh + (mid >> 16)) & m
        el = ((mid << 16) | (lo & 0xFFFF)) & m
        # T2 = Sigma0(a) + Maj(a, b, c)
        th = ((ah >> 28) ^ (al << 4) ^ (al >> 2) ^ (ah << 30) ^ (al >> 7) ^ (ah << 25)) & m
        tl = ((al >> 28) ^ (ah << 4) ^ (ah >> 2) ^ (al << 30) ^ (ah >> 7) ^ (al << 25)) & m
        xh = (ah & bh) | (ch & (ah | bh))
        xl = (al & bl) | (cl & (al | bl))
        dh = ch
        dl = cl
        ch = bh
        cl = bl
        bh = ah
        bl = al
        lo = (tl & 0xFFFF) + (xl & 0xFFFF) + (vl & 0xFFFF)
        mid = (tl >> 16) + (xl >> 16) + (vl >> 16) + (lo >> 16)
        ah = (th + xh + vh + (mid >> 16)) & m
        al = ((mid << 16) | (lo & 0xFFFF)) & m
        i += 1
    # Add the new state into the chaining value: park it over the spent schedule, then sum.
    s[16] = int(ah)
    s[17] = int(al)
    s[18] = int(bh)
    s[19] = int(bl)
    s[20] = int(ch)
    s[21] = int(cl)
    s[22] = int(dh)
    s[23] = int(dl)
    s[24] = int(eh)
    s[25] = int(el)
    s[26] = int(fh)
    s[27] = int(fl)
    s[28] = int(gh)
    s[29] = int(gl)
    s[30] = int(hh)
    s[31] = int(hl)
    i = 0
    while i < 16:
        xl = uint(s[i + 1])
        yl = uint(s[i + 17])
        lo = (xl & 0xFFFF) + (yl & 0xFFFF)
        mid = (xl >> 16) + (yl >> 16) + (lo >> 16)
        s[i + 1] = int(((mid << 16) | (lo & 0xFFFF)) & m)
        s[i] = int((uint(s[i]) + uint(s[i + 16]) + (mid >> 16)) & m)
        i += 2


_constants = array("I", bytes(4 * 160))
_words(_constants, 0, _ROUND, 160)


class Sha512:
    """One running hash over buffers made here, once. Not to be shared by two tasks that yield between its calls."""

    def __init__(self):
        self._state = array("I", bytes(4 * 48))
        self._block = bytearray(_BLOCK)
        self.reset()

    def reset(self) -> None:
        _words(self._state, 0, _START, 16)
        self._length = 0

    def update(self, data) -> None:
        """Take in all of `data`."""
        self.update_part(data, 0, len(data))

    def update_part(self, data, start: int, count: int) -> None:
        """Take in data[start:start+count] without making a slice; a caller that must yield takes at most a block at a time."""
        if start < 0 or count < 0 or start + count > len(data):
            raise ValueError("part of the message lies outside of it")
        while count:
            at = self._length % _BLOCK
            take = min(count, _BLOCK - at)
            _copy(self._block, at, data, start, take)
            self._length += take
            start += take
            count -= take
            if at + take == _BLOCK:
                self._absorb()

    def _absorb(self) -> None:
        _words(self._state, 16, self._block, 32)
        _compress(0, 0, self._state, _constants)

    def finish_into(self, digest) -> None:
        """Write the 64 bytes of the digest over the start of the bytearray `digest`. Call reset() before using this object again."""
        block, bits, at = self._block, 8 * self._length, self._length % _BLOCK
        block[at] = 0x80
        for i in range(at + 1, _BLOCK):
            block[i] = 0
        if at >= _BLOCK - 16:
            self._absorb()
            for i in range(_BLOCK):
                block[i] = 0
        for i in range(4):  # lengths below 2^29 bytes are all a chip can hold
            block[_BLOCK - 1 - i] = (bits >> (8 * i)) & 0xFF
        self._absorb()
        _bytes(digest, 0, self._state, 16)


def sha512(data: bytes) -> bytes:
    """The digest of one message; allocates. The signing code keeps a Sha512 instead."""
    running, digest = Sha512(), bytearray(64)
    running.update(data)
    running.finish_into(digest)
    return bytes(digest)
