"""Reads the labelled set and splits it. Knows nothing of the extractor.

An answer is kept aside when the SHA-256 of its id, as a number, leaves 1 divided by three: a third, by the id alone.
Rules are written and mended by looking at the other two thirds only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Labelled:
    """An answer and what a person said of it.

    Attributes:
        id: Of the answer; its first letter says who wrote it: `a` had not seen the rules, `b` had.
        org: The org's entry of `orgs.yaml`.
        question: What was asked.
        language: ISO 639-1.
        answer: The text.
        provider_citations: What the engine sends beside it: `url`, `title`, `cited`.
        label: `mention`, `rank`, `list_position`, `sentiment`, `competitors`, `others`, `citations`, `kind`.
    """

    id: str
    org: Mapping[str, Any]
    question: str
    language: str
    answer: str
    provider_citations: list[dict[str, Any]] = field(repr=False)
    label: Mapping[str, Any] = field(repr=False)

    @property
    def kept_aside(self) -> bool:
        """True for the third that nobody who writes rules looks at."""
        return kept_aside(self.id)


def kept_aside(identity: str) -> bool:
    """Which part an answer belongs to."""
    return int(hashlib.sha256(identity.encode()).hexdigest(), 16) % 3 == 1


def load(folder: Path = HERE) -> list[Labelled]:
    """The whole set, in the order of the ids.

    Raises:
        ValueError: An answer without a label, a label without an answer, or an unknown org; names it.
    """
    orgs = {org["id"]: org for org in _read(folder / "orgs.yaml")}
    labels = {label["id"]: label for path in sorted((folder / "labels").glob("*.yaml")) for label in _read(path)}
    found = []
    for path in sorted((folder / "answers").glob("*.yaml")):
        entry = _read(path)
        label = labels.pop(entry["id"], None)
        if label is None:
            raise ValueError(f"{path}: no label in {folder / 'labels'}")
        if entry["org"] not in orgs:
            raise ValueError(f"{path}: unknown org {entry['org']!r}")
        names = ("id", "question", "language", "answer", "provider_citations")
        found.append(Labelled(**{name: entry[name] for name in names}, org=orgs[entry["org"]], label=label))
    if labels:
        raise ValueError(f"labels without an answer: {', '.join(labels)}")
    return found


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
