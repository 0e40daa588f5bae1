"""Battery voltage through a divider on an ADC pin."""

from machine import ADC, Pin

SAMPLES = 16  # the ESP32's converter scatters by tens of millivolts


class Battery:
    """`read_mv` gives the battery's voltage, or None when the converter fails. Raises where there is none."""

    def __init__(self, settings: dict):
        self._empty_mv = settings["empty_mv"]
        self._bottom_ohms = settings["divider_bottom_ohms"]
        self._whole_ohms = settings["divider_top_ohms"] + self._bottom_ohms
        if "enable_pin" in settings:  # some boards connect the divider by a transistor, to save the cell
            Pin(settings["enable_pin"], Pin.OUT, value=settings["enable_level"])
        self._adc = ADC(Pin(settings["adc_pin"]), atten=ADC.ATTN_11DB)

    def read_mv(self):
        """Millivolts at the battery, averaged; None when it cannot be measured."""
        try:
            total_uv = 0
            for _ in range(SAMPLES):
                total_uv += self._adc.read_uv()
        except Exception:
            return None
        return min(total_uv // SAMPLES * self._whole_ohms // (self._bottom_ohms * 1000), 65535)

    def is_low(self, battery_mv) -> bool:
        """True when the voltage is known and below the board's limit."""
        return battery_mv is not None and battery_mv < self._empty_mv
