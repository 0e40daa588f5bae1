# ruff: noqa: F821 - viper's ptr8 and ptr32
"""Runs under MicroPython: the real detector on noise made here plus a signal read from a file. See detect.py.

arguments: SIGNAL_FILE or -, SAMPLES, NOISE_KIND, NOISE_RMS_COUNTS, SEED, SIGNAL_GAIN_Q8 [setting=value ...]
prints one line an impulse, then one line of state. With trace=A,B,... also these words of the detector's state each ms.
"""

import sys
from array import array

import micropython
from micropython import const

from holdfire_station.sensing.acoustic import Detector

BLOCK = const(512)
BIAS = const(0x10000000)


@micropython.viper
def white(out, state, n: int):
    """Sums of eight 16-bit uniforms from xorshift32: scaled to an rms of 4094."""
    o = ptr32(out)
    s = ptr32(state)
    x = s[0] & 0xFFFFFFFF
    i = 0
    while i < n:
        total = 0
        k = 0
        while k < 4:
            x ^= (x << 13) & 0xFFFFFFFF
            x ^= x >> 17
            x ^= (x << 5) & 0xFFFFFFFF
            total += (x & 0xFFFF) + (x >> 16)
            k += 1
        o[i] = (((total - 4 * 0xFFFF) * 5017) >> 16) + BIAS
        i += 1
    s[0] = x & 0x7FFFFFFF


@micropython.viper
def add(out, noise, signal, n: int, rms: int, gain_q8: int):
    """24-bit samples left-justified in 32: noise at `rms` plus signal * gain."""
    o = ptr8(out)
    v = ptr32(noise)
    g = ptr32(signal)
    i = 0
    while i < n:
        y = (((v[i] - BIAS) * rms) >> 12) + (((g[i] - BIAS) * gain_q8) >> 8)
        if y > 0x7FFFFF:
            y = 0x7FFFFF
        elif y < 0 - 0x800000:
            y = 0 - 0x800000
        y &= 0xFFFFFF
        j = i << 2
        o[j + 1] = y & 255
        o[j + 2] = (y >> 8) & 255
        o[j + 3] = y >> 16
        i += 1


@micropython.viper
def pink(noise, state, n: int):
    """About -3 dB an octave from 10 Hz to 5 kHz: leaky integrators two octaves and a half apart, equally strong."""
    v = ptr32(noise)
    s = ptr32(state)
    a = s[1] - BIAS
    b = s[2] - BIAS
    c = s[3] - BIAS
    i = 0
    while i < n:
        w = (v[i] - BIAS) << 6
        a += (w - a) >> 3
        b += (w - b) >> 6
        c += (w - c) >> 9
        # an integrator of shift k passes 1 / 2^(k+1) of the power: gains 4, 11, 32 make the three alike
        v[i] = (((a * 4 + b * 11 + c * 32) * 37) >> 12) + BIAS
        i += 1
    s[1] = a + BIAS
    s[2] = b + BIAS
    s[3] = c + BIAS


@micropython.viper
def wind(noise, state, n: int):
    """Turbulence at a microphone: noise falling 12 dB an octave above 40 Hz, in gusts. Pressure goes with the square of
    the wind's speed, whose turbulence is 35 % (flat to 0.3 Hz, then 6 dB an octave); and a little white noise."""
    v = ptr32(noise)
    s = ptr32(state)
    a = s[1] - BIAS
    b = s[2] - BIAS
    slow = s[3] - BIAS
    i = 0
    while i < n:
        w = v[i] - BIAS
        slow += ((w << 8) - slow) >> 13
        a += ((w << 4) - a) >> 6
        b += (a - b) >> 6
        speed = 256 + ((slow * 45) >> 12)  # 256 is the mean
        if speed < 32:
            speed = 32
        v[i] = ((b * ((speed * speed) >> 8)) >> 8) + (w >> 8) + BIAS
        i += 1
    s[1] = a + BIAS
    s[2] = b + BIAS
    s[3] = slow + BIAS


@micropython.viper
def rain(noise, state, n: int):
    """White noise plus 200 drops a second: damped 2 kHz rings of 1 ms, each 6 dB louder half as often, up to 24 dB."""
    v = ptr32(noise)
    s = ptr32(state)
    y1 = s[1] - BIAS
    y2 = s[2] - BIAS
    x = s[4] & 0xFFFFFFFF
    i = 0
    while i < n:
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        drive = 0
        if (x & 0xFFFF) < 819:
            drive = 1 << 12
            k = (x >> 16) & 15
            while k & 1:  # each 6 dB louder half as often
                drive <<= 1
                k >>= 1
        y = drive + ((y1 * 1360) >> 10) - ((y2 * 904) >> 10)
        y2 = y1
        y1 = y
        v[i] = v[i] + y
        i += 1
    s[1] = y1 + BIAS
    s[2] = y2 + BIAS
    s[4] = x & 0x7FFFFFFF


SHAPES = {"white": None, "pink": pink, "wind": wind, "rain": rain}


class Traced:
    """Feeds a detector hop by hop and prints words of its state after each."""

    def __init__(self, detector, words):
        self._detector = detector
        self._words = words

    def feed(self, out, n):
        waiting = 0
        for at in range(0, 4 * n, 64):
            waiting = self._detector.feed(out[at:at + 64], 16)
            print("trace", *(self._detector._state[word] for word in self._words))
        return waiting


def main(path, samples, kind, rms, seed, gain_q8, *settings):
    samples, rms, gain_q8 = int(samples), int(rms), int(gain_q8)
    settings = dict(s.split("=") for s in settings)
    trace = [int(word) for word in settings.pop("trace", "").split(",") if word]
    detector = Detector(**{name: int(value) for name, value in settings.items()})
    feed = Traced(detector, trace).feed if trace else detector.feed
    state = array("i", [int(seed) * 7919 + 1, BIAS, BIAS, BIAS, int(seed) * 104729 + 3])
    noise = array("i", [BIAS] * BLOCK)
    signal = array("i", [BIAS] * BLOCK)
    out = bytearray(4 * BLOCK)
    file = None if path == "-" else open(path, "rb")  # noqa: SIM115 - to the end of the process
    shape = SHAPES[kind]
    done = 0
    while done < samples:
        n = min(BLOCK, samples - done)
        white(noise, state, n)
        if shape:
            shape(noise, state, n)
        if file and file.readinto(signal) < 4 * BLOCK:
            file = None
            for i in range(BLOCK):
                signal[i] = BIAS
        add(out, noise, signal, n, rms, gain_q8)
        done += n
        waiting = feed(out, n)
        while waiting:
            e = detector.take()
            waiting -= 1
            print("impulse", e.onset_sample, e.onset_uncertainty_us, e.peak, e.rise_us, e.duration_ms, e.snr_db10,
                  e.floor_db10, e.zero_crossings, e.clipped, " ".join(str(b) for b in e.bands))
    print("state", detector.samples_heard, detector.events_dropped, detector.floor_db10, detector.floor_min_db10,
          detector.floor_max_db10, detector.self_test()[1])


main(*sys.argv[1:])
