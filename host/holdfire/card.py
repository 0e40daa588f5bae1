"""The card that hangs on a station's pole: who it is, for people, and the same as a QR code that can be checked.

One page of SVG, A6 on its side: any browser prints it. The code holds plain text with the station's key and the hash of
its newest entry in the registry; `check` compares such a text with a registry, whose authority signed that entry.
Proves nothing about the device below the card: that is what `holdfire registry check` asks the device.
"""

import io
import re
from pathlib import Path
from xml.sax.saxutils import escape

import segno
from rich.cells import cell_len

from holdfire_protocol import cose

from . import files, ledger, times
from .enrolled import Station
from .errors import RegistryError, UsageError
from .registry import Registry

WIDTH_MM, HEIGHT_MM = 148, 105
_CODE_MM = 58
_CODE_LEFT_MM = WIDTH_MM - _CODE_MM - 4
_TEXT_MM = _CODE_LEFT_MM - 8 - 2  # width of the left column
_WIDE = 0.62  # mean width of a bold letter of these fonts, in parts of its size
_TITLE = "HOLDFIRE STATION 1"
_TEXT = re.compile(
    _TITLE + r"\nname ([^\n]{1,80})\nnetwork ([0-9a-f]{32})\nkey ([0-9a-f]{64})\nentry (\d{1,6}) ([0-9a-f]{64})\n?"
)


def text(registry: Registry, station: Station) -> str:
    """What the code says."""
    number, digest = _newest_entry(registry, station)
    return (
        f"{_TITLE}\nname {station.name}\nnetwork {registry.network.hex()}\nkey {station.public_key.hex()}\n"
        f"entry {number} {digest.hex()}"
    )


def check(written: str, registry: Registry) -> tuple[Station, str]:
    """The station of a card's text, and what has changed since it was printed ("": nothing). Raises RegistryError."""
    found = _TEXT.fullmatch(written.replace("\r\n", "\n"))
    if not found:
        raise RegistryError(f"not the text of a station's card: it begins with {_TITLE!r} and has four lines more")
    name, network, key, number, digest = found.groups()
    if network != registry.network.hex():
        raise RegistryError(f"the card is of another deployment (network {network}), not of {registry.name}")
    station = registry.stations.get(cose.key_id(bytes.fromhex(key)))
    if station is None or station.public_key.hex() != key:
        raise RegistryError(f"the card's key is not in {registry.path}: a forged card, or a registry older than it")
    entries = registry.entries
    if int(number) > len(entries):
        raise RegistryError(f"the card names entry {number}, {registry.path} ends at {len(entries)}: get a newer copy")
    if int(number) < 1 or ledger.entry_hash(entries[int(number) - 1]).hex() != digest:
        raise RegistryError(f"the card's entry {number} is not the registry's: one of the two is forged")
    since = [entry["what"] for entry in entries[int(number) :] if entry.get("station") == station.kid.hex()]
    if name != station.name and "renamed" not in since and "rotated" not in since:
        raise RegistryError(f"the card says {name!r}, the registry {station.name!r}: a forged card")
    return station, ", ".join(since)


def svg(registry: Registry, station: Station, note: str = "") -> str:
    """The card as a picture of one page."""
    lines = [_text(8, 12, 4, "HOLDFIRE STATION", "#444")]
    size = min(10.0, _TEXT_MM / (_WIDE * max(cell_len(station.name), 1)))
    lines.append(_text(8, 23, size, station.name, weight="bold"))
    at = 29.0
    for detail in (station.place, station.mounting):
        for part in _folded(detail, 40):
            lines.append(_text(8, at, 3.2, part))
            at += 4
    at = 46.0
    thumbprint = cose.key_thumbprint(station.public_key).hex()
    rows = [("station", _grouped(station.kid.hex()))]
    rows += [("" if at else "key", _grouped(thumbprint[at : at + 16])) for at in range(0, len(thumbprint), 16)]
    rows.append(("authority", _grouped(registry.authority_kid.hex())))
    if station.statement is not None:
        rows += [("board", station.statement.board), ("chip", station.statement.chip.hex())]
    rows.append(("enrolled", times.text(station.enrolled_at_us, 0)))
    for label, value in rows:
        if label:
            lines.append(_text(8, at, 3, label, "#444"))
        lines.append(_text(26, at, 3, value, family="monospace"))
        at += 4.2
    lines.append(_text(8, 89, 3.4, f"Deployment {registry.name}", weight="bold"))
    lines.append(_text(8, 93.5, 3, f"network {_grouped(registry.network.hex())}", family="monospace"))
    if note:
        lines.append(_text(8, 99.5, min(4.0, (WIDTH_MM - 16) / (_WIDE * cell_len(note))), note))
    code = segno.make(text(registry, station), error="m", micro=False)
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", border=4, xmldecl=False, svgns=False, omitsize=True, nl=False, light="#fff")
    place = f'x="{_CODE_LEFT_MM}" y="8" width="{_CODE_MM}" height="{_CODE_MM}"'
    lines.append(drawn.getvalue().decode().replace("<svg", f"<svg {place}", 1))
    lines.append(_text(_CODE_LEFT_MM + 5, 8 + _CODE_MM + 2, 2.2, "check: holdfire registry verify --card TEXT", "#444"))
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM}mm" height="{HEIGHT_MM}mm" '
        f'viewBox="0 0 {WIDTH_MM} {HEIGHT_MM}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif">\n'
        f'<rect x="0.5" y="0.5" width="{WIDTH_MM - 1}" height="{HEIGHT_MM - 1}" fill="#fff" stroke="#000" '
        f'stroke-width="0.4"/>\n{body}\n</svg>\n'
    )


def write(path: Path, registry: Registry, station: Station, note: str = "") -> None:
    """Write the card. Raises UsageError."""
    if path.suffix.lower() != ".svg":
        raise UsageError(f"{path}: the card is an SVG picture; name the file something.svg")
    try:
        files.write_atomically(path, svg(registry, station, note).encode(), 0o644, new=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {files.why(error)}") from None


def _newest_entry(registry: Registry, station: Station) -> tuple[int, bytes]:
    """(number, hash) of the newest entry that says something about the station."""
    kid = station.kid.hex()
    for entry in reversed(registry.entries):
        if kid in (entry.get("station"), entry.get("kid")):
            return entry["number"], ledger.entry_hash(entry)
    raise RegistryError(f"{registry.path}: no entry is about {station.name}")


def _grouped(digits: str) -> str:
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _folded(prose: str, width: int) -> list[str]:
    """At most two lines; what does not fit ends in dots."""
    lines = [""]
    for word in prose.split():
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    lines = [line if cell_len(line) <= width else line[: width - 3] + "..." for line in lines if line]
    return lines if len(lines) <= 2 else [lines[0], lines[1][: width - 4] + " ..."]


def _text(x: float, y: float, size: float, content: str, fill: str = "#000", weight: str = "", family: str = "") -> str:
    style = (f' font-weight="{weight}"' if weight else "") + (f' font-family="{family}"' if family else "")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:.2f}" fill="{fill}"{style}>{escape(content)}</text>'
