"""The org and what is asked about it: checked frozen dataclasses. Knows no file format and no store.

The checks live in one function over plain data (`org_problems`), so that a constructor and a file reader find the same
faults in the same words; `orgfile.py` adds file and line.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overheard._countries import country_problem
from overheard.errors import ConfigError

FieldPath = tuple[str | int, ...]
"""Where a value stands: `("questions", 3, "text")`."""

ORG_FIELDS = ("id", "name", "websites", "aliases", "competitors", "questions", "models", "locations")
QUESTION_FIELDS = ("id", "text")
LOCATION_FIELDS = ("country", "region", "city")


def question_id(text: str) -> str:
    """The id of a question that was given none: the same for the same text, whatever its spacing.

    Returns:
        `q-` and the first 12 hexadecimal digits of the SHA-256 of the NFC text with single spaces.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return "q-" + hashlib.sha256(plain.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Question:
    """The text asked, with a stable id.

    Attributes:
        text: What is asked, sent as it is.
        id: Unique within the org and part of the cell key; derived from the text when not given.
    """

    text: str
    id: str = ""

    def __post_init__(self) -> None:
        """Checks both and derives the id.

        Raises:
            ConfigError: The text is empty.
        """
        if not isinstance(self.text, str) or not self.text.strip():
            raise ConfigError("text: a question must not be empty", field="text")
        if not isinstance(self.id, str):
            raise ConfigError("id: must be text", field="id")
        if not self.id:
            object.__setattr__(self, "id", question_id(self.text))

    def to_dict(self) -> dict[str, str]:
        """As files and the engine have it."""
        return {"id": self.id, "text": self.text}


@dataclass(frozen=True)
class Location:
    """Where a question is asked from.

    Attributes:
        country: ISO 3166-1 alpha-2, upper case.
        region: State or province in words; None: not narrowed.
        city: City in words; None: not narrowed.
    """

    country: str
    region: str | None = None
    city: str | None = None

    def __post_init__(self) -> None:
        """Checks the country.

        Raises:
            ConfigError: Unknown code, or not in upper case; the message has the mended form.
        """
        for path, message in _location_problems(self._fields()):
            raise ConfigError(f"{field_text(path)}: {message}", field=field_text(path))

    def _fields(self) -> dict[str, str]:
        return {name: value for name in LOCATION_FIELDS if (value := getattr(self, name)) is not None}

    @classmethod
    def parse(cls, text: str) -> Location:
        """Reads `US`, `US/California`, `US/California/San Francisco` or `DE//Berlin`.

        Raises:
            ConfigError: Unknown country, or more than three parts.
        """
        country, _, rest = text.strip().partition("/")
        region, _, city = rest.partition("/")
        return cls(country, region or None, city or None)

    def to_dict(self) -> dict[str, str]:
        """As files and the engine have it, without what is None."""
        return self._fields()

    def __str__(self) -> str:
        """The text that stands in the cell key: `US`, `US/California`, `DE//Berlin`."""
        if self.city is not None:
            return f"{self.country}/{self.region or ''}/{self.city}"
        return self.country if self.region is None else f"{self.country}/{self.region}"


@dataclass(frozen=True)
class Org:
    """The organisation evaluated.

    Attributes:
        id: Id in the store; not empty.
        name: The name people use; not empty.
        websites: Own websites; their registrable domains make a citation `primary`.
        aliases: Other names.
        competitors: Names of known competitors.
        questions: What to ask; plain texts become `Question`.
        models: Models to ask (`chatgpt`, `gpt-4.1`, …).
        locations: Where to ask from; plain texts (`US`) become `Location`. Empty: from anywhere.
    """

    id: str
    name: str
    websites: Sequence[str] = ()
    aliases: Sequence[str] = ()
    competitors: Sequence[str] = ()
    questions: Sequence[Question | str] = ()
    models: Sequence[str] = ()
    locations: Sequence[Location | str] = ()

    def __post_init__(self) -> None:
        """Checks everything and turns the sequences into tuples.

        Raises:
            ConfigError: Names every field that is wrong.
        """
        raise_problems(f"org '{self.id}'" if self.id else "org", org_problems(self._plain()))
        for name in ("websites", "aliases", "competitors", "models"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        questions = tuple(entry if isinstance(entry, Question) else Question(entry) for entry in self.questions)
        locations = tuple(entry if isinstance(entry, Location) else Location.parse(entry) for entry in self.locations)
        object.__setattr__(self, "questions", questions)
        object.__setattr__(self, "locations", locations)

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name in ORG_FIELDS:
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                value = [entry.to_dict() if isinstance(entry, (Question, Location)) else entry for entry in value]
            plain[name] = value
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Org:
        """An org from the fields of a file; unknown fields are errors.

        Raises:
            ConfigError: Names every field that is wrong.
        """
        raise_problems(f"org '{data.get('id', '')}'", org_problems(data))
        given = {name: data[name] for name in ORG_FIELDS if data.get(name) is not None}
        questions = [Question(**entry) if isinstance(entry, Mapping) else entry for entry in given.pop("questions", ())]
        locations = [Location(**entry) if isinstance(entry, Mapping) else entry for entry in given.pop("locations", ())]
        return cls(questions=questions, locations=locations, **given)

    def to_dict(self) -> dict[str, Any]:
        """As files and the engine have it: plain lists and mappings."""
        return self._plain()

    @property
    def question_list(self) -> tuple[Question, ...]:
        """`questions`, typed as what they are after the check."""
        return tuple(entry for entry in self.questions if isinstance(entry, Question))

    @property
    def location_list(self) -> tuple[Location, ...]:
        """`locations`, typed as what they are after the check."""
        return tuple(entry for entry in self.locations if isinstance(entry, Location))


def field_text(path: FieldPath) -> str:
    """`questions[3].text` for `("questions", 3, "text")`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def raise_problems(what: str, problems: Iterator[tuple[FieldPath, str]]) -> None:
    """Raises all problems as one error.

    Raises:
        ConfigError: There is at least one; `field` is the first one's.
    """
    found = [(field_text(path), message) for path, message in problems]
    if found:
        lines = "; ".join(f"{field}: {message}" for field, message in found)
        raise ConfigError(f"{what}: {lines}", field=found[0][0])


def org_problems(data: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """Every fault of an org given as plain data, with the place of each."""
    for name in data:
        if name not in ORG_FIELDS:
            yield (str(name),), f"unknown field; the fields are {', '.join(ORG_FIELDS)}"
    for name in ("id", "name"):
        value = data.get(name)
        if not isinstance(value, str) or not value.strip():
            yield (name,), "is missing or empty"
    for name in ("websites", "aliases", "competitors", "models"):
        yield from _text_list_problems(name, data.get(name))
    yield from _question_problems(data.get("questions"))
    yield from _list_of_locations_problems(data.get("locations"))


def _text_list_problems(name: str, value: Any) -> Iterator[tuple[FieldPath, str]]:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        yield (name,), "must be a list"
        return
    for position, entry in enumerate(value):
        if not isinstance(entry, str) or not entry.strip():
            yield (name, position), "must be text and not empty"


def _question_problems(value: Any) -> Iterator[tuple[FieldPath, str]]:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        yield ("questions",), "must be a list"
        return
    seen: dict[str, int] = {}
    for position, entry in enumerate(value):
        path: FieldPath = ("questions", position)
        text: Any = entry
        given_id: Any = None
        if isinstance(entry, Mapping):
            yield from _unknown_fields(entry, QUESTION_FIELDS, path)
            text, given_id = entry.get("text"), entry.get("id")
            path_of_text: FieldPath = (*path, "text")
        else:
            path_of_text = path
        if not isinstance(text, str) or not text.strip():
            yield path_of_text, "a question must not be empty"
            continue
        if given_id is not None and not isinstance(given_id, str):
            yield (*path, "id"), "must be text"
            continue
        name = given_id or question_id(text)
        if name in seen:
            what = f"id '{name}'" if given_id else "the same question"
            yield path, f"{what} already stands at questions[{seen[name]}]"
        seen.setdefault(name, position)


def _list_of_locations_problems(value: Any) -> Iterator[tuple[FieldPath, str]]:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        yield ("locations",), "must be a list"
        return
    seen: set[tuple[Any, ...]] = set()
    for position, entry in enumerate(value):
        path: FieldPath = ("locations", position)
        if isinstance(entry, str):
            parts = entry.strip().split("/", 2)
            entry = {
                name: part for name, part in zip(LOCATION_FIELDS, parts, strict=False) if part or name == "country"
            }
        if not isinstance(entry, Mapping):
            yield path, "must be a mapping with country, region, city, or text such as US"
            continue
        for inner, message in _location_problems(entry):
            yield (*path, *inner), message
        identity = tuple(entry.get(name) for name in LOCATION_FIELDS)
        if identity in seen:
            yield path, "stands in the list twice"
        seen.add(identity)


def _location_problems(entry: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    yield from _unknown_fields(entry, LOCATION_FIELDS, ())
    country = entry.get("country")
    if not isinstance(country, str) or not country.strip():
        yield ("country",), "is missing or empty"
    elif problem := country_problem(country):
        yield ("country",), problem
    for name in ("region", "city"):
        value = entry.get(name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            yield (name,), "must be text and not empty"


def _unknown_fields(
    entry: Mapping[str, Any], known: tuple[str, ...], path: FieldPath
) -> Iterator[tuple[FieldPath, str]]:
    for name in entry:
        if name not in known:
            yield (*path, str(name)), f"unknown field; the fields are {', '.join(known)}"
