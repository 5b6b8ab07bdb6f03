"""Threads for plain callbacks that do not keep the interpreter from ending. Knows neither sessions nor loops.

At exit `concurrent.futures` waits for every thread of its pools, without end: a store that hangs would hang the
process. These threads are daemons; the exit hook waits a bounded time for what they are at.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]

#: Threads that are inside a callback.
_working: set[threading.Thread] = set()


class Threads(Executor):
    """At most so many threads, made when needed, ended by `shutdown`."""

    def __init__(self, name: str, most: int) -> None:
        """Starts nothing yet."""
        self._name = name
        self._most = most
        self._made = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """Runs `function(*args)` in a thread, after what was submitted before when all are busy."""
        if keywords:
            raise TypeError("keyword arguments are not taken")
        future: Future[Any] = Future()
        self._jobs.put((future, function, args))
        if not self._idle.acquire(blocking=False) and self._made < self._most:
            name = f"{self._name}_{self._made}"
            self._made += 1
            threading.Thread(target=_work, args=(self._jobs, self._idle), name=name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:
        """Drops what has not begun; each thread ends when its callback returns. Never waits for one."""
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
        for _ in range(self._made):
            self._jobs.put(None)


def settle(seconds: float) -> bool:
    """Waits for the callbacks that run in threads; false when one still does after so many seconds."""
    deadline = time.monotonic() + seconds
    while _working and time.monotonic() < deadline:
        time.sleep(0.005)
    return not _working


def _work(jobs: queue.SimpleQueue[_Job | None], idle: threading.Semaphore) -> None:
    thread = threading.current_thread()
    while True:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            idle.release()
            job = jobs.get()
        if job is None:
            return
        future, function, args = job
        if future.set_running_or_notify_cancel():
            _working.add(thread)
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
            finally:
                _working.discard(thread)
        del job, future, function, args  # a thread that waits keeps nothing of the last callback alive
