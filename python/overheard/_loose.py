"""Reads plain data in which anything may be missing, null or of another type. Pure; raises nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping; an empty one for whatever is none."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The list; an empty one for whatever is none."""
    return value if isinstance(value, list | tuple) else ()


def mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    """The mappings of a list."""
    return [entry for entry in sequence(value) if isinstance(entry, Mapping)]


def text(value: Any) -> str | None:
    """The text; None for whatever is none."""
    return value if isinstance(value, str) else None


def number(value: Any) -> float | None:
    """The finite number; None for whatever is none, and for a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    """The whole number that every JSON reader has exactly (53 bits); None for whatever is none."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return value if whole else None
