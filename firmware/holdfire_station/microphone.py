"""The I2S microphone: blocks of samples to the detector, sample numbers to moments, and what was missed.

Knows I2S and time, nothing of what a sound is. A block arrives late by as much as the rest of the program was busy,
never early: so the earliest arrivals tell when samples were taken, and one later than the ring buffer can hold means
loss.
"""

import asyncio

from machine import I2S, Pin

from .streams import readable

BLOCK_SAMPLES = 256  # 16 ms at 16 kHz, and one buffer of the DMA
SLOT_BYTES = 4  # 24-bit samples, left-justified in 32-bit slots
RING_FRAME_BYTES = 8  # the driver's ring holds left and right slots, whichever is wanted


class Microphone:
    """`run` feeds the detector for ever and calls `on_impulse(impulse)`; `blocks` shows that it is alive."""

    def __init__(self, settings: dict, monotonic, detector, on_impulse):
        self._rate_hz = settings["sample_rate_hz"]
        self._group_delay_us = settings["group_delay_us"]  # of the microphone's own filters
        # Blocks that can wait in the ring: all but the one that is being filled.
        self._waiting_samples = settings["dma_bytes"] // RING_FRAME_BYTES - BLOCK_SAMPLES
        self._monotonic = monotonic
        self._detector = detector
        self._on_impulse = on_impulse
        self._i2s = I2S(
            settings["i2s_id"],
            sck=Pin(settings["sck_pin"]),
            ws=Pin(settings["ws_pin"]),
            sd=Pin(settings["sd_pin"]),
            mode=I2S.RX,
            bits=32,
            format=I2S.MONO,
            rate=self._rate_hz,
            ibuf=settings["dma_bytes"],
        )
        self.newest = memoryview(bytearray(BLOCK_SAMPLES * SLOT_BYTES))  # the block read last, or being read
        self.on_block = _nothing  # called with the number of samples, once the detector had them
        self.blocks = 0
        self._samples = 0
        self._base_us: int | None = None  # monotonic time of sample 0, were none ever lost
        self.late_us = 0  # scatter of arrivals: how well a sample number tells a moment
        self.lost_samples = 0

    async def run(self) -> None:
        """Read and analyse until cancelled."""
        while True:
            filled = 0
            while filled < len(self.newest):
                await readable(self._i2s)
                filled += self._i2s.readinto(self.newest[filled:]) or 0
            self._samples += BLOCK_SAMPLES
            self._note_arrival(self._monotonic.us())
            waiting = self._detector.feed(self.newest, BLOCK_SAMPLES)
            self.blocks += 1
            try:
                self.on_block(BLOCK_SAMPLES)
            except Exception:  # told by whoever keeps this task running, once: what is heard goes on without
                self.on_block = _nothing
                raise
            while waiting:
                self._on_impulse(self._detector.take())
                waiting -= 1
            await asyncio.sleep_ms(0)  # with samples in the ring a read returns at once: let the others have their turn

    def moment_us(self, sample: int) -> int:
        """Monotonic time at which the sound of sample number `sample` met the microphone."""
        return (self._base_us or 0) + self._samples_us(sample) - self._group_delay_us

    def milliseconds(self, samples: int) -> int:
        """How long so many samples last."""
        return samples * 1000 // self._rate_hz

    def _samples_us(self, samples: int) -> int:
        return samples * 1_000_000 // self._rate_hz

    def _note_arrival(self, now_us: int) -> None:
        base_us = now_us - self._samples_us(self._samples)
        if self._base_us is None:
            self._base_us = base_us
            return
        late_us = base_us - self._base_us
        if late_us >= self._samples_us(self._waiting_samples):
            # The ring overflowed: from here on, sample numbers mean later moments. This block is late by what was lost
            # and by all that waits behind it. Of a sound that began before, nobody knows it better than by that.
            lost = late_us * self._rate_hz // 1_000_000 - self._waiting_samples + BLOCK_SAMPLES
            self.lost_samples += lost
            self._base_us += self._samples_us(lost)
            self.late_us = late_us
        elif late_us < 0:
            self._base_us = base_us
            self.late_us = 0
        else:
            self._base_us += late_us // 1024  # a slow leak follows the divider's rounding of the sample rate
            self.late_us += (late_us - self.late_us) // 16


def _nothing(_) -> None:
    pass
