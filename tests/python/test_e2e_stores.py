"""A user's own persistence: whole stores, two functions, and what happens when they raise, hang, block or lie.

Nothing that was paid may be lost or paid again, whatever a callback does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import STORE_METHODS, MyStore, Shelf, asked, cells, pipeline, quillmark, requests
from overheard import ConfigError, Org, Pipeline, StoreError, Summary
from overheard.simulator import Simulator

MODELS = ("chatgpt", "gpt-4.1")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=6, snapshot_ms=30, perfect=True) as running:
        yield running


def assert_whole(store: Shelf, simulator: Simulator, org: Org, summary: Summary) -> None:
    """Every cell once, asked once, extracted, and paid as charged."""
    assert summary.status == "complete"
    assert {key for _, key in store.runs} == cells(org)
    assert len(store.runs) == len(cells(org))
    places = max(1, len(org.locations))
    twice = {key: count for key, count in asked(simulator).items() if count != places}
    assert not twice, f"asked and paid {places} times is right: {twice}"
    assert {key for key, entry in store.extractions.items() if entry.error is None} == set(store.runs)
    charged = simulator.ledger()["charged_micro_usd"]
    assert summary.total_cost_micro_usd == charged, f"said {summary.total_cost_micro_usd}, charged {charged}"
    assert store.cost == charged, f"stored {store.cost}, charged {charged}"


@pytest.mark.parametrize("kind", [Shelf, MyStore])
async def test_a_users_own_store(simulator: Simulator, tmp_path: Path, kind: type[Shelf]) -> None:
    store, org = kind(), quillmark(6, MODELS, ("US", "DE"))
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    summary = await opened.run(org)
    assert_whole(store, simulator, org, summary)
    # Sequences in: never one row a callback.
    assert store.calls["save_question_runs"] < len(store.runs)
    before = requests(simulator)
    again = await opened.resume(summary.batch_id)
    assert (requests(simulator), again.requests_made) == (before, 0)
    assert again.total_cost_micro_usd == summary.total_cost_micro_usd


async def test_await_pipeline_run_in_one_expression(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in simulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OVERHEARD_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.chdir(tmp_path)
    store, org = MyStore(), quillmark(2, ("gpt-4.1",))
    assert_whole(store, simulator, org, await Pipeline(store=store).run(org))


async def test_an_org_that_the_store_knows_is_run_by_its_id(simulator: Simulator, tmp_path: Path) -> None:
    store, org = MyStore(), quillmark(2, ("gpt-4.1",))
    store.orgs["quill"] = org
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    assert_whole(store, simulator, org, await opened.run("quill"))
    with pytest.raises(ConfigError, match="there is no org 'acme' in the store"):
        await opened.run("acme")


@pytest.mark.parametrize("plain", [True, False])
async def test_two_bare_functions(simulator: Simulator, tmp_path: Path, plain: bool) -> None:
    runs: dict[str, Any] = {}
    extractions: dict[str, Any] = {}

    def take_runs(batch: Any) -> None:
        runs.update({entry.key: entry for entry in batch})

    def take_extractions(batch: Any) -> None:
        extractions.update({entry.key: entry for entry in batch})

    async def take_runs_awaited(batch: Any) -> None:
        take_runs(batch)

    async def take_extractions_awaited(batch: Any) -> None:
        take_extractions(batch)

    org = quillmark(5, MODELS)
    async with pipeline(
        simulator,
        f"sqlite:///{tmp_path / 'state.db'}",
        on_question_runs=take_runs if plain else take_runs_awaited,
        on_extractions=take_extractions if plain else take_extractions_awaited,
    ) as opened:
        summary = await opened.run(org)
        assert set(runs) == set(extractions) == cells(org)
        assert (await opened.status(summary.batch_id)).complete
        before = requests(simulator)
        assert (await opened.resume(summary.batch_id)).requests_made == 0
    assert requests(simulator) == before
    assert summary.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"]
    answers = sum(entry.cost_micro_usd for entry in runs.values())
    extracted = sum(entry.cost_micro_usd for entry in extractions.values())
    names = sum(c["micro_usd"] for c in simulator.ledger()["charges"] if c["status"] == "structured") - extracted
    assert answers + extracted + names == summary.total_cost_micro_usd
    assert names > 0


# --- callbacks that raise ---


class Refused(Exception):
    """A user's own exception, which nothing of ours knows."""


def broken(method: str, fails: Any, *, commits: bool = False) -> tuple[Shelf, Refused]:
    """A store whose `method` raises one and the same object where `fails(call number)`."""
    error = Refused(f"the database said no to {method}")

    class Broken(MyStore):  # type: ignore[misc, valid-type]
        seen = 0

        async def _failing(self, *args: Any, **keywords: Any) -> Any:
            self.seen += 1
            strikes = fails(self.seen)
            if strikes and not commits:
                raise error
            result = await getattr(MyStore, method)(self, *args, **keywords)
            if strikes:
                raise error
            return result

    setattr(Broken, method, Broken._failing)
    return Broken(), error


WRITES = ("save_question_runs", "save_extractions")
ENGINE_CALLS = (*WRITES, "save_batch", "save_model_runs", "existing_keys", "question_runs")


@pytest.mark.parametrize("commits", [False, True], ids=["raises", "commits-then-raises"])
@pytest.mark.parametrize("method", WRITES)
async def test_a_callback_that_raises_now_and_then_loses_nothing(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, commits: bool
) -> None:
    store, _ = broken(method, lambda call: call % 2 == 1, commits=commits)
    org = quillmark(6, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", group_commit=3)
    with caplog.at_level(logging.WARNING, logger="overheard"):
        summary = await opened.run(org)
    assert_whole(store, simulator, org, summary)
    assert f"callback {method} raised Refused: the database said no to {method}" in caplog.text


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("method", [name for name in STORE_METHODS if name != "load_org"])
async def test_a_callback_that_raises_for_good_ends_the_run_and_the_next_start_completes(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, nth: int
) -> None:
    """Every method, from its nth call on."""
    healed = False
    store, error = broken(method, lambda call: call >= nth and not healed)
    org = quillmark(6, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", group_commit=3)
    try:
        with caplog.at_level(logging.WARNING, logger="overheard"):
            summary = await opened.run(org)
    except Refused as raised:
        assert raised is error, "another object than the one that was raised"
        if store.calls[method] or method in ENGINE_CALLS:
            assert method in caplog.text + "".join(getattr(raised, "__notes__", ())) + str(raised)
        healed = True
        summary = await opened.run(org)
    assert_whole(store, simulator, org, summary)


@pytest.mark.parametrize("method", WRITES)
async def test_a_callback_that_commits_and_then_raises_for_good(
    simulator: Simulator, tmp_path: Path, method: str
) -> None:
    healed = False
    store, error = broken(method, lambda _: not healed, commits=True)
    org = quillmark(4, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    with pytest.raises(Refused) as caught:
        await opened.run(org)
    assert caught.value is error
    healed = True
    assert_whole(store, simulator, org, await opened.run(org))


async def test_a_plain_store_that_raises_gives_the_identical_object(simulator: Simulator, tmp_path: Path) -> None:
    error = Refused("plain")

    class Broken(Shelf):
        def save_question_runs(self, runs: Any) -> None:
            raise error

    opened = pipeline(simulator, Broken(), journal=tmp_path / "journal")
    with pytest.raises(Refused) as caught:
        await opened.run(quillmark(2, ("gpt-4.1",)))
    assert caught.value is error


async def test_a_function_that_raises_is_handed_the_same_rows_again(simulator: Simulator, tmp_path: Path) -> None:
    error, taken, healed = Refused("function"), [], False

    async def take(runs: Any) -> None:
        if not healed:
            raise error
        taken.extend(entry.key for entry in runs)

    org = quillmark(4, MODELS)
    async with pipeline(simulator, f"sqlite:///{tmp_path / 's.db'}", on_question_runs=take) as opened:
        with pytest.raises(Refused) as caught:
            await opened.run(org, extraction="local")
        assert caught.value is error
        healed = True
        summary = await opened.run(org, extraction="local")
    assert summary.complete
    assert sorted(taken) == sorted(cells(org))
    assert set(asked(simulator).values()) == {1}, "asked or paid twice"


# --- callbacks that hang, block or lie ---


async def test_a_callback_that_hangs_is_named_and_loses_nothing(simulator: Simulator, tmp_path: Path) -> None:
    class Hangs(MyStore):  # type: ignore[misc, valid-type]
        hangs = True

        async def save_question_runs(self, runs: Any) -> None:
            if self.hangs:
                await asyncio.Event().wait()
            await super().save_question_runs(runs)

    store, org = Hangs(), quillmark(3, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", host_timeout_ms=100)
    with pytest.raises(StoreError, match="save_question_runs"):
        await opened.run(org)
    store.hangs = False
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    assert_whole(store, simulator, org, await opened.run(org))


async def test_a_callback_that_hangs_once_is_called_again(simulator: Simulator, tmp_path: Path) -> None:
    class HangsOnce(MyStore):  # type: ignore[misc, valid-type]
        hung = False

        async def save_question_runs(self, runs: Any) -> None:
            if not self.hung:
                self.hung = True
                await asyncio.Event().wait()
            await super().save_question_runs(runs)

    store, org = HangsOnce(), quillmark(3, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", host_timeout_ms=200)
    assert_whole(store, simulator, org, await opened.run(org))


async def test_a_callback_that_blocks_the_loop_is_named(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Blocks(MyStore):  # type: ignore[misc, valid-type]
        blocked = False

        async def save_question_runs(self, runs: Any) -> None:
            if not self.blocked:
                self.blocked = True
                time.sleep(1.2)  # noqa: ASYNC251 - what the user should not do
            await super().save_question_runs(runs)

    store, org = Blocks(), quillmark(3, MODELS)
    with caplog.at_level(logging.WARNING, logger="overheard"):
        summary = await pipeline(simulator, store, journal=tmp_path / "journal").run(org)
    assert_whole(store, simulator, org, summary)
    assert "callback save_question_runs blocked the event loop" in caplog.text


WRONG: list[tuple[str, Any]] = [
    ("existing_keys", 5),
    ("existing_keys", ["q000|chatgpt|US|1"]),
    ("existing_keys", [{"key": "q000|chatgpt|US|1", "status": "brilliant"}]),
    ("existing_keys", [{"key": "no cell key at all", "status": "answered"}]),
    ("existing_keys", [{"status": "answered"}]),
    ("question_runs", "text"),
    ("question_runs", [{"no": "run"}]),
    ("load_batch", {"batch_id": "a mapping"}),
    ("load_org", {"id": "a mapping"}),
]


@pytest.mark.parametrize(("method", "answer"), WRONG)
async def test_a_callback_that_answers_nonsense_is_named_and_nothing_is_bought(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, answer: Any
) -> None:
    class Lies(MyStore):  # type: ignore[misc, valid-type]
        lying = True

    async def lie(self: Any, *args: Any, **keywords: Any) -> Any:
        return answer if self.lying else await getattr(MyStore, method)(self, *args, **keywords)

    setattr(Lies, method, lie)
    store, org = Lies(), quillmark(3, MODELS)
    store.orgs["quill"] = org
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    if method == "question_runs":  # only asked where answers wait for their extraction
        store.lying = False
        summary = await opened.execute(org)
        store.lying = True
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the words are looked at below
            await opened.extract(summary.batch_id)
    else:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the words are looked at below
            await opened.run("quill" if method == "load_org" else org)
        assert requests(simulator) == {}, "something was asked although the store could not be read"
    told = str(caught.value) + caplog.text + "".join(getattr(caught.value, "__notes__", ()))
    assert method in told, f"{type(caught.value).__name__}: {told}"
    store.lying = False
    again = opened.extract(summary.batch_id) if method == "question_runs" else opened.run(org)
    assert_whole(store, simulator, org, await again)


async def test_a_store_that_lacks_methods_is_told_which() -> None:
    class Half:
        def load_org(self, org_id: str) -> None: ...

    with pytest.raises(ConfigError, match=r"Half lacks save_batch, save_model_runs, load_batch"):
        Pipeline(Half())  # type: ignore[arg-type]


async def test_a_start_that_is_cancelled_loses_nothing(simulator: Simulator, tmp_path: Path) -> None:
    store, org = MyStore(), quillmark(6, MODELS)
    opened = pipeline(simulator, store, journal=tmp_path / "journal")
    simulator.inject({"endpoint": "brightdata.trigger"}, "ndjson")
    task = asyncio.ensure_future(opened.run(org))
    while not simulator.ledger()["records"]:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    summary = await opened.run(org)
    assert summary.complete
    assert {key for _, key in store.runs} == cells(org)
    assert simulator.ledger()["records"] == 6, "a record was bought twice"


@pytest.mark.parametrize("gone", [False, True], ids=["fetched-again", "snapshot-is-gone"])
async def test_a_snapshot_that_was_stored_by_half_is_continued_and_what_is_stored_stays(
    simulator: Simulator, tmp_path: Path, gone: bool
) -> None:
    healed = False
    store, _ = broken("save_question_runs", lambda call: call > 1 and not healed)
    org = quillmark(12)
    opened = pipeline(simulator, store, journal=tmp_path / "journal", group_commit=5)
    with pytest.raises(Refused):
        await opened.run(org, extraction="local")
    first = {key: entry.to_dict() for key, entry in store.runs.items()}
    assert 0 < len(first) < 12
    healed = True
    if gone:
        simulator.inject({"endpoint": "brightdata.snapshot"}, "status:404", None)
        simulator.inject({"endpoint": "brightdata.progress"}, "status:404", None)
    summary = await opened.run(org, extraction="local")
    for key, entry in first.items():
        assert store.runs[key].to_dict() == entry, "a stored answer was written over"
    assert summary.processed == summary.answered + summary.failed == len(store.runs)
    assert summary.total_cost_micro_usd == store.cost
    assert simulator.ledger()["records"] == 12, "bought twice"
    if not gone:
        assert_whole(store, simulator, org, summary)
