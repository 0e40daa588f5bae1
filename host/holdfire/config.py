"""Settings of the collector: what there is, its default, its range and what it does. `config.toml` may set any.

One table, the fields of Settings; loading, `template()` and the test that nothing is undocumented read it.
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from .errors import ConfigError


def _setting(default: Any, doc: str, low: int | None = None, high: int | None = None) -> Any:
    # A list default needs a factory; tuples are used instead, so that Settings is immutable.
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every setting with its default. Frozen: what a collector was started with is what it runs with."""

    ports: tuple[str, ...] = _setting(
        ("/dev/ttyUSB*", "/dev/ttyACM*", "/dev/cu.usbserial*", "/dev/cu.usbmodem*", "/dev/cu.SLAB_USBtoUART*"),
        "serial ports: paths, or patterns with * ? []; looked for again every rescan_ms, so cables may come and go",
    )
    baud: int = _setting(115_200, "speed of the serial ports", 300, 4_000_000)
    rescan_ms: int = _setting(1000, "how often ports are looked for", 50, 60_000)
    beacon_interval_ms: int = _setting(
        10_000, "at least one beacon a port in this time, so that stations have the time", 100, 3_600_000
    )
    receipt_spacing_ms: int = _setting(
        200, "receipts of a port are gathered this long; a station checks a signature for every beacon", 0, 60_000
    )
    clock_uncertainty_ms: int = _setting(
        1000, "how far this clock may be from UTC, stated in beacons; lower only with NTP or GNSS", 1, 4_000_000
    )
    future_tolerance_s: int = _setting(120, "a record's time may be this much later than our clock", 0, 86_400)
    past_tolerance_s: int = _setting(
        86_400, "a record's time may be this much before its station's enrolment", 0, 315_360_000
    )
    batch_bytes: int = _setting(524_288, "at most this much is verified and committed at once", 1500, 16_777_216)
    port_bytes: int = _setting(
        262_144, "this much of a port may wait; then it is not read until there is room", 4096, 16_777_216
    )
    refusal_rows: int = _setting(
        100_000, "refused messages kept, an equal share a reason; what is beyond is only counted", 100, 100_000_000
    )
    forward_files: bool = _setting(True, "write stored records to forward/records-YYYY-MM-DD.jsonl")
    forward_url: str = _setting("", "POST stored records here as CloudEvents (http:// or https://); empty: do not")
    forward_in_flight: int = _setting(8, "requests to forward_url under way at once", 1, 256)
    forward_timeout_ms: int = _setting(30_000, "a request is given up after this, and tried again", 100, 600_000)
    forward_retry_ms: int = _setting(
        500, "first wait after a failed delivery; it doubles up to forward_retry_max_ms, with jitter", 10, 600_000
    )
    forward_retry_max_ms: int = _setting(
        60_000, "longest wait between two tries; there is no last try", 10, 3_600_000
    )


def load(path: Path) -> Settings:
    """Settings from a TOML file; defaults when there is none. Raises ConfigError naming file, key and reason."""
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return make(content, str(path))


def make(values: dict[str, Any], where: str = "settings") -> Settings:
    """Checked settings from a dict. Raises ConfigError."""
    table = {field.name: field for field in dataclasses.fields(Settings)}
    checked = {}
    for name, value in values.items():
        if name not in table:
            raise ConfigError(f"{where}: {name}: no such setting (there are: {', '.join(table)})")
        checked[name] = _check(table[name], value, f"{where}: {name}")
    return Settings(**checked)


def template() -> str:
    """A config.toml with every setting at its default and what it does."""
    lines = ["# Settings of the Holdfire collector. Every line is optional; these are the defaults.\n"]
    for field in dataclasses.fields(Settings):
        bounds = f" ({field.metadata['low']} to {field.metadata['high']})" if field.metadata["low"] is not None else ""
        lines.append(f"# {field.metadata['doc']}{bounds}\n{field.name} = {_toml(field.default)}\n")
    return "\n".join(lines)


def _check(field: "dataclasses.Field[Any]", value: Any, where: str) -> Any:
    kind: Any = type(field.default)
    if kind is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
            raise ConfigError(f"{where}: not a list of texts")
        return tuple(value)
    if type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", str: "a text"}
        raise ConfigError(f"{where}: not {names[kind]}")
    if kind is int and not field.metadata["low"] <= value <= field.metadata["high"]:
        raise ConfigError(f"{where}: {value} is outside {field.metadata['low']} to {field.metadata['high']}")
    if field.name == "forward_url" and value and not value.startswith(("http://", "https://")):
        raise ConfigError(f"{where}: does not begin with http:// or https://")
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    return "[" + ", ".join(f'"{item}"' for item in value) + "]"
