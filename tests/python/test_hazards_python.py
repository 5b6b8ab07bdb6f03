"""The Python side: what callbacks raise comes back itself, wherever they run; threads and loops do no harm."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bridge_help import selftest
from e2e_help import FAST, MyStore, eventually, pipeline, quillmark, requests
from overheard import ConfigError, Pipeline, Provider, StoreError, _core
from overheard.errors import InternalError
from overheard.records import QuestionRun
from overheard.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=72, snapshot_ms=30, perfect=True) as running:
        yield running


# --- the matrix of exceptions ---


class Bare(BaseException):
    """Not an `Exception`: `except Exception` lets it pass."""


class Unpicklable(Exception):
    """Holds what no pickle takes."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())


MAKERS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("broken"),
    "OSError": lambda: OSError(28, "No space left on device"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(7),
    "GeneratorExit": GeneratorExit,
    "BaseException subclass": Bare,
    "unpicklable": Unpicklable,
}
if sys.version_info >= (3, 11):
    MAKERS["ExceptionGroup"] = lambda: ExceptionGroup("two", [ValueError("one"), OSError("two")])  # noqa: F821

METHODS = ("save_question_runs", "save_extractions", "existing_keys", "question_runs", "load_fact", "save_fact", "ask")


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("name", MAKERS)
def test_f54_each_exception_of_each_method_comes_back_as_the_identical_object(name: str, plain: bool) -> None:
    for method in METHODS:
        error = MAKERS[name]()

        def raises(*arguments: Any, error: BaseException = error) -> None:
            raise error

        async def raises_async(*arguments: Any, error: BaseException = error) -> None:
            await asyncio.sleep(0)
            raise error

        handler = raises if plain else raises_async
        caught: BaseException | None = None
        try:
            asyncio.run(selftest({method: handler}, kind=method))
        except BaseException as raised:
            caught = raised
        assert caught is error, f"{method}: {caught!r}"


@pytest.mark.parametrize("method", METHODS)
def test_f54_a_cancellation_from_inside_is_the_cause_of_a_store_error(method: str) -> None:
    """As itself it would look as if the caller's task had been cancelled."""
    error = asyncio.CancelledError("inside")

    async def raises(*arguments: Any) -> None:
        raise error

    with pytest.raises(StoreError, match=f"{method} was cancelled from inside") as caught:
        asyncio.run(selftest({method: raises}, kind=method))
    assert caught.value.__cause__ is error


# --- where callbacks run ---


async def test_callbacks_keep_thread_loop_and_context_however_they_wait(simulator: Simulator) -> None:
    """The answer may come from another thread or another loop: the callback goes on where it was."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("caller")
    here = (threading.current_thread(), asyncio.get_running_loop(), "caller")
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever, daemon=True)
    thread.start()
    seen: list[Any] = []

    def place() -> tuple[Any, ...]:
        return threading.current_thread(), asyncio.get_running_loop(), variable.get("lost")

    async def elsewhere() -> str:
        await asyncio.sleep(0)
        return "from another loop"

    async def load_fact(name: str) -> str:
        seen.append(place())
        value = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(elsewhere(), other))
        seen.append(place())
        await asyncio.to_thread(lambda: None)
        seen.append(place())
        return value

    try:
        assert (await selftest({"load_fact": load_fact}, kind="load_fact"))["status"] == "from another loop"
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join(10)
        other.close()
    assert seen == [here] * 3


async def test_a_plain_callback_may_run_a_loop_of_its_own() -> None:
    names: list[str] = []

    async def inner() -> str:
        await asyncio.sleep(0)
        names.append(threading.current_thread().name)
        return "kept"

    def load_fact(name: str) -> str:
        return asyncio.run(inner())

    assert (await selftest({"load_fact": load_fact}, kind="load_fact"))["status"] == "kept"
    assert names == ["overheard-store_0"]


async def test_a_plain_callback_may_give_a_future_of_the_callers_loop() -> None:
    loop = asyncio.get_running_loop()

    def load_fact(name: str) -> Any:
        future: concurrent.futures.Future[str] = concurrent.futures.Future()
        threading.Timer(0.01, future.set_result, ("late",)).start()
        return asyncio.wrap_future(future, loop=loop)

    assert (await selftest({"load_fact": load_fact}, kind="load_fact"))["status"] == "late"


# --- the interpreter's lock ---


@pytest.mark.timeout(60)
async def test_busy_threads_and_callbacks_that_use_the_api_again_do_not_deadlock(simulator: Simulator) -> None:
    """Eight threads that never let go of the interpreter by themselves, and a store that starts sessions of its own."""
    end = threading.Event()
    turns = [0] * 8

    def spin(number: int) -> None:
        while not end.is_set():
            turns[number] += 1

    threads = [threading.Thread(target=spin, args=(number,), daemon=True) for number in range(8)]
    provider = Provider.for_model("gpt-4.1", env=simulator.environment(), **FAST)
    again: list[str] = []

    async def save_question_runs(runs: list[QuestionRun]) -> None:
        outcome = await provider.run_question(f"Which writing software is best, {len(again)}?")
        again.append(outcome.status)
        await selftest({"save_fact": lambda name, value: None}, kind="save_fact", calls=3)

    for thread in threads:
        thread.start()
    try:
        await selftest(
            {"save_question_runs": save_question_runs}, kind="save_question_runs", calls=6, records=50, window=3
        )
    finally:
        end.set()
        for thread in threads:
            thread.join(20)
    assert again == ["answered"] * 6
    assert all(turns)


@pytest.mark.timeout(120)
def test_four_threads_with_loops_of_their_own_make_a_hundred_sessions_each() -> None:
    results: list[list[int]] = [[] for _ in range(4)]

    def work(number: int) -> None:
        async def one(call: int) -> int:
            seen: list[Any] = []

            async def save_question_runs(runs: list[QuestionRun]) -> None:
                seen.append((threading.current_thread(), len(runs)))

            await selftest({"save_question_runs": save_question_runs}, kind="save_question_runs", calls=2, records=5)
            assert {entry[0] for entry in seen} == {threading.current_thread()}, "delivered to another thread's loop"
            return sum(entry[1] for entry in seen)

        async def main() -> None:
            for call in range(100):
                results[number].append(await one(call))

        asyncio.run(main())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[10] * 100] * 4


# --- F72 ---


@pytest.mark.parametrize("how", ["cancel", "wait_for"])
async def test_f72_a_cancelled_start_sends_nothing_more(simulator: Simulator, tmp_path: Any, how: str) -> None:
    with Simulator(seed=72, latency_ms=20, perfect=True) as slow:
        opened = pipeline(slow, MyStore(), journal=tmp_path / "journal", openai_in_flight=2)
        org = quillmark(400, ("gpt-4.1",))
        running = asyncio.ensure_future(opened.run(org, extraction="local"))
        await eventually(lambda: requests(slow).get("openai.responses", 0) >= 4, "it is at work")
        if how == "cancel":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(running, 0.01)
        await eventually(lambda: not _core._live_sessions(), "no task of the core is left")
        sent = requests(slow)
        await asyncio.sleep(0.3)  # fifteen calls' time: what still ran would be seen
        assert requests(slow) == sent
        assert sent["openai.responses"] < 400


# --- panics ---


async def test_a_panic_is_an_exception_that_except_exception_catches() -> None:
    for _ in range(3):
        try:
            await selftest(kind="panic")
        except Exception as error:
            assert isinstance(error, InternalError)
            assert "on purpose" in str(error)
        else:
            raise AssertionError("the panic was swallowed")
    assert (await selftest(kind="log"))["processed"] == 0, "the core goes on after a panic"


# --- no loop, another kind of loop ---


def entries(simulator: Simulator) -> dict[str, Callable[[], Any]]:
    """Every entry that is no coroutine, as a script calls it."""
    environment = simulator.environment()
    return {
        "Pipeline": lambda: Pipeline(MyStore(), env=environment),
        "Provider.for_model": lambda: Provider.for_model("chatgpt", env=environment),
        "Port": lambda: _core.Port(),
        "provider_facts": lambda: _core.provider_facts("gpt-4.1", '{"openai": {"api_key": "k"}}'),
        "extraction_rows": lambda: _core.extraction_rows([]),
        "question_run_rows": lambda: _core.question_run_rows([]),
        "stop": lambda: Pipeline(MyStore(), env=environment).stop(),
        "at_work": Pipeline.at_work,
        "live_sessions": _core._live_sessions,
    }


def test_no_entry_needs_a_reactor(simulator: Simulator) -> None:
    """A timer that is made outside of the core's runtime panics; a panic is no `Exception` and would pass here."""
    for name, entry in entries(simulator).items():
        with concurrent.futures.ThreadPoolExecutor(1) as fresh:  # a thread that has never seen a loop
            assert fresh.submit(entry).exception(60) is None, name
    with pytest.raises(ConfigError):
        _core.quote("{}")
    with pytest.raises(ConfigError):
        _core.start_run(_core.Port(), 1, "{}")


def test_without_asyncio_every_coroutine_says_what_it_needs(simulator: Simulator) -> None:
    """As under trio, which drives a coroutine by its own `send`."""
    opened = Pipeline(MyStore(), env=simulator.environment())
    provider = Provider.for_model("gpt-4.1", env=simulator.environment())
    coroutines = [
        opened.run(quillmark(1)),
        opened.resume("b"),
        opened.status("b"),
        opened.create_batch(quillmark(1)),
        opened.extract("b"),
        provider.run_question("Why?"),
        provider.run_question_batch(["Why?"]),
    ]
    for coroutine in coroutines:
        with pytest.raises(RuntimeError, match=r"needs a running asyncio event loop.*not trio"):
            coroutine.send(None)
    assert requests(simulator) == {}


def test_the_extension_asks_for_the_interpreters_lock() -> None:
    """Free-threaded builds are not tested: there the import turns the lock on again. Elsewhere it is on anyway."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    assert enabled()
