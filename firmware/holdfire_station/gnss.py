"""The GNSS receiver: NMEA on a UART and a pulse on a pin, to the clock."""

import time

from machine import UART, Pin

from .nmea import Fix

READ_BYTES = 128
WEIGHED_US = 4_000_000  # four rounds of sentences, and many polls
FULL_PERCENT = 96


class Gnss:
    """Call `poll` at least five times a second: it feeds the clock. `fix` is what the receiver last said.

    A line that is never idle is one on which sentences queue, and come late by nobody knows how many seconds. So no
    time is believed from a line in use for FULL_PERCENT or more: `load_percent` of WEIGHED_US, 100 until it is known.
    """

    def __init__(self, settings: dict, monotonic, clock):
        self._uart = UART(
            settings["uart_id"],
            baudrate=settings["baud"],
            rx=Pin(settings["rx_pin"]),
            tx=Pin(settings["tx_pin"]),
            rxbuf=1024,
        )
        self._baud = settings["baud"]
        self._bytes = 0  # since then:
        self._since_us: int | None = None  # until the first byte
        self.load_percent = 100
        self._monotonic = monotonic
        self._clock = clock
        self.fix = Fix()
        self._fix_ms = None
        self._pulse_ticks_us = None  # of the last edge not yet named by a sentence
        pps = Pin(settings["pps_pin"], Pin.IN)
        pps.irq(self._pulse, Pin.IRQ_RISING)

    def poll(self) -> None:
        """Take what has come."""
        while self._uart.any():
            data = self._uart.read(READ_BYTES)
            if not data:
                return
            now_us = self._monotonic.us()
            self._weigh(len(data), now_us)
            if self.fix.feed(data):
                self._fix_ms = now_us // 1000
                pulse_ticks_us, self._pulse_ticks_us = self._pulse_ticks_us, None
                if self.load_percent >= FULL_PERCENT:
                    continue
                if pulse_ticks_us is not None:
                    self._clock.on_pulse(self._monotonic.at(pulse_ticks_us))
                self._clock.on_fix(self.fix.utc_s, now_us)

    def _weigh(self, size: int, now_us: int) -> None:
        if self._since_us is None:
            self._since_us = now_us
        self._bytes += size
        elapsed_us = now_us - self._since_us
        if elapsed_us >= WEIGHED_US:
            self.load_percent = self._bytes * 1_000_000_000 // (self._baud * elapsed_us)  # ten bits a byte
            self._bytes, self._since_us = 0, now_us

    def position(self, now_ms: int):
        """(latitude_e7, longitude_e7, height_dm, hdop_x10) of a fix of the last 10 s with height, or None."""
        fix = self.fix
        if self._fix_ms is None or now_ms - self._fix_ms > 10_000 or fix.utc_s is None or not fix.has_height:
            return None
        return fix.latitude_e7, fix.longitude_e7, fix.height_dm, fix.hdop_x10

    def _pulse(self, _pin) -> None:
        self._pulse_ticks_us = time.ticks_us()  # type: ignore[assignment]  # raw: an interrupt must not touch what the program is computing
