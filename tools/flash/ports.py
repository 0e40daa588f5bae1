"""Which serial port a board hangs on."""

from serial.tools import list_ports

from flash.errors import FlashError


def choose(wanted: str | None) -> list[str]:
    """The ports to flash: the one named, several by commas, every USB port for "all", or the only one there is."""
    if wanted and wanted != "all":
        return [port for port in wanted.split(",") if port]
    found = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    if not found:
        raise FlashError("no board found: plug it in with a data cable (some cables only charge)")
    if len(found) > 1 and wanted != "all":
        raise FlashError(f"several boards found: say which, PORT={' or PORT='.join(found)}, or PORT=all")
    return found
