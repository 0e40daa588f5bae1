"""Reads fields.py and the modules beside it that hold one table: the tables as Python sees them, and the comment behind
each row and limit as a person wrote it."""

import ast
import io
import pathlib
import tokenize

from holdfire_protocol import clip, enrolment, fields, handover, update

SOURCE = pathlib.Path(fields.__file__)
ENROLMENT_SOURCE = pathlib.Path(enrolment.__file__)
CLIP_SOURCE = pathlib.Path(clip.__file__)
UPDATE_SOURCE = pathlib.Path(update.__file__)
HANDOVER_SOURCE = pathlib.Path(handover.__file__)
SHAPES = ("RECORD", "TIME", "STATUS", "POSITION", "RUN", "BEACON", "RECEIPT")  # and the variants of OBSERVATION


class Row:
    """One field: what the table says, and its comment."""

    def __init__(self, row, comment: str):
        self.key, self.name, self.type, self.low, self.high, self.required, *inner = row
        self.shape = inner[0] if inner else None
        self.comment = comment


class Table:
    """A map or tuple of fields by its name on paper."""

    def __init__(self, name: str, rows: list[Row], is_tuple: bool):
        self.name = name
        self.rows = rows
        self.is_tuple = is_tuple


def tables() -> dict[str, Table]:
    """Every table by name: record, instant, impulse, tamper, status, position, beacon, receipt."""
    lines = _row_lines(SOURCE)
    comments = _comments(SOURCE)
    found = {}
    for variable in SHAPES:
        shape = getattr(fields, variable)
        found[shape.name] = _table(shape.name, list(shape.rows), shape.is_tuple, lines[variable], comments)
    for _, variant in fields.OBSERVATION.variants:
        rows = lines[variant.name.upper() + "_ROWS"]
        found[variant.name] = _table(variant.name, list(variant.rows), False, rows, comments)
    single = (
        (enrolment.ENROLMENT, ENROLMENT_SOURCE), (clip.CLIP, CLIP_SOURCE), (update.UPDATE, UPDATE_SOURCE),
        (handover.HANDOVER, HANDOVER_SOURCE),
    )  # fmt: skip
    for shape, source in single:
        lines = _row_lines(source)[shape.name.upper()]
        found[shape.name] = _table(shape.name, list(shape.rows), shape.is_tuple, lines, _comments(source))
    return found


def limits() -> list[tuple[str, int, str]]:
    """(name, value, comment) of every commented number at the top level, in the order of the source."""
    found = []
    for module, source in ((fields, SOURCE), (enrolment, ENROLMENT_SOURCE)):
        comments = _comments(source)
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.Assign) and node.lineno in comments and isinstance(node.targets[0], ast.Name):
                value = getattr(module, node.targets[0].id)
                if isinstance(value, int) and not isinstance(value, bool):
                    found.append((node.targets[0].id, value, comments[node.lineno]))
    return found


def _table(name, rows, is_tuple, lines, comments) -> Table:
    if len(rows) != len(lines):
        raise SystemExit(f"{name}: {len(rows)} rows, {len(lines)} found in the source")
    missing = [row[1] for row, line in zip(rows, lines, strict=True) if line not in comments]
    if missing:
        raise SystemExit(f"{name}.{missing[0]} has no comment behind it: say what it means")
    return Table(name, [Row(row, comments[line]) for row, line in zip(rows, lines, strict=True)], is_tuple)


def _row_lines(source: pathlib.Path) -> dict[str, list[int]]:
    """Line of each row of each table, by the variable the table is assigned to."""
    found = {}
    for node in ast.parse(source.read_text()).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        value = node.value
        if isinstance(value, ast.Call) and len(value.args) > 1:
            value = value.args[1]
        if isinstance(value, ast.Tuple) and all(isinstance(row, ast.Tuple) for row in value.elts):
            found[node.targets[0].id] = [row.lineno for row in value.elts]
    return found


def _comments(source: pathlib.Path) -> dict[int, str]:
    """Comment on each line that also holds code."""
    tokens = tokenize.generate_tokens(io.StringIO(source.read_text()).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT and t.start[1] > 0}
