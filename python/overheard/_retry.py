"""A store callback that is made outside of the engine, tried again as the engine does it. Knows no store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from overheard._handlers import call
from overheard.errors import OverheardError, describe

log = logging.getLogger("overheard")

#: As `src/pipeline/save.rs`: tries of one call, and seconds after the first failure, doubled after each further one.
TRIES = 6
FIRST_WAIT = 0.1
#: A call that fails so fails again.
_LASTING = (OverheardError, TypeError, AttributeError, NameError, NotImplementedError)


async def retried(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Calls the store until it does what it is asked; every write of a store is an idempotent upsert.

    Raises:
        BaseException: The very object that the last call raised.
    """
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            return await call(function, *args, **keywords)
        except Exception as error:
            if attempt == TRIES or isinstance(error, _LASTING):
                raise
            name = getattr(function, "__name__", "a callback")
            why = f"{type(error).__name__}: {describe(error)}"
            log.warning("%s failed (attempt %d of %d), next in %d ms: %s", name, attempt, TRIES, wait * 1000, why)
        await asyncio.sleep(wait)
        wait *= 2
    raise AssertionError("not reached")
