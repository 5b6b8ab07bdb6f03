"""The user's store and providers as the handlers that answer the engine's host calls. Decides nothing about a run.

A plain function stays a plain function here, so that the driver runs it in a thread and not on the user's loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from overheard.batch import Batch, ModelRun
from overheard.protocols import ProviderProtocol

Handler = Callable[..., Any]


async def call(function: Handler, *args: Any, **keywords: Any) -> Any:
    """Awaits a coroutine function; runs a plain one in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **keywords)
    result = await asyncio.to_thread(function, *args, **keywords)
    return await result if inspect.isawaitable(result) else result


def converted(function: Handler, convert: Callable[[Any], Any]) -> Handler:
    """`function` with its argument converted first; a coroutine function stays one, a plain function stays plain."""
    if inspect.iscoroutinefunction(function):

        async def awaited(argument: Any) -> Any:
            return await function(convert(argument))

        return awaited

    def plain(argument: Any) -> Any:
        return function(convert(argument))

    return plain


def store_handlers(store: Any, batch: Batch, facts: dict[str, str], *, quiet: bool = False) -> dict[str, Handler]:
    """The handlers of a run.

    Args:
        store: The user's `Store`.
        batch: What the store has of the batch: its plan, key and end are kept, whatever the engine says of them.
        facts: Where facts go when the store keeps none.
        quiet: The batch has ended and nothing of it is asked again: its rows stay as they are.
    """

    def merged(data: Mapping[str, Any]) -> Batch:
        told = Batch.from_dict({**data, "model_runs": ()})
        return replace(batch, overhead_micro_usd=told.overhead_micro_usd, model_runs=())

    def model_runs(data: Sequence[Mapping[str, Any]]) -> list[ModelRun]:
        return [ModelRun.from_dict(entry) for entry in data]

    handlers: dict[str, Handler] = {
        "save_batch": converted(store.save_batch, merged),
        "save_model_runs": converted(store.save_model_runs, model_runs),
        "save_question_runs": store.save_question_runs,
        "save_extractions": store.save_extractions,
        "existing_keys": store.existing_keys,
        "question_runs": store.question_runs,
    }
    if quiet:
        handlers["save_model_runs"] = _nothing
    if hasattr(store, "load_fact") and hasattr(store, "save_fact"):
        return handlers | {"load_fact": store.load_fact, "save_fact": store.save_fact}

    async def load_fact(name: str) -> str | None:
        return facts.get(name)

    async def save_fact(name: str, value: str) -> None:
        facts[name] = value

    return handlers | {"load_fact": load_fact, "save_fact": save_fact}


async def _nothing(_rows: Any) -> None:
    """Takes rows that are not to be written."""


def provider_handlers(custom: Mapping[str, ProviderProtocol]) -> dict[str, Handler]:
    """The handler that asks the user's providers; empty without any."""
    if not custom:
        return {}

    # Plain on purpose: a plain `ask` then runs in the driver's threads for it, and an awaitable is awaited on the loop.
    def ask(provider: str, requests: Sequence[Any]) -> Any:
        return custom[provider].ask(requests)

    return {"ask": ask}
