"""The numbers that stand in a sentence, and whether each is a value it may name. Plain characters, no patterns.

Numbers in words ("twice", "three models") are not seen: a sentence is held to its figures by its claims, not by this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LONGEST = 30
_MINUS = "-\u2212\u2013"


def without_names(text: str, names: Iterable[str]) -> str:
    """The text without these names where they stand as words of their own; a name without a letter stays."""
    for name in sorted(set(names), key=len, reverse=True):
        if any(character.isalpha() for character in name):
            text = _without(text, name)
    return text


def _without(text: str, name: str) -> str:
    at, kept, start = 0, [], 0
    while (at := text.find(name, at)) >= 0:
        end = at + len(name)
        alone = not (at > 0 and text[at - 1].isalnum()) and not (end < len(text) and text[end].isalnum())
        if alone:
            kept.append(text[start:at])
            start = end
        at = end
    return " ".join([*kept, text[start:]])


def stands_in(text: str, values: Sequence[float]) -> bool:
    """True when every number of the text is one of the values, rounded to as many decimals as the text gives."""
    return all(_is_one_of(digits, negative, values) for digits, negative in _numbers(text))


def _is_one_of(digits: str, negative: bool, values: Sequence[float]) -> bool:
    if len(digits) > _LONGEST or not digits.isascii() or digits.count(".") > 1:
        return False
    decimals = len(digits.partition(".")[2])
    size = float(digits)
    half = 0.5 * 10.0**-decimals + 1e-9
    # A dash may be a hyphen of the sentence; a value below zero is never written without one.
    wanted = (-size, size) if negative else (size,)
    return any(abs(value - number) <= half for value in values for number in wanted)


def _numbers(text: str) -> list[tuple[str, bool]]:
    """Each number as digits with at most one point, and whether a dash stands before it. `1,234.5` is one number."""
    found, at = [], 0
    while at < len(text):
        if not text[at].isnumeric():
            at += 1
            continue
        start = at
        while at < len(text) and (text[at].isnumeric() or _joins(text, at)):
            at += 1
        digits = text[start:at].replace(",", "")
        found.append((digits, start > 0 and text[start - 1] in _MINUS))
    return found


def _joins(text: str, at: int) -> bool:
    """True for a point or comma between two digits."""
    return text[at] in ".," and at + 1 < len(text) and text[at - 1].isnumeric() and text[at + 1].isnumeric()
