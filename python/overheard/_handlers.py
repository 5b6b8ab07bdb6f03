"""The user's store and providers as the handlers that answer the engine's host calls. Decides nothing about a run.

A plain function stays a plain function here, so that the driver runs it in a thread and not on the user's loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from overheard import _owners
from overheard.batch import Batch, Lease, ModelRun
from overheard.errors import StoreError
from overheard.protocols import ProviderProtocol

Handler = Callable[..., Any]
Steps = Generator[tuple[Handler, tuple[Any, ...]], Any, Any]


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


def followed(function: Handler, convert: Callable[[Any], Any], after: Callable[[Any], None]) -> Handler:
    """As `converted`; once the store has taken the argument, `after` is told of it, on whatever thread that is."""
    if inspect.iscoroutinefunction(function):

        async def awaited(argument: Any) -> Any:
            value = convert(argument)
            result = await function(value)
            after(value)
            return result

        return awaited

    async def finished(result: Any, value: Any) -> Any:
        result = await result
        after(value)
        return result

    def plain(argument: Any) -> Any:
        value = convert(argument)
        result = function(value)
        if inspect.isawaitable(result):
            return finished(result, value)
        after(value)
        return result

    return plain


def store_handlers(
    store: Any,
    batch: Batch,
    facts: dict[str, str],
    *,
    on_saved: Callable[[Sequence[ModelRun]], None] = lambda _: None,
    on_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, Handler]:
    """The handlers of a run.

    Args:
        store: The user's `Store`.
        batch: What the store has of the batch: its plan, key and end are kept, whatever the engine says of them.
        facts: Where facts go when the store keeps none.
        on_saved: Told of model runs that the store has taken, on the thread of the store's function.
        on_cancelled: Called when a renewal of the leases finds that the batch was cancelled; the same.
    """

    def merged(data: Mapping[str, Any]) -> Batch:
        told = Batch.from_dict({**data, "model_runs": ()})
        return replace(batch, overhead_micro_usd=told.overhead_micro_usd, model_runs=())

    def model_runs(data: Sequence[Mapping[str, Any]]) -> list[ModelRun]:
        return [ModelRun.from_dict(entry) for entry in data]

    handlers: dict[str, Handler] = {
        "save_batch": converted(store.save_batch, merged),
        "save_model_runs": followed(store.save_model_runs, model_runs, on_saved),
        "save_question_runs": store.save_question_runs,
        "save_extractions": store.save_extractions,
        "existing_keys": store.existing_keys,
        "question_runs": store.question_runs,
    }
    handlers |= lease_handlers(store, batch.batch_id, on_cancelled)
    if has_facts(store):
        return handlers | {"load_fact": store.load_fact, "save_fact": store.save_fact}

    async def load_fact(name: str) -> str | None:
        return facts.get(name)

    async def save_fact(name: str, value: str) -> None:
        facts[name] = value

    return handlers | {"load_fact": load_fact, "save_fact": save_fact}


def has_leases(store: Any) -> bool:
    """True when the store keeps leases of model runs."""
    return all(callable(getattr(store, name, None)) for name in ("acquire_lease", "renew_lease", "release_lease"))


def has_facts(store: Any) -> bool:
    """True when the store keeps facts."""
    return all(callable(getattr(store, name, None)) for name in ("load_fact", "save_fact"))


def has_claims(store: Any) -> bool:
    """True when the store keeps claims of what follows the end of a batch."""
    return all(callable(getattr(store, name, None)) for name in ("claim_once", "renew_claim", "finish_claim"))


def cancelled_fact(batch_id: str) -> str:
    """The name of the fact that says that a batch was cancelled; its value is when, or empty once it is resumed."""
    return f"cancelled:{batch_id}"


def lease_handlers(store: Any, batch_id: str, on_cancelled: Callable[[], None] = lambda: None) -> dict[str, Handler]:
    """The handlers of leases: for all model runs of a start at once; without leases in the store they say so.

    A renewal also looks whether the batch was cancelled, by whatever process: `on_cancelled` is called then.
    """
    if not has_leases(store):

        async def no_leases(*_: Any) -> None:
            return None

        return dict.fromkeys(("acquire_lease", "renew_lease", "release_lease"), no_leases)

    def acquire(run_ids: Sequence[str], owner: str, ttl_ms: int) -> Steps:
        told = []
        for run_id in run_ids:
            lease = _lease((yield store.acquire_lease, (run_id, owner, ttl_ms)))
            if not lease.granted and lease.owner is not None and _owners.is_dead(lease.owner):
                yield store.release_lease, (run_id, lease.owner, lease.fence)
                lease = _lease((yield store.acquire_lease, (run_id, owner, ttl_ms)))
            told.append({**lease.to_dict(), "run_id": run_id})
        return told

    def renew(leases: Sequence[tuple[str, int]], owner: str, ttl_ms: int) -> Steps:
        told = []
        for run_id, fence in leases:
            granted = yield store.renew_lease, (run_id, owner, fence, ttl_ms)
            lease = Lease(granted=bool(granted), fence=fence)
            if not granted:
                batch = yield store.load_batch, (batch_id,)
                others = [] if batch is None else [run.lease_owner for run in batch.model_runs if run.run_id == run_id]
                lease = Lease(granted=False, fence=fence, owner=others[0] if others else None)
            told.append({**lease.to_dict(), "run_id": run_id})
        if has_facts(store) and (yield store.load_fact, (cancelled_fact(batch_id),)):
            on_cancelled()
        return told

    def release(leases: Sequence[tuple[str, int]], owner: str) -> Steps:
        for run_id, fence in leases:
            yield store.release_lease, (run_id, owner, fence)

    methods = (store.acquire_lease, store.renew_lease, store.release_lease)
    steps: dict[str, Callable[..., Steps]] = {
        "acquire_lease": acquire,
        "renew_lease": renew,
        "release_lease": release,
    }
    return {name: _stepped(each, methods) for name, each in steps.items()}


def _lease(found: Any) -> Lease:
    if isinstance(found, Lease):
        return found
    raise StoreError(f"the callback acquire_lease returned {type(found).__name__}, expected Lease")


def _stepped(steps: Callable[..., Steps], functions: Sequence[Handler]) -> Handler:
    """A handler of several calls: plain when all functions are, so that a plain store stays in its one thread."""

    async def awaited(*args: Any) -> Any:
        return await _go_on(steps(*args), None)

    def plain(*args: Any) -> Any:
        generator, answer = steps(*args), None
        while True:
            try:
                function, arguments = generator.send(answer)
            except StopIteration as end:
                return end.value
            answer = function(*arguments)
            if inspect.isawaitable(answer):  # a plain function that gives a coroutine: the driver awaits the rest
                return _go_on(generator, answer)

    return awaited if any(inspect.iscoroutinefunction(function) for function in functions) else plain


async def _go_on(generator: Steps, answer: Any) -> Any:
    if inspect.isawaitable(answer):
        answer = await answer
    while True:
        try:
            function, arguments = generator.send(answer)
        except StopIteration as end:
            return end.value
        answer = await call(function, *arguments)


def provider_handlers(custom: Mapping[str, ProviderProtocol]) -> dict[str, Handler]:
    """The handler that asks the user's providers; empty without any."""
    if not custom:
        return {}

    # Plain on purpose: a plain `ask` then runs in the driver's threads for it, and an awaitable is awaited on the loop.
    def ask(provider: str, requests: Sequence[Any]) -> Any:
        return custom[provider].ask(requests)

    return {"ask": ask}
