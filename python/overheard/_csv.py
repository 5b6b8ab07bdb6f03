"""CSV as RFC 4180 has it, safe to open in a spreadsheet: answers are untrusted, and a cell can be a formula.

Knows text and types, no table and no file. Text cells that a spreadsheet would run get a leading apostrophe; numbers,
moments and booleans come from typed columns and stay as they are.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from overheard._columns import Column

BOM = "\ufeff"
"""What tells a spreadsheet program that the file is UTF-8."""

_REPLACED = "\ufffd"
# Controls but tab and line ends, and the characters that change the direction of text.
_CONTROLS = dict.fromkeys(
    [*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    _REPLACED,
)
_STARTS = frozenset("=+-@\u2212")  # the last is the minus sign of typesetters
_BREAKS = frozenset("\t\r\n")
_QUOTED = frozenset(',"\r\n')
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet could run a cell with this text.

    True for what begins with `=`, `+`, `-`, `@` (also full-width and other compatibility forms, and behind spaces and
    invisible characters, which programs strip) and for a first tab or line end.
    """
    if not text:
        return False
    if text[0] in _BREAKS:
        return True
    for character in text:
        if character.isspace() or unicodedata.category(character) in ("Cf", "Cc"):
            continue
        return unicodedata.normalize("NFKC", character)[:1] in _STARTS
    return False


def escaped(text: str) -> str:
    """Text for a cell: control and direction characters replaced by U+FFFD, a formula behind an apostrophe.

    What is an apostrophe before a formula already gets another one, so that `plain` finds the text again.
    """
    safe = text.translate(_CONTROLS)
    if not safe.isascii():
        safe = safe.encode("utf-8", "replace").decode()  # a lone surrogate must not end an export
    return f"'{safe}" if is_formula(safe.lstrip("'")) else safe


def plain(cell: str) -> str:
    """The inverse of `escaped`, but for the characters that it replaced."""
    return cell[1:] if cell.startswith("'") and is_formula(cell.lstrip("'")) else cell


def header(columns: Sequence[Column]) -> str:
    """The first line, with its line end."""
    return ",".join(column.name for column in columns) + "\r\n"


def line(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    """The line of a row, with its line end.

    None is an empty cell and empty text is `""`; moments are ISO 8601 with `Z`; lists are JSON.
    """
    return ",".join(_cell(column, row.get(column.name)) for column in columns) + "\r\n"


def _cell(column: Column, value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if column.kind == "bool":
        return "true" if value else "false"
    if column.kind == "int" and isinstance(value, int):
        return str(value)
    if column.kind == "float" and isinstance(value, int | float):
        return repr(value)
    if column.kind == "instant":
        return iso(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _quoted(escaped(text))


def _quoted(text: str) -> str:
    if not text or text[0] == " " or text[-1] == " " or not _QUOTED.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def iso(milliseconds: int) -> str:
    """A moment in ISO 8601 with milliseconds and `Z`."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
