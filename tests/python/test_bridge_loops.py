"""Event loops: asyncio, uvloop, loops without `add_reader`, several at a time, closed ones, busy ones."""

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from bridge_help import selftest
from overheard import _loops
from overheard.records import QuestionRun

uvloop = pytest.importorskip("uvloop")


class WithoutReader(asyncio.SelectorEventLoop):
    """As the proactor loop of Windows."""

    def add_reader(self, *arguments: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def run_on(make_loop: Callable[[], asyncio.AbstractEventLoop], main: Any) -> Any:
    loop = make_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


async def count(calls: int = 20, records: int = 100, window: int = 4) -> int:
    seen = 0

    async def save_question_runs(runs: list[QuestionRun]) -> None:
        nonlocal seen
        await asyncio.sleep(0)
        seen += len(runs)

    await selftest(
        {"save_question_runs": save_question_runs},
        kind="save_question_runs",
        calls=calls,
        records=records,
        window=window,
    )
    return seen


LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop, WithoutReader]


@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop", "without add_reader"])
def test_each_loop_gets_every_record_once(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    assert run_on(make_loop, count()) == 2000


@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop", "without add_reader"])
def test_nothing_stays_registered_while_idle(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> tuple[int, int]:
        sizes = []
        for _ in range(30):
            await asyncio.gather(*(count(calls=2) for _ in range(5)))
            for _ in range(5):
                await asyncio.sleep(0)
            sizes.append(len(os.listdir("/proc/self/fd")))
            assert asyncio.get_running_loop() not in _loops._local.bridges
            assert len(asyncio.all_tasks()) == 1
        return sizes[0], sizes[-1]

    first, last = run_on(make_loop, main())
    assert last < first + 10  # a task of the core may hold its port a moment longer; a leak would be 58


def test_threads_with_loops_of_their_own() -> None:
    results: list[Any] = []
    makers = [asyncio.SelectorEventLoop, uvloop.new_event_loop, asyncio.SelectorEventLoop, uvloop.new_event_loop]

    def work(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        for _ in range(20):
            results.append(run_on(make_loop, count(calls=3, records=10)))

    threads = [threading.Thread(target=work, args=(make_loop,)) for make_loop in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [30] * 80


def test_a_busy_loop_still_gets_its_records() -> None:
    async def main() -> int:
        counting = asyncio.create_task(count(calls=200, records=1))
        turns = 0
        while not counting.done():
            sum(range(2000))
            turns += 1
            assert turns < 1_000_000
            await asyncio.sleep(0)
        return counting.result()

    assert asyncio.run(main()) == 200


def test_f73_a_loop_that_was_closed_in_flight_is_forgotten() -> None:
    entered: list[Any] = []

    async def save_fact(name: str, value: str) -> None:
        entered.append(name)
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(selftest({"save_fact": save_fact}, kind="save_fact", on_session=entered.append))
    while len(entered) < 2:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop_dies, session = weakref.ref(loop), weakref.ref(entered[0])
    entered.clear()
    del loop, task
    assert asyncio.run(count()) == 2000
    gc.collect()
    assert loop_dies() is None
    assert session() is None


def test_without_a_loop_the_error_is_clear() -> None:
    coroutine = count()
    with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
        coroutine.send(None)


async def test_a_wait_that_is_cancelled_loses_no_record() -> None:
    """Twenty sessions, whose waiting tasks poll with tiny timeouts, as `wait_for` users do."""

    async def one() -> int:
        task = asyncio.create_task(count(calls=20, records=5))
        while not task.done():
            await asyncio.wait([task], timeout=0.0001)
        return task.result()

    assert await asyncio.gather(*(one() for _ in range(20))) == [100] * 20
