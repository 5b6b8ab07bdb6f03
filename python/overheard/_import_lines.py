"""The lines of an import: read, checked, and kept in a file on their way to the store. Stores nothing, asks nobody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import IO, Any

from overheard import _core
from overheard.errors import ConfigError, OverheardError
from overheard.org import Location, question_id
from overheard.settings import money

FIELDS = (
    "question",
    "model",
    "location",
    "answer",
    "citations",
    "time",
    "id",
    "repeat",
    "status",
    "served_model",
    "cost",
)
"""The fields of a line; `question` and `model` are needed."""
_CITATION_FIELDS = ("url", "title", "cited", "position", "start", "end", "cited_text")
_STATUSES = ("answered", "refused", "no_answer", "failed")
_LONGEST_LINE = 64 * 1024 * 1024  # bytes
_MOST_ERRORS = 100  # told at once
_MOST_REPEATS = 65_535
PAGE_ROWS, _PAGE_BYTES = 200, 4_000_000


def read_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that hold something, with their numbers; one too long is cut, and refused later."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        whole = len(line) <= _LONGEST_LINE
        while not whole and line[-1:] != b"\n" and (more := file.readline(_LONGEST_LINE)):
            if more[-1:] == b"\n":
                break
        if stripped := line.strip():
            yield number, stripped


class Spool:
    """Checked lines on their way to the store: in a file, so that their number is no matter."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        """Nothing is read yet; `name` is the source's in errors, `file` an empty one for the lines."""
        self.name = name
        self.lines = 0
        self.questions: dict[str, str] = {}
        self.models: dict[str, None] = {}
        self.locations: dict[str, Location | None] = {}
        self.repeats = 1
        self._digest = hashlib.sha256()
        self._file = file
        self._errors: list[str] = []
        self._wrong = 0
        self._first_of: dict[str, int] = {}
        # A cell by 8 bytes: a million lines take some 100 MB. The line it stood in, for the error.
        self._cells: dict[int, int] = {}
        self._counted: dict[int, int] = {}

    @property
    def digest(self) -> str:
        """Of all lines in their order: 16 hexadecimal digits."""
        return self._digest.hexdigest()[:16]

    def take(self, number: int, line: bytes | Mapping[str, Any]) -> None:
        """Checks a line and keeps it; what is wrong is kept for `raise_errors`."""
        try:
            plain = _cleaned(_parsed(line))
            if problems := list(_problems(plain)):
                raise _Wrong("; ".join(problems))
            row = self._row(plain, number)
        except _Wrong as wrong:
            self._wrong += 1
            if len(self._errors) < _MOST_ERRORS:
                self._errors.append(f"{self.name}:{number}: {wrong}")
            return
        text = json.dumps(row, ensure_ascii=False, sort_keys=True).encode()
        self._digest.update(text + b"\n")
        self._file.write(text + b"\n")
        self.lines += 1

    def _row(self, plain: dict[str, Any], number: int) -> dict[str, Any]:
        """The line with id, location and repeat as they are stored."""
        name = plain.get("id") or question_id(plain["question"])
        known = self.questions.setdefault(name, plain["question"])
        if known != plain["question"]:
            raise _Wrong(f"id: '{name}' is another question in line {self._first_of[name]}")
        self._first_of.setdefault(name, number)
        place = _location(plain.get("location"))
        where = "anywhere" if place is None else str(place)
        cell = _hashed(name, plain["model"], where)
        repeat = plain.get("repeat")
        if repeat is None:
            repeat = self._counted[cell] = self._counted.get(cell, 0) + 1
            if repeat > _MOST_REPEATS:
                raise _Wrong(f"repeat: more than {_MOST_REPEATS} answers to one question of one model and location")
        numbered = _hashed(name, plain["model"], where, str(repeat))
        if (before := self._cells.setdefault(numbered, number)) != number:
            raise _Wrong(f"repeat: the same question, model, location and repeat ({repeat}) stand in line {before}")
        self.models[plain["model"]] = None
        self.locations.setdefault(where, place)
        self.repeats = max(self.repeats, repeat)
        return {**plain, "id": name, "location": where, "repeat": repeat}

    def raise_errors(self) -> None:
        """Ends the import of a source with a wrong line.

        Raises:
            ConfigError: All wrong lines, one a line, the first hundred; or there is no line.
        """
        if self._wrong:
            more = self._wrong - len(self._errors)
            lines = [*self._errors, *([f"{self.name}: and {more} more"] if more else [])]
            raise ConfigError("\n".join(lines), field=self.name)
        if not self.lines:
            raise ConfigError(f"{self.name}: holds no answer", field=self.name)

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """The lines again, in pages."""
        self._file.seek(0)
        page: list[dict[str, Any]] = []
        size = 0
        for line in self._file:
            page.append(json.loads(line))
            size += len(line)
            if len(page) >= PAGE_ROWS or size >= _PAGE_BYTES:
                yield page
                page, size = [], 0
        if page:
            yield page


class _Wrong(Exception):
    """What is wrong with a line."""


def _parsed(line: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(line, Mapping):
        return line
    if len(line) > _LONGEST_LINE:
        raise _Wrong("is longer than 64 MiB")
    try:
        plain = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise _Wrong(f"is not UTF-8 text (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"is not JSON: {error}") from None
    if not isinstance(plain, Mapping):
        raise _Wrong(f"must be a JSON object with {', '.join(FIELDS)}")
    return plain


def _cleaned(value: Any) -> Any:
    """The value with what no database keeps (lone surrogates, NUL) as U+FFFD."""
    if isinstance(value, str):
        if not value.isascii():
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {str(name): _cleaned(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [_cleaned(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    for name in plain:
        if name not in FIELDS:
            yield f"{name}: unknown field; the fields are {', '.join(FIELDS)}"
    for name in ("question", "model"):
        if not isinstance(plain.get(name), str) or not plain[name].strip():
            yield f"{name}: is missing or empty"
    for name in ("id", "served_model"):
        if name in plain and (not isinstance(plain[name], str) or not plain[name].strip()):
            yield f"{name}: must be text and not empty"
    answer, status = plain.get("answer"), plain.get("status")
    if answer is not None and not isinstance(answer, str):
        yield "answer: must be text, or null when there was none"
    if status is not None and status not in _STATUSES:
        yield f"status: {status!r} is none of {', '.join(_STATUSES)}"
    if status == "answered" and not answer:
        yield "answer: an answered question has one; else say status refused, no_answer or failed"
    yield from _citation_problems(plain.get("citations"))
    if "time" in plain:
        try:
            moment_of(plain["time"])
        except (ValueError, TypeError, OverflowError):
            yield f"time: {plain['time']!r} is no time in ISO 8601, such as 2026-01-31T08:00:00Z"
    repeat = plain.get("repeat")
    if repeat is not None and (
        isinstance(repeat, bool) or not isinstance(repeat, int) or not 1 <= repeat <= _MOST_REPEATS
    ):
        yield f"repeat: must be a whole number from 1 to {_MOST_REPEATS}"
    if "cost" in plain:
        cost = plain["cost"]
        try:
            money("cost", str(cost) if isinstance(cost, float) else cost)
        except ConfigError as error:
            yield str(error)
    try:
        _location(plain.get("location"))
    except (OverheardError, TypeError) as error:
        yield f"location: {error}"


def _citation_problems(citations: Any) -> Iterator[str]:
    if citations is None:
        return
    if not isinstance(citations, list):
        yield "citations: must be a list of URLs, or of mappings with url"
        return
    for position, entry in enumerate(citations):
        if isinstance(entry, str):
            continue
        if not isinstance(entry, Mapping) or not isinstance(entry.get("url"), str):
            yield f"citations[{position}]: must be a URL, or a mapping with url"
            continue
        for name in entry:
            if name not in _CITATION_FIELDS:
                yield f"citations[{position}].{name}: unknown field; the fields are {', '.join(_CITATION_FIELDS)}"
        try:
            _core.Citation.from_dict({key: value for key, value in entry.items() if key in _CITATION_FIELDS})
        except (ValueError, TypeError) as error:
            yield f"citations[{position}]: {error}"


def _location(value: Any) -> Location | None:
    if value is None or value == "anywhere":
        return None
    if isinstance(value, Mapping):
        return Location(**value)
    if not isinstance(value, str):
        raise TypeError("must be text such as US, or a mapping with country, region, city")
    return Location.parse(value)


def moment_of(value: Any) -> int:
    """Milliseconds since 1970 UTC; 0: not told. A time without a zone is UTC."""
    if value is None:
        return 0
    if not isinstance(value, str):
        raise TypeError("not text")
    moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def _hashed(*parts: str) -> int:
    text = "\0".join(parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
