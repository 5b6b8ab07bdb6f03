"""Operations on a database that a cancellation does not cut in two. Knows neither tables nor connections.

A statement that is cancelled costs its connection: SQLAlchemy throws it away, the driver's thread or socket ends it by
itself, later than the event loop perhaps, and the next statement pays for a new one. What was written is unknown. So an
operation that has begun ends, and the cancellation is told afterwards; only one that hangs is cut.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from overheard._loops import forget_quietly

_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)

#: Seconds that an operation gets to end after it was cancelled: many statements, and far less than a caller waits.
PATIENCE = 1.0


class Operations:
    """What is under way on a database, by event loop."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]] = WeakKeyDictionary()

    async def run(self, operation: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any, **named: Any) -> _T:
        """Runs an operation to its end, also when the caller is cancelled meanwhile.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the operation has ended, or was cut when it hung.
            BaseException: What the operation raised.
        """
        loop = asyncio.get_running_loop()
        begin = functools.partial(_answered, functools.partial(operation, *arguments, **named))
        task: asyncio.Task[tuple[BaseException | None, _T | None]] = loop.create_task(_Begun(begin))
        forget_quietly(task)
        tasks = self._tasks.setdefault(loop, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await _ended(task)
            raise
        try:
            error, value = task.result()
            if error is not None:
                raise error
            return cast(_T, value)
        finally:
            del task  # the traceback of what it raised refers to this frame
            error = None

    async def settled(self) -> None:
        """Waits for what this event loop has under way; what hangs is cut.

        Raises:
            asyncio.CancelledError: The caller was cancelled meanwhile; everything has ended, or was cut.
        """
        cancelled = False
        for task in list(self._tasks.get(asyncio.get_running_loop(), ())):
            cancelled |= await _ended(task)
        if cancelled:
            raise asyncio.CancelledError


async def _answered(begin: Callable[[], Coroutine[Any, Any, _T]]) -> tuple[BaseException | None, _T | None]:
    """Ctrl-C and `sys.exit` are for the caller: raised by a task they would end the event loop around him."""
    try:
        return None, await begin()
    except (KeyboardInterrupt, SystemExit) as error:
        return error, None


async def _ended(task: asyncio.Task[Any]) -> bool:
    """Waits for its end; true when the caller was cancelled in that time, which ends all patience."""
    cancelled = False
    for _ in range(2):
        try:
            await asyncio.wait([task], timeout=PATIENCE)
        except asyncio.CancelledError:
            cancelled = True
        if task.done():
            break
        task.cancel()
    if task.done() and not task.cancelled():
        task.exception()  # told to nobody: its caller is gone
    return cancelled


class _Begun(Coroutine[Any, Any, _T]):
    """A coroutine that is made at its first step: a loop that ends before has none that was never awaited."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._begin = begin
        self._begun: Coroutine[Any, Any, _T] | None = None

    def send(self, value: Any) -> Any:
        if self._begun is None:
            self._begun = self._begin()
        return self._begun.send(value)

    def throw(self, *error: Any) -> Any:
        if self._begun is None:
            self._begun = self._begin()
        return self._begun.throw(*error)

    def close(self) -> None:
        if self._begun is not None:
            self._begun.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        raise TypeError("a task runs it")


def whole(cls: _Class) -> _Class:
    """Makes each public coroutine function of a class with a `database` one operation of that database."""
    for name, method in list(vars(cls).items()):
        if inspect.iscoroutinefunction(method) and not name.startswith("_") and name != "aclose":
            setattr(cls, name, _whole(method))
    return cls


def _whole(method: Callable[..., Coroutine[Any, Any, _T]]) -> Callable[..., Awaitable[_T]]:
    @functools.wraps(method)
    async def operation(self: Any, *arguments: Any, **named: Any) -> _T:
        result: _T = await self.database.operations.run(method, self, *arguments, **named)
        return result

    return operation
