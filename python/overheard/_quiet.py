"""What keeps keys out of sight: a dict and a text that do not print, and the filter of our logger. Holds no key itself.

The core masks its own lines (`src/config/secret.rs`); this filter is for what Python adds: a callback's exception, a
traceback. Both mask every piece of a key of at least eight characters, because providers echo the ends of a key.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any, Protocol

_PIECE = 8
_LEAST = 16  # shorter "keys" are placeholders
_PUBLIC = ("sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-api03-", "sk-ant-api", "sk-ant-admin")
_MASK = "***"


class Quiet(dict[str, Any]):
    """A dict that holds keys somewhere: it prints its names and no value."""

    def __repr__(self) -> str:
        """The names alone."""
        return "{" + ", ".join(f"{name!r}: {_MASK}" for name in self) + "}"


class QuietText(str):
    """A text that holds keys somewhere: `repr` shows none of it. Formatting it does: hand it to the engine only."""

    __slots__ = ()

    def __repr__(self) -> str:
        """`***`."""
        return _MASK


class _Key(Protocol):
    def reveal(self) -> str: ...


class _Redaction(logging.Filter):
    """Masks every living key in what the logger writes."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: weakref.WeakSet[Any] = weakref.WeakSet()

    def know(self, key: _Key) -> None:
        """Masks this key from now on, for as long as it lives."""
        self._keys.add(key)

    def clean(self, text: str) -> str:
        """The text without the keys."""
        for key in list(self._keys):
            value = key.reveal()
            if len(value) >= _LEAST:
                text = _without(text, value)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything pass, masked."""
        try:
            message = record.getMessage()
        except Exception:  # a wrong format of somebody's is logging's to report
            return True
        if (cleaned := self.clean(message)) != message:
            record.msg, record.args = cleaned, None
        if record.exc_info and not record.exc_text:
            # Formatters use this text when it is there.
            record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
        return True


def _without(text: str, key: str) -> str:
    pieces = {key[start : start + _PIECE] for start in range(len(key) - _PIECE + 1)}
    pieces = {piece for piece in pieces if not any(piece in public for public in _PUBLIC)}
    masked = [False] * len(text)
    for piece in pieces:
        start = text.find(piece)
        while start >= 0:
            masked[start : start + _PIECE] = [True] * _PIECE
            start = text.find(piece, start + 1)
    if not any(masked):
        return text
    parts: list[str] = []
    for character, hidden in zip(text, masked, strict=True):
        if not hidden:
            parts.append(character)
        elif not parts or parts[-1] != _MASK:
            parts.append(_MASK)
    return "".join(parts)


redaction = _Redaction()
"""The one filter of the logger `overheard`."""

logging.getLogger("overheard").addFilter(redaction)
