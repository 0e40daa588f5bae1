"""Writes the generated parts of protocol/SPEC.md: field tables, limits and every line of hex. The prose is left alone.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. A part without a writer, or a writer without a
part, is an error, so nothing generated is forgotten on either side.
"""

import base64
import hashlib
import pathlib
import re
import zlib

from generate import annotate, field_tables, samples
from holdfire_protocol import cbor, cose, enrolment, fields, frame, handover, line, record, update, words

TARGET = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "SPEC.md"
PART = re.compile(r"(<!-- begin ([a-z-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def outputs() -> dict[pathlib.Path, str]:
    text = TARGET.read_text()
    parts = _parts()
    found = [match.group(2) for match in PART.finditer(text)]
    if sorted(found) != sorted(parts):
        odd = sorted(set(found) ^ set(parts)) or "one stands twice"
        raise SystemExit(f"SPEC.md: generated parts do not match: {odd}")
    return {TARGET: PART.sub(lambda match: match.group(1) + parts[match.group(2)] + match.group(3), text)}


def _parts() -> dict[str, str]:
    tables = field_tables.tables()
    made = {f"fields-{name}": _table(table) for name, table in tables.items()}
    made["limits"] = _limits()
    made["domains"] = _domains()
    made["selftest"] = _selftest()
    made["record-bytes"] = _code(annotate.message(samples.ALERT_MESSAGE, fields.RECORD, "record"))
    made["beacon-bytes"] = _code(annotate.message(samples.BEACON_MESSAGE, fields.BEACON, "beacon"))
    made["frame-bytes"] = _code(_frame_lines())
    made["line-bytes"] = _code([line.encode(_frame())[:-2].decode()])
    made["fetch-lines"] = _code(_fetch_lines())
    made["signed-bytes"] = _code(_signed_lines())
    made["keys"] = _code(_key_lines())
    made["genesis-bytes"] = _code(_genesis_lines())
    return made


def _code(lines: list[str]) -> str:
    return "```\n" + "\n".join(lines) + "\n```\n"


def _rows(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _table(table: field_tables.Table) -> str:
    place = "place" if table.is_tuple else "key"
    rows = [[str(row.key), f"`{row.name}`", _kind(row), "yes" if row.required else "no", row.comment]
            for row in table.rows]
    return _rows([place, "name", "type and range", "required", "meaning"], rows)


def _kind(row: field_tables.Row) -> str:
    span = f"{row.low}" if row.low == row.high else f"{row.low} to {row.high}"
    if row.type == fields.BYTES:
        return f"byte string, {span} bytes"
    if row.type == fields.LIST:
        return f"array of {span} {row.shape.name}s"
    if row.type in (fields.MAP, fields.TUPLE):
        return f"{'map' if row.type == fields.MAP else 'array'}: {row.shape.name}"
    return f"integer, {span}"


def _limits() -> str:
    rows = [[f"`{name}`", str(value), comment] for name, value, comment in field_tables.limits()]
    rows.append(["`MAX_PAYLOAD_BYTES`", str(cose.MAX_PAYLOAD_BYTES), "what a signed message leaves for its payload"])
    rows.append(["`MAX_DEPTH`", str(cbor.MAX_DEPTH), "containers round a value in CBOR; a frame allows 1"])
    return _rows(["name", "value", "meaning"], rows)


def _domains() -> str:
    uses = ((fields.AAD_RECORD, "external_aad of a record, before the network id"),
            (fields.AAD_BEACON, "external_aad of a beacon, before the network id"),
            (enrolment.AAD_ENROLMENT, "external_aad of an enrolment, before the network id"),
            (update.AAD_UPDATE, "external_aad of an update, before the network id"),
            (handover.AAD_HANDOVER, "external_aad of a handover, before the network id"),
            (enrolment.REGISTRY, "signed before network id and entry: the registry"),
            (fields.GENESIS, "hashed before network id and public key: the start of a chain"))
    rows = []
    for value, use in uses:
        rows.append([f"`{value.hex()}`", f"`{value.decode()[:-1]}` and a zero byte", use])
    return _rows(["bytes", "in text", "where"], rows)


def _selftest() -> str:
    rows = [[str(i), str(1 << i), name] for i, name in enumerate(words.SELFTEST_NAMES)]
    return _rows(["bit", "value", "when set"], rows)


def _frame() -> bytes:
    return frame.encode(fields.FRAME_RECORD, samples.NETWORK, samples.ALERT_MESSAGE)


def _frame_lines() -> list[str]:
    data = _frame()
    body = samples.ALERT_MESSAGE
    head = cbor.head(2, len(body))
    tag = b"\x44" + samples.NETWORK[:4]
    assert data == b"\x83\x01" + tag + head + body
    return [f"{'83':<24}# array of 3", f"  {'01':<22}# kind: record", f"  {tag.hex():<22}# network tag",
            f"  {head.hex():<22}# body: {len(body)} bytes, the signed record above",
            f"    {body[:16].hex()} ... {body[-4:].hex()}"]


def _fetch_lines() -> list[str]:
    piece = base64.b64encode(bytes(range(14))).decode()
    rows = (("pull 17", "pull first=17 sent=17,18,20,21,22,23 last=412"),
            ("pull 413", "pull first=413 sent=none last=412"), ("clips", "clips first=3 last=41"),
            ("clips 41 1536", f"clip 41 1536 1550 {piece}"), ("clips 2 0", "clip 2 none"))
    return [f"{asked:<16}{answer} {zlib.crc32(answer.encode()):08x}" for asked, answer in rows]


def _signed_lines() -> list[str]:
    payload = cose.parse(samples.ALERT_MESSAGE).payload
    aad = fields.AAD_RECORD + samples.NETWORK
    opening, protected = b"\x84\x6aSignature1", cbor.byte_string(cose.PROTECTED)
    heads = cbor.head(2, len(aad)), cbor.head(2, len(payload))
    assert cose.sig_structure(aad, payload) == opening + protected + heads[0] + aad + heads[1] + payload
    return [f"{opening.hex():<40}# array of 4, \"Signature1\"", f"{protected.hex():<40}# protected header",
            f"{heads[0].hex():<40}# external_aad, {len(aad)} bytes: domain string, network id",
            f"  {fields.AAD_RECORD.hex()}", f"  {samples.NETWORK.hex()}",
            f"{heads[1].hex():<40}# payload, {len(payload)} bytes", f"  {payload[:16].hex()} ... {payload[-4:].hex()}"]


def _key_lines() -> list[str]:
    public = samples.STATION.public
    hashed = b"\xa3\x01\x01\x20\x06\x21\x58\x20" + public
    assert hashlib.sha256(hashed).digest() == cose.key_thumbprint(public)
    return [f"public key    {public.hex()}", f"hashed        {hashed.hex()}",
            f"thumbprint    {cose.key_thumbprint(public).hex()}", f"kid           {samples.STATION.kid.hex()}"]


def _genesis_lines() -> list[str]:
    return [f"network id    {samples.NETWORK.hex()}", f"public key    {samples.STATION.public.hex()}",
            f"prev          {samples.GENESIS.hex()}",
            f"first record  {record.record_hash(samples.FIRST_MESSAGE).hex()}"]
