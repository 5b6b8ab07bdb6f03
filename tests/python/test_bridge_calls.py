"""Host calls: what callbacks get, how their answers and exceptions travel, and how a session ends."""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from bridge_help import selftest
from overheard import _core, _driver, errors
from overheard.records import Ask, ExistingKey, Extraction, Outcome, QuestionRun


async def no_sessions() -> None:
    """Returns once no session task is left in the core; the test's time limit is the limit."""
    while _core._live_sessions():
        await asyncio.sleep(0.001)


async def test_records_arrive_in_batches() -> None:
    batches: list[list[QuestionRun]] = []

    async def save_question_runs(runs: list[QuestionRun]) -> None:
        batches.append(runs)

    summary = await selftest(
        {"save_question_runs": save_question_runs}, kind="save_question_runs", calls=50, records=300, window=8
    )
    assert summary["processed"] == 15_000
    assert {len(batch) for batch in batches} == {300}
    keys = {run.key for batch in batches for run in batch}
    assert len(keys) == 15_000
    assert all(isinstance(run, QuestionRun) for run in batches[0])


async def test_extractions_arrive_in_batches() -> None:
    batches: list[list[Extraction]] = []
    await selftest({"save_extractions": batches.append}, kind="save_extractions", calls=2, records=3)
    evaluations, _, citations, failed = _core.extraction_rows(batches[0])
    assert (len(evaluations), len(citations), len(failed)) == (2, 20, 1)


async def test_async_callbacks_run_on_the_callers_loop_with_its_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("caller")
    seen: list[Any] = []

    async def load_fact(name: str) -> str:
        await asyncio.sleep(0)
        seen.append((name, asyncio.get_running_loop(), threading.current_thread(), variable.get()))
        return "kept"

    summary = await selftest({"load_fact": load_fact}, kind="load_fact")
    assert summary["status"] == "kept"
    assert seen == [("fact", asyncio.get_running_loop(), threading.current_thread(), "caller")]


async def test_two_sessions_of_a_loop_keep_their_contexts_apart() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def one(number: int) -> Any:
        variable.set(number)

        async def load_fact(name: str) -> str:
            return str(variable.get())

        return (await selftest({"load_fact": load_fact}, kind="load_fact", calls=20, window=4))["status"]

    assert await asyncio.gather(*map(one, range(30))) == [str(number) for number in range(30)]


async def test_plain_callbacks_run_in_a_thread_of_ours_one_at_a_time_with_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("caller")
    seen: set[Any] = set()
    inside = threading.Lock()

    def save_question_runs(runs: list[QuestionRun]) -> None:
        assert inside.acquire(blocking=False), "two calls of a plain store at the same time"
        seen.add((threading.current_thread().name, variable.get()))
        inside.release()

    await selftest({"save_question_runs": save_question_runs}, kind="save_question_runs", calls=40, window=8)
    assert seen == {("overheard-store_0", "caller")}


async def test_plain_providers_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=30)

    def ask(provider: str, asks: list[Ask]) -> list[Outcome]:
        together.wait()
        return [Outcome("yes")]

    outcomes = await selftest({"ask": ask}, kind="ask", calls=4, window=4)
    assert [outcome.text for outcome in outcomes] == ["yes"]


@pytest.mark.parametrize("wrap", [functools.partial, lambda function: lambda *arguments: function(*arguments)])
async def test_a_wrapped_coroutine_function_is_awaited(wrap: Callable[[Any], Any]) -> None:
    async def load_fact(name: str) -> str:
        return "kept"

    assert (await selftest({"load_fact": wrap(load_fact)}, kind="load_fact"))["status"] == "kept"


async def test_a_provider_gets_asks_and_gives_outcomes_in_any_form() -> None:
    async def ask(provider: str, asks: list[Ask]) -> Any:
        assert provider == "mine"
        return (Outcome("yes", cost_micro_usd=1), Outcome("no").to_dict(), Outcome(error="x"))

    outcomes = await selftest({"ask": ask}, kind="ask", records=3)
    assert [outcome.status for outcome in outcomes] == ["answered", "answered", "failed"]
    assert [outcome.text for outcome in outcomes] == ["yes", "no", None]


def custom(questions: list[str], **provider: Any) -> str:
    """A specification that asks a provider of the user's, through the engine."""
    mine = {"name": "mine", "max_batch_size": 3, "max_in_flight": 2, **provider}
    return json.dumps({"model": "mine", "questions": questions, "custom_providers": [mine]})


async def test_the_engine_asks_a_users_provider_in_its_batches() -> None:
    sizes: list[int] = []

    async def ask(provider: str, asks: list[Ask]) -> list[Outcome]:
        sizes.append(len(asks))
        return [Outcome(f"answer to {ask.question}", cost_micro_usd=2) for ask in asks]

    questions = [f"question {number}" for number in range(8)]
    outcomes = await _driver.drive("ask", custom(questions), {"ask": ask})
    assert [outcome.text for outcome in outcomes] == [f"answer to {question}" for question in questions]
    assert [outcome.cost_micro_usd for outcome in outcomes] == [2] * 8
    assert sorted(sizes) == [2, 3, 3]


async def test_a_provider_that_loses_an_answer_is_told_so() -> None:
    async def ask(provider: str, asks: list[Ask]) -> list[Outcome]:
        return [Outcome("yes")] * 2

    outcomes = await _driver.drive("ask", custom(["a", "b", "c"]), {"ask": ask})
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert "Batch returned 2 responses but expected 3" in str(outcomes[0].error)


async def test_pages_may_be_objects_or_mappings() -> None:
    key = ExistingKey("q|m|US|1", "answered")

    def existing_keys(batch_id: str, after: str | None, limit: int) -> Any:
        assert (batch_id, after, limit) == ("batch", None, 7)
        return iter([key, key.to_dict()])

    assert (await selftest({"existing_keys": existing_keys}, kind="existing_keys", records=7))["total"] == 2
    kept: list[QuestionRun] = []
    await selftest({"save_question_runs": kept.extend}, kind="save_question_runs", records=2)

    def question_runs(batch_id: str, after: str | None, limit: int) -> Any:
        return [kept[0], kept[1].to_dict()]

    outcomes = await selftest({"question_runs": question_runs}, kind="question_runs", records=2)
    assert [outcome.text for outcome in outcomes] == [run.text for run in kept]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("existing_keys", None),
        ("existing_keys", "text"),
        ("existing_keys", [1]),
        ("load_fact", 3),
        ("ask", 5),
        ("ask", [None]),
        ("ask", [{"status": "answered", "surprise": 1}]),
        ("question_runs", [{"key": "q|m|US|1"}]),
    ],
)
async def test_a_wrong_answer_is_the_callbacks_error(kind: str, wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises((TypeError, ValueError)):
        await selftest({kind: lambda *arguments: wrong}, kind=kind)
    assert f"callback {kind} raised" in caplog.text


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


EXCEPTIONS: list[BaseException] = [
    ValueError("broken"),
    KeyError("broken"),
    TimeoutError("broken"),
    concurrent.futures.TimeoutError("broken"),
    concurrent.futures.CancelledError("broken"),
    errors.BudgetExceeded("broken"),
    Odd(),
    MemoryError("broken"),
    KeyboardInterrupt("broken"),
    SystemExit(7),
]


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: type(exception).__name__)
@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("kind", ["save_question_runs", "load_fact", "ask"])
def test_the_very_object_that_a_callback_raises_comes_back(kind: str, plain: bool, exception: BaseException) -> None:
    exception.__dict__.pop("__notes__", None)

    def raises(*arguments: Any) -> None:
        raise exception

    async def raises_async(*arguments: Any) -> None:
        await asyncio.sleep(0)
        raise exception

    with pytest.raises(type(exception)) as caught:
        asyncio.run(selftest({kind: raises if plain else raises_async}, kind=kind))
    assert caught.value is exception
    assert any(frame.name.startswith("raises") for frame in traceback.extract_tb(exception.__traceback__))
    if sys.version_info >= (3, 11) and isinstance(exception, Exception):
        assert exception.__notes__ == [f"raised by the callback {kind}"]


async def test_a_plain_callback_may_raise_stop_iteration() -> None:
    def load_fact(name: str) -> str:
        raise StopIteration("end")

    with pytest.raises(RuntimeError) as caught:  # no coroutine can raise it as itself (PEP 479)
        await selftest({"load_fact": load_fact}, kind="load_fact")
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_a_cancellation_from_inside_is_a_store_error() -> None:
    async def load_fact(name: str) -> str:
        raise asyncio.CancelledError("inside")

    with pytest.raises(errors.StoreError, match="load_fact was cancelled from inside") as caught:
        await selftest({"load_fact": load_fact}, kind="load_fact")
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_a_providers_own_error_keeps_its_kind() -> None:
    async def ask(provider: str, asks: list[Ask]) -> list[Outcome]:
        raise errors.RateLimitError("slow down", retry_after=2, status_code=429)

    summary = await selftest({"ask": ask}, kind="ask", go_on=True)
    (error,) = summary["processing_errors"]
    assert (error["kind"], error["context"]["retry_after_ms"]) == ("rate_limited", 2000)

    async def absurd(provider: str, asks: list[Ask]) -> list[Outcome]:
        raise errors.RateLimitError("slow down", status_code=10**9)

    (error,) = (await selftest({"ask": absurd}, kind="ask", go_on=True))["processing_errors"]
    assert error["kind"] == "host"


async def test_every_exception_is_logged_with_the_callbacks_name(caplog: pytest.LogCaptureFixture) -> None:
    def save_fact(name: str, value: str) -> None:
        raise ValueError(f"no {value}")

    summary = await selftest({"save_fact": save_fact}, kind="save_fact", calls=3, go_on=True)
    assert summary["failed"] == 3
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"callback save_fact raised ValueError: no {number}" for number in range(3)
    ]
    assert summary["processing_errors"][0]["message"] == "save_fact raised ValueError: no 0"
    assert summary["processing_errors"][0]["context"]["host_call"] == 1


async def test_a_missing_callback_is_named() -> None:
    with pytest.raises(NotImplementedError, match="save_fact"):
        await selftest({}, kind="save_fact")


async def test_a_callback_that_hangs_is_named_and_cancelled() -> None:
    cancelled = asyncio.Event()

    async def load_fact(name: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    with pytest.raises(errors.StoreError, match="load_fact did not return within"):
        await selftest({"load_fact": load_fact}, kind="load_fact", host_ms=50)
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_a_plain_callback_that_hangs_frees_the_waiter() -> None:
    released, started = threading.Event(), threading.Event()

    def load_fact(name: str) -> str:
        started.set()
        released.wait(30)
        return ""

    with pytest.raises(errors.StoreError, match="load_fact did not return within"):
        await selftest({"load_fact": load_fact}, kind="load_fact", host_ms=200)
    assert started.is_set()
    released.set()


async def test_a_callback_that_blocks_the_loop_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_driver, "BLOCKED", 0.02)

    async def load_fact(name: str) -> str:
        time.sleep(0.03)  # noqa: ASYNC251 - the mistake that is to be found
        return ""

    await selftest({"load_fact": load_fact}, kind="load_fact", calls=3)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].getMessage().startswith("callback load_fact blocked the event loop for ")


async def test_f72_cancelling_the_task_cancels_session_and_callbacks_at_once() -> None:
    started, ended, sessions = asyncio.Event(), [], []

    async def save_fact(name: str, value: str) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(value)

    task = asyncio.create_task(
        selftest({"save_fact": save_fact}, kind="save_fact", calls=9, window=3, on_session=sessions.append)
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    calls = len(ended)
    assert 1 <= calls <= 3
    sessions[0].complete(1, None)  # late: ignored
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(ended) == calls
    assert len(asyncio.all_tasks()) == 1
    await no_sessions()


def test_a_loop_that_cancels_all_its_tasks_is_no_error_of_a_callback(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def save_fact(name: str, value: str) -> None:
            started.set()
            await asyncio.Event().wait()

        kept.append(asyncio.create_task(selftest({"save_fact": save_fact}, kind="save_fact", calls=9, window=4)))
        await started.wait()

    kept: list[asyncio.Task[Any]] = []
    for _ in range(10):
        asyncio.run(main())
    assert [task.cancelled() for task in kept] == [True] * 10
    assert caplog.text == ""


async def test_a_collected_coroutine_cancels_its_session() -> None:
    coroutine = selftest(kind="sleep")
    coroutine.send(None)
    assert _core._live_sessions() >= 1
    del coroutine
    gc.collect()
    await no_sessions()


async def test_slow_providers_do_not_keep_the_store_waiting() -> None:
    saved = asyncio.Event()

    async def ask(provider: str, asks: list[Ask]) -> list[Outcome]:
        await saved.wait()
        return [Outcome("yes")]

    async def save_fact(name: str, value: str) -> None:
        saved.set()

    outcomes = await selftest({"ask": ask, "save_fact": save_fact}, kind="ask", calls=20, window=20, then_save=True)
    assert outcomes[0].text == "yes"


async def test_stop_is_graceful() -> None:
    summary = await selftest(kind="stop", on_session=lambda session: session.stop())
    assert summary["processed"] == 0


async def test_a_session_that_is_cancelled_by_hand_is_gone() -> None:
    with pytest.raises(errors.InternalError, match="without a result"):
        await selftest(kind="sleep", on_session=lambda session: session.cancel())


async def test_a_panic_is_an_internal_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.InternalError, match="the core panicked: on purpose"):
        await selftest(kind="panic")
    assert (await selftest(kind="log"))["processed"] == 0


async def test_log_lines_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    await selftest(kind="log")
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("overheard", logging.WARNING, "line one\\nline two")


async def test_progress_reaches_its_callback_and_a_broken_one_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    await selftest(kind="progress", on_progress=seen.append)
    assert [pair["location"] for pair in seen[0]] == ["US", "US"]

    def broken(pairs: Any) -> None:
        raise ValueError("no bar")

    await selftest(kind="progress", on_progress=broken)
    assert "on_progress" in caplog.text


async def test_a_broken_specification_does_not_show_its_values() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        await _driver.drive("ask", '{"model": "m", "questions": [], "settings": {"openai": {"api_key": ["sk-1"]}}}', {})
    assert "sk-1" not in str(caught.value)
    with pytest.raises(errors.ConfigError, match="unknown field `surprise`"):
        await _driver.drive("run", '{"surprise": 1}', {})
