"""What each supported chip is: its pins and their traps, where it boots from, which mpy-cross architecture it runs.

Facts from Espressif's data sheets and technical reference manuals; nothing about boards.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Pins are GPIO numbers. `psram_pins` are taken by the external RAM, by how wide its bus is."""

    name: str  # as esptool and board files spell it
    title: str
    pins: frozenset[int]
    flash_pins: frozenset[int]
    psram_pins: dict[str, frozenset[int]]
    console_pins: frozenset[int]  # UART0: boot messages and the prompt
    usb_pins: frozenset[int]  # the chip's own USB: the prompt, where a board has that socket
    strapping_pins: frozenset[int]  # sampled at reset: what hangs there decides how the chip boots
    input_only_pins: frozenset[int]  # these have no pull resistors either
    adc1_pins: frozenset[int]  # ADC2 does not work beside Wi-Fi
    i2s_count: int
    uart_count: int
    mpy_arch: str
    bootloader_offset: int
    image_chip_id: int  # in the header of every program image for this chip

    @property
    def highest_pin(self) -> int:
        return max(self.pins)


def _range(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


CHIPS = {chip.name: chip for chip in (
    Chip(  # data sheet v4.9, sections 2.2 (pins) and 3 (boot)
        name="esp32", title="ESP32", pins=_range(0, 39) - {20, 24, 28, 29, 30, 31}, flash_pins=_range(6, 11),
        psram_pins={"none": frozenset(), "quad": frozenset({16, 17})},
        console_pins=frozenset({1, 3}), usb_pins=frozenset(), strapping_pins=frozenset({0, 2, 5, 12, 15}),
        input_only_pins=_range(34, 39), adc1_pins=_range(32, 39), i2s_count=2, uart_count=3,
        mpy_arch="xtensawin", bootloader_offset=0x1000, image_chip_id=0,
    ),
    Chip(  # data sheet v2.0, sections 2.3 (pins) and 3 (boot)
        name="esp32s3", title="ESP32-S3", pins=_range(0, 48) - {22, 23, 24, 25}, flash_pins=_range(26, 32),
        psram_pins={"none": frozenset(), "quad": frozenset(), "octal": _range(33, 37)},
        console_pins=frozenset({43, 44}), usb_pins=frozenset({19, 20}), strapping_pins=frozenset({0, 3, 45, 46}),
        input_only_pins=frozenset(), adc1_pins=_range(1, 10), i2s_count=2, uart_count=3,
        mpy_arch="xtensawin", bootloader_offset=0, image_chip_id=9,
    ),
    Chip(  # data sheet v2.2, sections 2.3 (pins) and 3 (boot)
        name="esp32c3", title="ESP32-C3", pins=_range(0, 21), flash_pins=_range(11, 17),
        psram_pins={"none": frozenset()},
        console_pins=frozenset({20, 21}), usb_pins=frozenset({18, 19}), strapping_pins=frozenset({2, 8, 9}),
        input_only_pins=frozenset(), adc1_pins=_range(0, 4), i2s_count=1, uart_count=2,
        mpy_arch="rv32imc", bootloader_offset=0, image_chip_id=5,
    ),
)}  # fmt: skip
