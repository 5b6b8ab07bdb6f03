"""Which store a command looks at. Opens nothing and makes no file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from overheard.errors import StoreError
from overheard.settings import environment
from overheard.stores import DEFAULT_STORE, SqlStore, open_store

LeaveWith = Callable[[Callable[[], Awaitable[int]]], None]
"""Runs what a command does and leaves with its exit code; an error of ours is one sentence."""


def existing_store(said: str | None) -> SqlStore:
    """The store, for commands that look at what is there: none of them makes an empty file.

    Args:
        said: The URL that the command line was given; None: `OVERHEARD_STORE`, else the default.

    Raises:
        ConfigError: Not a store's URL.
        StoreError: There is no such file.
    """
    store = open_store(said or environment().get("OVERHEARD_STORE") or DEFAULT_STORE)
    path = store.database.path
    if path is not None and not path.exists():
        raise StoreError(f"{path}: there is no such file; set OVERHEARD_STORE or --store to a store that is there")
    return store
