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

RULE_LISTS = ("confusables", "homonyms", "context", "keep_apart")
"""Fields of an org that tell the rules of extraction what they cannot know; each a list of text."""
ORG_FIELDS = ("id", "name", "websites", "aliases", "competitors", *RULE_LISTS, "questions", "models", "locations")
COMPETITOR_FIELDS = ("name", "aliases", "products", "parent", "websites")
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
class KnownCompetitor:
    """A competitor that the org's entry names, with what else is known of it.

    Attributes:
        name: The brand; what it is counted and shown as.
        aliases: Other names of it, counted as the brand.
        products: What it makes, counted as the brand.
        parent: The company that owns it: shown, never merged; None: not told.
        websites: Its websites; citations of them are of class `competitor`.
    """

    name: str
    aliases: Sequence[str] = ()
    products: Sequence[str] = ()
    parent: str | None = None
    websites: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks everything and turns the sequences into tuples.

        Raises:
            ConfigError: Names every field that is wrong.
        """
        fields = {name: getattr(self, name) for name in COMPETITOR_FIELDS}
        raise_problems("competitor", _competitor_problems(fields, ()))
        for name in ("aliases", "products", "websites"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """As files and the engine have it, without what is empty."""
        fields = {name: getattr(self, name) for name in COMPETITOR_FIELDS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value}

    def plain(self) -> str | dict[str, Any]:
        """The shortest form that says the same: the name alone when nothing else is told."""
        whole = self.to_dict()
        return self.name if set(whole) == {"name"} else whole


@dataclass(frozen=True)
class Org:
    """The organisation evaluated.

    Attributes:
        id: Id in the store; not empty.
        name: The name people use; not empty.
        websites: Own websites; their registrable domains make a citation `primary`.
        aliases: Other names.
        competitors: Known competitors: names, or `KnownCompetitor` (in a file a mapping with `name`, `aliases`,
            `products`, `parent`, `websites`). One of which only the name is known stays a text.
        questions: What to ask; plain texts become `Question`.
        models: Models to ask (`chatgpt`, `gpt-4.1`, …).
        locations: Where to ask from; plain texts (`US`) become `Location`. Empty: from anywhere.
        confusables: Phrases that hold a name of the org and mean something else (`Apple Valley`): never a mention.
        homonyms: Names of the org that are words or other things too (`Orange`): alone they are a mention only where
            `context` shows it.
        context: Words of the org's trade (`mobile`, `broadband`).
        keep_apart: Names that are never counted as another brand's, whatever a rule says: undoes a merge.
    """

    id: str
    name: str
    websites: Sequence[str] = ()
    aliases: Sequence[str] = ()
    competitors: Sequence[KnownCompetitor | str] = ()
    questions: Sequence[Question | str] = ()
    models: Sequence[str] = ()
    locations: Sequence[Location | str] = ()
    confusables: Sequence[str] = ()
    homonyms: Sequence[str] = ()
    context: Sequence[str] = ()
    keep_apart: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks everything and turns the sequences into tuples.

        Raises:
            ConfigError: Names every field that is wrong.
        """
        raise_problems(f"org '{self.id}'" if self.id else "org", org_problems(self._plain()))
        for name in ("websites", "aliases", "models", *RULE_LISTS):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        brands = (_known(entry) for entry in self.competitors)
        object.__setattr__(
            self, "competitors", tuple(brand if brand.to_dict().keys() - {"name"} else brand.name for brand in brands)
        )
        questions = tuple(entry if isinstance(entry, Question) else Question(entry) for entry in self.questions)
        locations = tuple(entry if isinstance(entry, Location) else Location.parse(entry) for entry in self.locations)
        object.__setattr__(self, "questions", questions)
        object.__setattr__(self, "locations", locations)

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name in ORG_FIELDS:
            value = getattr(self, name)
            if name in RULE_LISTS and isinstance(value, (list, tuple)) and not value:
                continue  # an org that has none is written as it always was
            if isinstance(value, (list, tuple)):
                value = [_plain_entry(entry) for entry in value]
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
    def competitor_list(self) -> tuple[KnownCompetitor, ...]:
        """`competitors`, all of them as `KnownCompetitor`."""
        return tuple(_known(entry) for entry in self.competitors)

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
    for name in ("websites", "aliases", "models", *RULE_LISTS):
        yield from _text_list_problems((name,), data.get(name))
    yield from _list_of_competitors_problems(data.get("competitors"))
    yield from _question_problems(data.get("questions"))
    yield from _list_of_locations_problems(data.get("locations"))


def _known(entry: Any) -> KnownCompetitor:
    if isinstance(entry, KnownCompetitor):
        return entry
    if isinstance(entry, Mapping):
        return KnownCompetitor(**{name: value for name, value in entry.items() if value is not None})
    return KnownCompetitor(entry)


def _plain_entry(entry: Any) -> Any:
    if isinstance(entry, KnownCompetitor):
        return entry.plain()
    return entry.to_dict() if isinstance(entry, (Question, Location)) else entry


def _text_list_problems(path: FieldPath, value: Any) -> Iterator[tuple[FieldPath, str]]:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        yield path, "must be a list"
        return
    for position, entry in enumerate(value):
        if not isinstance(entry, str) or not entry.strip():
            yield (*path, position), "must be text and not empty"


def _list_of_competitors_problems(value: Any) -> Iterator[tuple[FieldPath, str]]:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        yield ("competitors",), "must be a list"
        return
    for position, entry in enumerate(value):
        path: FieldPath = ("competitors", position)
        if isinstance(entry, Mapping):
            yield from _competitor_problems(entry, path)
        elif isinstance(entry, str):
            if not entry.strip():
                yield path, "must be text and not empty"
        elif not isinstance(entry, KnownCompetitor):
            yield path, f"must be a name, or a mapping with {', '.join(COMPETITOR_FIELDS)}"


def _competitor_problems(entry: Mapping[str, Any], path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    yield from _unknown_fields(entry, COMPETITOR_FIELDS, path)
    name, parent = entry.get("name"), entry.get("parent")
    if not isinstance(name, str) or not name.strip():
        yield (*path, "name"), "is missing or empty"
    for field in ("aliases", "products", "websites"):
        yield from _text_list_problems((*path, field), entry.get(field))
    if parent is not None and (not isinstance(parent, str) or not parent.strip()):
        yield (*path, "parent"), "must be text and not empty"


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
