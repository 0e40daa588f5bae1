"""`machine` as the ESP32 port has it: pins, I2S receive, UART, ADC, watchdog, reset. Silicon only; what is on the other
end of the pins is in chips/, put there by boot.py. Behaviour is that of MicroPython 1.25's ports/esp32 (machine_i2s.c,
machine_uart.c, ...); what Holdfire does not use is not here.

Pin handlers run when the firmware waits, polls or reads: within tens of microseconds when it is idle, after the code
in hand otherwise. The chip schedules them between byte codes, so there too they wait for a viper function to return.
"""

import io
import sys

from micropython import RingIO, const

from chips import world

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
_cause = PWRON_RESET
_uid = b""
_hz = 160000000
_fastest_hz = 240000000
# What is broken: "adc", "i2s", "uart" raise as soon as they are set up; from a "mute" I2S no sample ever comes; with
# "adc_read" the converter fails when it is read.
_broken = ()
_uart_room = bytearray(4096)  # the driver's ring is not in the program's heap on the chip
_POLL = const(3)  # MP_STREAM_POLL
_READABLE = const(1)
_WRITABLE = const(4)
_FRAMES = const(256)  # in a DMA buffer


def reset():
    world.stop("USR2", HARD_RESET)


def reset_cause():
    return _cause


def _set_up(part):
    if part in _broken:
        raise OSError(-261, "ESP_ERR_NOT_FOUND")


def unique_id():
    return _uid


def freq(hz=None):
    global _hz
    if hz is None:
        return _hz
    if hz not in (20000000, 40000000, 80000000, 160000000, 240000000) or hz > _fastest_hz:
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _hz = hz
    return None


class Pin:
    IN, OUT = 1, 3
    PULL_DOWN, PULL_UP = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2
    _made = {}

    def __new__(cls, number, *args, **kwargs):
        if isinstance(number, Pin):
            return number
        if number not in cls._made:
            if not 0 <= number <= 39 or 6 <= number <= 11 or number in (20, 24, 28, 29, 30, 31):
                raise ValueError("invalid pin")
            pin = cls._made[number] = super().__new__(cls)
            pin.number = number
            pin.net = world.net(number)
            pin.net.pin = pin
        return cls._made[number]

    def __init__(self, number, mode=-1, pull=-1, *, value=None):
        if mode == Pin.OUT and self.number >= 34:
            raise ValueError("pin can only be input")
        if pull in (1, 2) and self.number < 34:  # 34 to 39 have no pull resistors
            self.net.pull = pull - 1
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is None:
            world.run_due()
            return self.net.level()
        self.net.driven = 1 if level else 0
        return None

    def irq(self, handler=None, trigger=3):
        self.net.handler, self.net.trigger = handler, trigger
        return self


class I2S(io.IOBase):
    """Receiver. DMA buffers of 256 frames of 8 bytes fill whether or not anyone reads. As many as there are less one
    wait in a queue, full (ESP-IDF, i2s_common.c); when it is full the oldest is lost. Once polled it is in asyncio
    mode: readinto gives what is there, perhaps nothing. Before, it blocks until the buffer is full. Polled, it is
    readable from the start and from the end of each DMA buffer on, until a read falls short.
    """

    RX, TX = 9, 5
    MONO, STEREO = 0, 1

    def __init__(self, id, *, sck, ws, sd, mode, bits, format, rate, ibuf):
        if id not in (0, 1):
            raise ValueError("invalid id")
        _set_up("i2s")
        if (mode, bits, format) != (I2S.RX, 32, I2S.MONO):
            raise NotImplementedError("simulated I2S receives 32-bit mono")
        self._queued = ibuf // (8 * _FRAMES) - 1
        if self._queued < 1:
            raise OSError(-258, "ESP_ERR_INVALID_ARG")
        self._rate = rate
        self._chip = world.microphones.get((sck.number, ws.number, sd.number))
        self._start_ticks = world.ticks_us()
        self._next = 0  # the next sample to be read
        self._short_at = -1  # DMA buffers that were filled when a read fell short
        self._asyncio = False
        self._running = True
        self.lost = 0
        if self._chip:
            self._chip.clock(self.sample_at)
        world.at(self._filled_us(1), self._filled)

    def sample_at(self, true_us):
        """Number of the sample being taken at a true time."""
        return (true_us + true_us * world.ppm // 1000000 - self._start_ticks) * self._rate // 1000000

    def _done(self):
        """DMA buffers filled since the start."""
        return (world.ticks_us() - self._start_ticks) * self._rate // 1000000 // _FRAMES

    def _filled_us(self, number):
        """True time at which that many are."""
        return world.true_us_at(self._start_ticks + (number * _FRAMES * 1000000 + self._rate - 1) // self._rate)

    def _filled(self, due_us):  # nothing to do, but whoever waits for a buffer waits for this
        return self._filled_us(self._done() + 1) if self._running else None

    def ioctl(self, request, arg):
        if request != _POLL:
            return -22
        self._asyncio = True
        world.run_due()
        if arg & _READABLE and "mute" not in _broken:
            return _READABLE if self._short_at < self._done() else 0
        return 0

    def readinto(self, buf):
        world.run_due()
        into = memoryview(buf)
        size = len(into)
        if size % 4:
            raise ValueError("buffer is not a whole number of samples")
        at = 0
        while at < size:
            done = self._done()
            oldest = (done - self._queued) * _FRAMES
            if self._next < oldest:
                self.lost += oldest - self._next
                print("~ i2s lost", oldest - self._next, file=sys.stderr)
                self._next = oldest
            count = min((size - at) // 4, done * _FRAMES - self._next)
            if count:
                part = into if count * 4 == size else into[at : at + 4 * count]
                if self._chip:
                    self._chip.sample(part, self._next)
                else:
                    part[:] = bytes(4 * count)  # the data pin is not where a microphone is
                self._next += count
                at += 4 * count
            elif self._asyncio:
                self._short_at = done
                break
            else:
                world.wait(self._filled_us(done + 1))
        return at

    def deinit(self):
        self._running = False


class UART(io.IOBase):
    """The driver hands on each byte as it comes (with timeout_char=0: machine_uart.c sets the threshold to one)."""

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, *, tx=None, rx=None, txbuf=256, rxbuf=256,
                 timeout=0):
        if id not in (1, 2):  # 0 is the console
            raise ValueError("UART(%d) does not exist" % id)
        _set_up("uart")
        self._baud = baudrate
        self._ring = RingIO(memoryview(_uart_room)[: rxbuf + 1])
        self._coming = []  # [when it began, bytes, how many of them are in the ring]
        self._idle_at_us = 0  # when the last byte sent to us will have arrived
        self._chip = world.uarts.get((rx and rx.number, tx and tx.number))
        if self._chip:
            self._chip.send = self.arrive

    def arrive(self, data, start_us):
        """Bytes begin to come in."""
        baud = self._chip.baud
        if baud != self._baud:
            data = bytes([(byte * 5 + 0x91) & 0xFF for byte in data])  # framed wrongly: garbage
        if self._idle_at_us - start_us > 4000000:  # what waits there has filled the receiver's buffer: this it drops
            return
        self._take()  # who never reads loses what his ring has no room for, now: nothing else holds it
        start_us = max(start_us, self._idle_at_us)
        self._coming.append([start_us, data, 0])
        self._idle_at_us = start_us + len(data) * 10000000 // baud
        at = 0
        while at < len(data):  # whoever waits in a poll is told of lines, not of bytes: a day has 40 million
            at = data.find(b"\n", at) + 1 or len(data)
            world.at(start_us + at * 10000000 // baud, _nothing)

    def _receive(self):
        world.run_due()
        self._take()

    def _take(self):
        """Into the ring with what has come by now."""
        now_us = world.now_us()
        while self._coming:
            start_us, data, taken = coming = self._coming[0]
            came = min(max((now_us - start_us) * self._chip.baud // 10000000, 0), len(data))
            if came > taken and self._ring.write(data[taken:came]) != came - taken:
                print("~ uart overflow", file=sys.stderr)
            coming[2] = came
            if came < len(data):
                break
            self._coming.pop(0)

    def ioctl(self, request, arg):
        if request != _POLL:
            return -22
        self._receive()
        return (_READABLE if self._ring.any() else 0) & arg | _WRITABLE & arg

    def any(self):
        self._receive()
        return self._ring.any()

    def read(self, nbytes=-1):
        self._receive()
        return self._ring.read(nbytes) or None

    def readline(self):
        self._receive()
        return self._ring.readline() or None

    def readinto(self, buf, nbytes=-1):
        self._receive()
        view = memoryview(buf)
        return self._ring.readinto(view if nbytes < 0 else view[:nbytes]) or None

    def write(self, buf):
        return len(buf)  # nothing on this board heeds it


def _nothing(due_us):
    pass


class ADC:
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3

    def __init__(self, pin, *, atten=ATTN_0DB):
        _set_up("adc")
        self._number = Pin(pin).number
        if self._number not in (32, 33, 34, 35, 36, 37, 38, 39, 0, 2, 4, 12, 13, 14, 15, 25, 26, 27):
            raise ValueError("invalid pin")
        self._full_mv = (950, 1250, 1750, 3100)[atten]  # data sheet, ADC ranges

    def read_uv(self):
        _set_up("adc_read")
        source = world.voltages.get(self._number)
        return max(0, min(self._full_mv, (source() if source else 142000) // 1000)) * 1000


class WDT:
    """The watchdog bites through the launcher when the firmware spins without ever waiting; else here."""

    _timeout_us = 0
    _fed_us = 0
    _told_us = 0

    def __init__(self, id=0, timeout=5000):
        if id:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        before = WDT._timeout_us
        WDT._timeout_us = timeout * 1000
        WDT._fed_us = world.now_us()
        print("~ watchdog", timeout, file=sys.stderr)
        if not before:
            world.at(WDT._fed_us + WDT._timeout_us, self._bite)

    def feed(self):
        now_us = WDT._fed_us = world.now_us()
        if not world.virtual and now_us - WDT._told_us > WDT._timeout_us >> 3:
            WDT._told_us = now_us
            print("~ fed", file=sys.stderr)

    @staticmethod
    def armed():
        return WDT._timeout_us

    def _bite(self, due_us):
        if world.now_us() - WDT._fed_us >= WDT._timeout_us:
            world.stop("USR1", WDT_RESET)
        return WDT._fed_us + WDT._timeout_us
