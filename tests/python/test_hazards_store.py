"""F54-F58: a store that raises, commits and raises, hangs, blocks the loop, or lies: nothing is lost or paid again."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import MyStore, Shelf, cells, eventually, pipeline, quillmark, requests
from hazards_help import Refused, assert_whole, striking
from overheard import StoreError
from overheard.simulator import Simulator

MODELS = ("chatgpt", "gpt-4.1")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=54, snapshot_ms=20, perfect=True) as running:
        yield running


async def until_done(opened: Any, org: Any, error: Refused) -> Any:
    """Starts until a start ends without an exception; each exception must be the store's own object."""
    for _ in range(3):
        try:
            return await opened.run(org)
        except Refused as raised:
            assert raised is error, "another object than the one that was raised"
    raise AssertionError("three starts failed")


@pytest.mark.parametrize(("plain", "commits"), [(False, False), (False, True), (True, False)])
async def test_f54_f55_whichever_call_of_the_store_fails_nothing_is_lost_or_paid_twice(
    tmp_path: Path, plain: bool, commits: bool
) -> None:
    """The n-th call of all fails once, for every n, until a run makes fewer calls than that."""
    number, struck = 0, True
    while struck:
        number += 1
        with Simulator(seed=54, snapshot_ms=20, perfect=True) as simulator:
            kind, error, calls = striking(
                lambda _name, call, nth=number: call == nth,  # type: ignore[misc]
                commits=commits,
                plain=plain,
            )
            store, org = kind(), quillmark(4, MODELS)
            opened = pipeline(simulator, store, journal=tmp_path / f"{number}", group_commit=3)
            summary = await until_done(opened, org, error)
            assert_whole(store, simulator, org, summary)
            struck = len(calls) >= number
    assert number > 10, "the store was hardly called"


@pytest.mark.parametrize("method", ["save_question_runs", "save_extractions", "save_model_runs", "existing_keys"])
async def test_f54_a_store_that_fails_for_good_stops_the_start_and_the_next_one_hands_over(
    simulator: Simulator, tmp_path: Path, method: str
) -> None:
    healed = False
    kind, error, calls = striking(lambda name, _call: name == method and not healed)
    store, org = kind(), quillmark(6, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    with pytest.raises(Refused) as caught:
        await opened.run(org)
    assert caught.value is error
    assert method in "".join(getattr(caught.value, "__notes__", [method]))
    assert method in calls
    healed = True
    assert_whole(store, simulator, org, await opened.run(org))


async def test_f54_after_three_failures_nothing_more_is_paid_until_the_store_works_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_flight, paid_at_third = 2, 0
    with Simulator(seed=5, latency_ms=10, perfect=True) as simulator:

        def strikes(name: str, _call: int) -> bool:
            nonlocal failures, paid_at_third
            if name != "save_question_runs" or failures >= 5:
                return False
            failures += 1
            if failures == 3:
                paid_at_third = requests(simulator)["openai.responses"]
            if failures == 5:
                paid_at_fifth.append(requests(simulator)["openai.responses"])
            return True

        failures, paid_at_fifth = 0, list[int]()
        kind, _, _ = striking(strikes)
        store, org = kind(), quillmark(300, ("gpt-4.1",))
        opened = pipeline(simulator, store, journal=tmp_path / "journal", openai_in_flight=in_flight)
        with caplog.at_level(logging.WARNING, logger="overheard"):
            summary = await opened.run(org, extraction="local")
        assert_whole(store, simulator, org, summary)
        # 400 and 800 ms pass between the third failure and the fifth: time for 200 more calls of 10 ms.
        assert 0 < paid_at_third < 300
        assert paid_at_fifth[0] <= paid_at_third + 2 * in_flight
    assert "save_question_runs keeps failing: no paid call is started until it works again" in caplog.text
    assert "save_question_runs works again" in caplog.text


async def test_f54_while_the_store_fails_a_users_provider_is_not_asked_either(tmp_path: Path) -> None:
    from overheard import Outcome, Pipeline

    asked: list[int] = []
    seen: list[int] = []

    class Mine:
        supports_batching, max_batch_size, max_in_flight = False, 1, 1

        async def ask(self, wanted: Any) -> list[Outcome]:
            asked.append(len(wanted))
            await asyncio.sleep(0.01)
            return [Outcome("an answer", cost_micro_usd=5)] * len(wanted)

    def strikes(name: str, _call: int) -> bool:
        if name != "save_question_runs" or len(seen) >= 5:
            return False
        seen.append(len(asked))
        return True

    kind, _, _ = striking(strikes)
    store, org = kind(), quillmark(200, ("mine",))
    opened = Pipeline(store, providers={"mine": Mine()}, env={"OVERHEARD_JOURNAL": str(tmp_path / "journal")})
    summary = await opened.run(org, extraction="local")
    assert summary.complete
    assert summary.total_cost_micro_usd == 1000 == 5 * sum(asked)
    assert seen[4] <= seen[2] + 2, seen


# --- F56: hangs ---


class Deaf(MyStore):  # type: ignore[misc, valid-type]
    """Its first hand-over neither returns nor lets itself be cancelled, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()
        self.inside = self.most = self.entered = 0

    async def save_question_runs(self, runs: Any) -> None:
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue
        self.inside -= 1
        await super().save_question_runs(runs)


async def test_f56_a_hanging_callback_is_never_called_beside_itself(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, org = Deaf(), quillmark(3, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", host_timeout_ms=100)
    with caplog.at_level(logging.WARNING, logger="overheard"):
        running = asyncio.ensure_future(opened.run(org))
        # The loop answers all the while: this very loop turns on it.
        await eventually(lambda: caplog.text.count("save_question_runs did not return within") >= 2, "given up twice")
        assert (store.entered, store.most) == (1, 1)
        assert "save_question_runs keeps failing: no paid call is started" in caplog.text
        store.released.set()
        assert_whole(store, simulator, org, await running)
    assert store.most == 1


async def test_f56_a_plain_callback_that_hangs_in_its_thread_is_never_called_beside_itself(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    released, inside, most, entered = threading.Event(), [0], [0], [0]

    class Stuck(Shelf):
        def save_question_runs(self, runs: Any) -> None:
            entered[0] += 1
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            released.wait(60)
            inside[0] -= 1
            super().save_question_runs(runs)

    store, org = Stuck(), quillmark(3, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", host_timeout_ms=100)
    with caplog.at_level(logging.WARNING, logger="overheard"):
        running = asyncio.ensure_future(opened.run(org))
        await eventually(lambda: caplog.text.count("save_question_runs did not return within") >= 2, "given up twice")
        assert (entered, most) == ([1], [1])
        released.set()
        assert_whole(store, simulator, org, await running)
    assert most == [1]


async def test_f56_a_store_that_hangs_for_good_is_named_and_the_next_start_completes(
    simulator: Simulator, tmp_path: Path
) -> None:
    class Hangs(MyStore):  # type: ignore[misc, valid-type]
        hangs, entered = True, 0

        async def save_question_runs(self, runs: Any) -> None:
            self.entered += 1
            if self.hangs:
                await asyncio.Event().wait()
            await super().save_question_runs(runs)

    store, org = Hangs(), quillmark(3, MODELS)
    with pytest.raises(StoreError, match="save_question_runs did not return within"):
        await pipeline(simulator, store, journal=tmp_path / "journal", host_timeout_ms=100).run(org)
    store.hangs = False
    assert_whole(store, simulator, org, await pipeline(simulator, store, journal=tmp_path / "journal").run(org))


# --- F57: blocks the loop ---


async def test_f57_a_blocked_loop_is_told_by_name_and_no_provider_call_times_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop stands still for longer than a direct call may take, while calls are in flight."""

    class Blocks(MyStore):  # type: ignore[misc, valid-type]
        blocked = False

        async def save_question_runs(self, runs: Any) -> None:
            if not self.blocked:
                self.blocked = True
                time.sleep(2.5)  # noqa: ASYNC251 - what the user should not do
            await super().save_question_runs(runs)

    with Simulator(seed=57, latency_ms=300, snapshot_ms=300, perfect=True) as simulator:
        store, org = Blocks(), quillmark(12, MODELS)
        opened = pipeline(
            simulator, store, journal=tmp_path / "journal", answer_timeout_ms=1_500, openai_in_flight=2, group_commit=1
        )
        with caplog.at_level(logging.WARNING, logger="overheard"):
            summary = await opened.run(org, extraction="local")
        assert_whole(store, simulator, org, summary)
        assert requests(simulator)["openai.responses"] == 12, "a call was sent again"
        assert {entry.outcome.attempts for entry in store.runs.values()} == {1}
    assert "callback save_question_runs blocked the event loop for 2." in caplog.text
    assert "attempt" not in caplog.text, "a provider's call was taken for failed"


# --- F58: lies ---


async def test_f58_what_the_store_says_it_has_is_never_paid(simulator: Simulator, tmp_path: Path) -> None:
    """It claims a cell that it does not have, and one that nobody asks."""

    class Lies(MyStore):  # type: ignore[misc, valid-type]
        lying = True

        async def existing_keys(self, batch_id: str, after: str | None, limit: int) -> Any:
            page = await super().existing_keys(batch_id, after, limit)
            if not self.lying or after is not None:
                return page
            claimed = ["q000|chatgpt|US|1", "q001|gpt-4.1|US|1", "q999|chatgpt|US|1"]
            return [{"key": key, "status": "answered", "extracted": True} for key in claimed] + page

    store, org = Lies(), quillmark(3, MODELS)
    summary = await pipeline(simulator, store, journal=tmp_path / "journal").run(org, extraction="local")
    claimed = {"q000|chatgpt|US|1", "q001|gpt-4.1|US|1"}
    assert {key for _, key in store.runs} == cells(org) - claimed
    assert simulator.ledger()["records"] == 2
    assert requests(simulator)["openai.responses"] == 2
    assert summary.requests_made >= 2


@pytest.mark.parametrize("method", ["existing_keys", "question_runs"])
async def test_f58_a_store_that_returns_the_same_page_for_ever_is_named(
    simulator: Simulator, tmp_path: Path, method: str
) -> None:
    class Stale(MyStore):  # type: ignore[misc, valid-type]
        stale = False

    async def page(self: Any, batch_id: str, after: str | None, limit: int) -> Any:
        return await getattr(MyStore, method)(self, batch_id, None if self.stale else after, limit)

    setattr(Stale, method, page)
    store, org = Stale(), quillmark(3, ("chatgpt",))
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    first = await opened.execute(org)
    store.stale, before = True, requests(simulator)
    with pytest.raises(StoreError, match=f"{method} returned the same page twice"):
        await opened.extract(first.batch_id, extraction="local")
    assert requests(simulator) == before
    store.stale = False
    assert (await opened.extract(first.batch_id, extraction="local")).complete
