"""Runs a session of the core on the caller's event loop: pulls its calls, runs the user's callbacks, posts replies.

Async callbacks run as tasks on the caller's loop, plain functions in threads of ours with the caller's context
variables: one thread for the store's callbacks (so a plain store is never entered twice at a time), a few for `ask`.
What a callback raises is kept here, and the very same object is raised from `drive` when it ends the session. This file
must not know what the callbacks do.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import inspect
import itertools
import logging
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Literal

from overheard import _core, _loops
from overheard._threads import Threads, settle
from overheard.errors import InternalError, LeaseLost, OverheardError, StoreError, describe, from_fields, to_fields

__all__ = ["drive"]

logger = logging.getLogger("overheard")

#: Seconds that one step of a callback may hold the event loop before it is warned about.
BLOCKED = 1.0
#: Seconds that callbacks get to end after they were cancelled.
CANCEL_GRACE = 5.0
#: Seconds that the exit hook waits, for each of the core's two steps.
EXIT_GRACE = 1.0
#: Seconds that plain callbacks get to return at exit: a store in the middle of a write should end it.
CALLBACK_GRACE = 5.0
#: Threads for a plain `ask` at most; they are made when needed.
ASK_THREADS = 32

_START: dict[str, Callable[..., _core.Session]] = {
    "run": _core.start_run,
    "ask": _core.start_ask,
    "quote": _core.start_quote,
    "structured": _core.start_structured,
    "extract": _core.start_extract,
}
_tokens = itertools.count(1)

_live: weakref.WeakSet[_Driver] = weakref.WeakSet()


def _at_exit() -> None:
    try:
        for driver in list(_live):
            driver.hush()
    except RuntimeError:
        pass  # a daemon thread starts sessions meanwhile
    finally:
        _core._shutdown(EXIT_GRACE)
        settle(CALLBACK_GRACE)


# At import: a user's hooks are registered later, run earlier, and still find a working core.
atexit.register(_at_exit)


async def drive(
    kind: Literal["run", "ask", "quote", "structured", "extract"],
    spec_json: str,
    handlers: Mapping[str, Callable[..., Any]],
    *,
    records: Sequence[Any] | None = None,
    on_progress: Callable[[list[dict[str, Any]]], None] | None = None,
    on_session: Callable[[_core.Session], None] | None = None,
) -> Any:
    """Runs a session to its end. Cancelling the awaiting task cancels the session and its callbacks at once.

    Args:
        kind: `run`: a batch; `ask`: a plain list of questions; `quote`: what a batch would cost from here on;
            `structured`: one call under a JSON schema; `extract`: a list of answers with the extraction model.
        spec_json: What to do, as the core reads it.
        handlers: The callback of each host call by name, async or plain.
        records: What the session works on beside its spec: the question runs of `extract`.
        on_progress: Called on the loop with the state of all pairs.
        on_session: Called with the session before it is awaited; `session.stop()` stops it gracefully.

    Returns:
        The summary as a dict (`run`), a list of `Outcome` (`ask`) or `Extraction` (`extract`), the quote or the
        structured outcome as a dict.

    Raises:
        OverheardError: What ended the session.
        BaseException: The very object that a callback raised, when that ended the session.
        RuntimeError: No running loop, a forked child, or an interpreter that shuts down.
    """
    driver = _Driver(_loops.acquire(), handlers, on_progress)
    collected = False
    try:
        driver.start(_START[kind], spec_json, *(() if records is None else (records,)))
        if on_session is not None:
            on_session(driver.session)
        return await driver.result()
    except GeneratorExit:  # collected without a loop, so that nothing can be awaited; or a callback raised it
        collected = not driver.ended
        raise
    finally:
        if collected:
            driver.abandon()
        else:
            await driver.close()


class _Driver:
    """One session and the callbacks that run for it."""

    session: _core.Session

    def __init__(
        self,
        bridge: _loops.Bridge,
        handlers: Mapping[str, Callable[..., Any]],
        on_progress: Callable[[list[dict[str, Any]]], None] | None,
    ) -> None:
        self._token = next(_tokens)
        self._bridge = bridge
        self._handlers = handlers
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        #: `(True, result)` or `(False, exception)`: an exception inside a future would be reported when nobody waits.
        self._end: asyncio.Future[tuple[bool, Any]] = self._loop.create_future()
        self._open: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: Callbacks that were given up and still run, by name: none is called again beside itself.
        self._leaving: dict[str, set[asyncio.Task[None]]] = {}
        self._errors: dict[int, tuple[str, BaseException]] = {}
        self._executors: dict[str, Threads] = {}
        self._warned: set[str] = set()
        _live.add(self)

    def start(self, start: Callable[..., _core.Session], spec_json: str, *records: Sequence[Any]) -> None:
        self._bridge.receivers[self._token] = self
        self.session = start(self._bridge.port, self._token, spec_json, *records)

    @property
    def ended(self) -> bool:
        """True when the session's end is known."""
        return self._end.done()

    async def result(self) -> Any:
        succeeded, value = await self._end
        if succeeded:
            return value
        try:
            raise value
        finally:
            del value  # the traceback refers to this frame

    async def close(self) -> None:
        """Ends the session and its callbacks."""
        try:
            tasks = self._cancel()
            for task in tasks.values():
                task.cancel()
            # Those that were given up before are waited for, too: the store is closed after this.
            waited = {*tasks.values(), *(task for leaving in self._leaving.values() for task in leaving)}
            if waited:
                _, stuck = await asyncio.wait(waited, timeout=CANCEL_GRACE)
                for call, task in tasks.items():
                    if task in stuck:
                        logger.warning("callback %s goes on although it was cancelled (call %d)", task.get_name(), call)
        finally:
            self._end_threads()
            self._bridge.release()

    def abandon(self) -> None:
        """As `close`, without a loop: only the core is told. In a forked child not even that has an effect."""
        if self._loop.is_closed():
            self.hush()
        self._cancel()
        self._end_threads()
        self._bridge.abandon()

    def hush(self) -> None:
        """On a loop that was left as it is or closed: a callback that never got its first step says nothing."""
        if self._loop.is_running():
            return
        for task in list(self._tasks.values()):
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()

    def _end_threads(self) -> None:
        for executor in self._executors.values():
            executor.shutdown()

    def _cancel(self) -> dict[int, asyncio.Task[None]]:
        self._bridge.receivers.pop(self._token, None)
        if hasattr(self, "session"):
            self.session.cancel()
        self._open.clear()
        self._errors.clear()
        tasks, self._tasks = self._tasks, {}
        return tasks

    def receive(self, event: tuple[Any, ...]) -> None:
        """Takes an event of the core."""
        if self._end.done():
            return
        match event:
            case (_, "call", call, name, arguments):
                self._call(call, name, arguments)
            case (_, "forget", call):
                self._open.discard(call)
                if (task := self._tasks.pop(call, None)) is not None:
                    self._withdraw(task)
            case (_, "log", level, line):
                logger.log(level, "%s", line)
            case (_, "progress", pairs):
                self._progress(pairs)
            case (_, "done", result):
                self._end.set_result((True, result))
            case (_, "failed", fields, call):
                self._end.set_result((False, self._failure(fields, call)))
            case (_, "gone"):
                self._end.set_result((False, InternalError("the core ended the session without a result")))

    def _failure(self, fields: dict[str, Any], call: int | None) -> BaseException:
        name, error = self._errors.get(call, ("", None)) if call is not None else ("", None)
        if error is None:
            return from_fields(fields)
        note = f"raised by the callback {name}"
        if hasattr(error, "add_note") and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        return error

    def _withdraw(self, task: asyncio.Task[None]) -> None:
        """Cancels a callback that took too long. Only its waiter is free: it may swallow that and go on."""
        leaving = self._leaving.setdefault(task.get_name(), set())
        leaving.add(task)
        task.add_done_callback(leaving.discard)
        task.cancel()

    def _progress(self, pairs: list[dict[str, Any]]) -> None:
        if self._on_progress is None:
            return
        started = time.monotonic()
        try:
            self._context.run(self._on_progress, pairs)
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt(error)
        except Exception:
            logger.exception("callback on_progress raised; the run goes on")
        self._check_step("on_progress", started)

    def _call(self, call: int, name: str, arguments: tuple[Any, ...]) -> None:
        self._open.add(call)
        task = self._context.run(self._loop.create_task, self._answer(call, name, arguments))
        if not task.done():
            task.set_name(name)
            _loops.forget_quietly(task)
            self._tasks[call] = task
            task.add_done_callback(lambda _: self._tasks.pop(call, None))

    async def _answer(self, call: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            error, value = await self._invoke(name, arguments)
            if error is None:
                self.session.complete(call, value)
        except GeneratorExit:
            raise  # this coroutine is closed
        except _ClosedByCallback as raised:
            error = raised.__cause__
        except BaseException as raised:
            if isinstance(raised, asyncio.CancelledError) and await self._is_withdrawn(call):
                raise  # we cancelled it, or the whole loop ends
            error = raised
        self._open.discard(call)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self._interrupt(error)
        elif error is not None:
            self._fail(call, name, error)

    async def _is_withdrawn(self, call: int) -> bool:
        """Whether a callback was cancelled from outside.

        `asyncio.run` cancels all tasks of a loop that ends, and a callback may learn of it before its session.
        """
        for _ in range(3):
            if call not in self._open:
                return True
            await asyncio.sleep(0)
        return call not in self._open

    async def _invoke(self, name: str, arguments: tuple[Any, ...]) -> tuple[BaseException | None, Any]:
        handler = self._handlers.get(name)
        if handler is None:
            return NotImplementedError(f"no callback is given for {name}"), None
        if name != "ask" and (leaving := self._leaving.get(name)):
            await asyncio.wait(leaving)  # the same rows must not be under way twice
        if _is_async(handler):
            return None, await self._watched(name, handler(*arguments))
        context = contextvars.copy_context()  # the caller's: the task was made in it
        value = await self._loop.run_in_executor(self._executor(name), _guarded, context, handler, arguments)
        if value[0] is None and inspect.isawaitable(value[1]):
            return None, await self._watched(name, value[1])
        return value

    def _executor(self, name: str) -> Threads:
        key, threads = ("ask", ASK_THREADS) if name == "ask" else ("store", 1)
        if key not in self._executors:
            self._executors[key] = Threads(f"overheard-{key}", threads)
        return self._executors[key]

    def _fail(self, call: int, name: str, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            # As itself it would look as if the caller's task had been cancelled.
            cancelled, error = error, StoreError(f"the callback {name} was cancelled from inside")
            error.__cause__ = cancelled
        text = describe(error)
        logger.error("callback %s raised %s: %s", name, type(error).__name__, text)
        logger.debug("callback %s raised here:", name, exc_info=error)
        self._errors[call] = (name, error)
        # A provider's own RateLimitError keeps its meaning, and so does a store's word that another process took over;
        # any other exception of a store is the store's own.
        kept = OverheardError if name == "ask" else LeaseLost
        fields = to_fields(error) if isinstance(error, kept) else None
        try:
            self.session.fail(call, type(error).__name__, text, fields)
        except (TypeError, ValueError):  # fields that the core cannot read, such as a status code of 1e9
            self.session.fail(call, type(error).__name__, text)

    def _interrupt(self, error: BaseException) -> None:
        """Ctrl-C or `sys.exit` inside a callback ends the session and goes on to the caller as it is."""
        self.session.cancel()
        if not self._end.done():
            self._end.set_result((False, error))

    @types.coroutine
    def _watched(self, name: str, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """Awaits a callback and times each of its steps: what runs longer than a second blocks the loop."""
        steps = awaitable.__await__()
        send: Callable[[], Any] = lambda: next(steps)  # noqa: E731 - replaced below
        while True:
            started = time.monotonic()
            try:
                step = send()
            except StopIteration as stop:
                return stop.value
            except GeneratorExit as error:
                raise _ClosedByCallback from error
            finally:
                self._check_step(name, started)
            try:
                received = yield step
            except GeneratorExit:
                if (close := getattr(steps, "close", None)) is not None:
                    close()
                raise
            except BaseException as thrown:
                if not hasattr(steps, "throw"):
                    raise
                send = _thrower(steps, thrown)
            else:
                send = _sender(steps, received)

    def _check_step(self, name: str, started: float) -> None:
        seconds = time.monotonic() - started
        if seconds > BLOCKED and name not in self._warned:
            self._warned.add(name)
            logger.warning(
                "callback %s blocked the event loop for %.1f s: use async I/O, or make it a plain function, "
                "which runs in a thread",
                name,
                seconds,
            )


class _ClosedByCallback(Exception):
    """A callback raised `GeneratorExit`, which would be taken for the end of the coroutine that awaits it."""


def _sender(steps: Any, value: Any) -> Callable[[], Any]:
    return (lambda: next(steps)) if value is None else (lambda: steps.send(value))


def _thrower(steps: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(error)


def _is_async(handler: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _guarded(
    context: contextvars.Context, handler: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[BaseException | None, Any]:
    """Runs a plain callback. Its exception is returned: asyncio would replace some (`StopIteration`, timeouts)."""
    try:
        return None, context.run(handler, *arguments)
    except BaseException as error:
        return error, None
