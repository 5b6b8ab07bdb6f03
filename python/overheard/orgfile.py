"""Reads orgs from YAML or JSON files, each error with file, line and field, all errors at once. Never touches a store.

YAML is composed, not loaded: every scalar stays the text it is, so the country `NO` is Norway and the id `010` keeps
its zero. JSON is YAML here (a JSON file is checked by the JSON reader first), which gives its lines too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from overheard.errors import ConfigError
from overheard.org import FieldPath, Org, field_text, org_problems

_LARGEST_FILE = 64 * 1024 * 1024  # bytes
_LARGEST_TREE = 1_000_000  # nodes, aliases expanded: a file of nested aliases must not fill the memory
_DEEPEST = 8

Lines = dict[FieldPath, int]


def load_orgs(path: str | PathLike[str]) -> list[Org]:
    """Reads every org of a file: one org, a list of orgs, or a mapping with the list under `orgs`.

    Raises:
        ConfigError: All faults of the file, one a line, as `file:line: field: what is wrong`.
    """
    name = str(path)
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{name}: larger than 64 MiB", field=name)
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}", field=name) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 text (byte {error.start})", field=name) from error
    return parse_orgs(text, name)


def demo_org() -> Org:
    """The packaged org `demo`: fictional brands, 25 questions, 5 models, 2 locations."""
    return parse_orgs(files("overheard").joinpath("data/demo.yaml").read_text("utf-8"), "demo.yaml")[0]


def parse_orgs(text: str, name: str) -> list[Org]:
    """As `load_orgs`, from the text of a file called `name`.

    Raises:
        ConfigError: As `load_orgs`.
    """
    data, lines = _read(text, name)
    entries = list(_entries(data))
    problems: list[tuple[int, str]] = []
    if not entries:
        problems.append((1, "no org; a file holds one org, a list of orgs, or the list under 'orgs'"))
    seen: dict[str, int] = {}
    for path, entry in entries:
        if not isinstance(entry, dict):
            problems.append((_line(lines, path), f"{field_text(path) or 'org'}: must be a mapping with id, name, …"))
            continue
        for inner, message in org_problems(entry):
            place = (*path, *inner)
            problems.append((_line(lines, place), f"{field_text(place)}: {message}"))
        org_id = entry.get("id")
        if isinstance(org_id, str) and org_id in seen:
            place = (*path, "id")
            problems.append(
                (_line(lines, place), f"{field_text(place)}: '{org_id}' stands in line {seen[org_id]} already")
            )
        elif isinstance(org_id, str):
            seen[org_id] = _line(lines, (*path, "id"))
    if problems:
        message = "\n".join(f"{name}:{line}: {problem}" for line, problem in sorted(problems))
        raise ConfigError(message, field=name)
    return [Org.from_dict(entry) for _, entry in entries]


def _entries(data: Any) -> Iterator[tuple[FieldPath, Any]]:
    if isinstance(data, dict) and set(data) == {"orgs"}:
        base: FieldPath = ("orgs",)
        data = data["orgs"]
    else:
        base = ()
    if isinstance(data, list):
        yield from (((*base, position), entry) for position, entry in enumerate(data))
    elif data is not None:
        yield base, data


def _read(text: str, name: str) -> tuple[Any, Lines]:
    is_json = name.lower().endswith(".json")
    if is_json:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name}:{getattr(error, 'lineno', 1)}: is not JSON: {error}", field=name) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        if is_json:  # a tab between tokens is JSON and not YAML: then the lines are not known
            return data, {}
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{name}:{line}: is not YAML: {problem}", field=name) from error
    lines: Lines = {}
    try:
        plain = _Walk(lines).plain(node, ())
    except _Fault as fault:
        raise ConfigError(f"{name}:{fault.line}: {fault}", field=name) from None
    return (data if is_json else plain), lines


class _Fault(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Walk:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.count = 0

    def plain(self, node: yaml.Node | None, path: FieldPath) -> Any:
        if node is None:
            return None
        line = node.start_mark.line + 1
        self.count += 1
        if self.count > _LARGEST_TREE or len(path) > _DEEPEST:
            raise _Fault(line, "too large or too deeply nested")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(entry, (*path, position)) for position, entry in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return None if node.tag == "tag:yaml.org,2002:null" else node.value

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Fault(line, "a field name must be text")
            place = (*path, str(key.value))
            if key.value in plain:
                raise _Fault(line, f"{field_text(place)}: stands twice, first in line {self.lines[place]}")
            self.lines[place] = line
            plain[key.value] = self.plain(value, place)
        return plain


def _line(lines: Lines, path: FieldPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
