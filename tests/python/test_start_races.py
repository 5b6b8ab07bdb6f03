"""Starts that meet: two that make the same batch, and several that spend from one cap."""

from __future__ import annotations

import asyncio
from pathlib import Path

from e2e_help import pipeline, quillmark, rows, url
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store

MODELS = ("chatgpt", "perplexity", "gemini")


async def test_a_batch_is_never_seen_without_its_model_runs(tmp_path: Path, perfect: Simulator) -> None:
    """Two starts of one org at once: one batch, one model run a model, every question asked once."""
    path, org = tmp_path / "s.db", quillmark(4, ("gpt-4.1",))
    starts = [pipeline(perfect, url(path)) for _ in range(2)]
    ended = await asyncio.gather(
        *(start.run(org, extraction="local", batch_key="today") for start in starts), return_exceptions=True
    )
    assert [type(end).__name__ for end in ended].count("Summary") >= 1, ended
    assert len(rows(path, "SELECT * FROM batches")) == len(rows(path, "SELECT * FROM geo_runs")) == 1
    assert perfect.ledger()["replies"]["openai.responses"]["200"] == 4


async def test_a_start_that_finds_a_batch_without_model_runs_makes_the_same_ones(
    tmp_path: Path, perfect: Simulator
) -> None:
    """A store of a user's own may write the two one after the other, and its process die in between."""
    path, org = tmp_path / "s.db", quillmark(2, ("gpt-4.1", "chatgpt"))
    made = await pipeline(perfect, url(path)).create_batch(org, extraction="local")
    before = {row["run_id"] for row in rows(path, "SELECT run_id FROM geo_runs")}
    async with open_store(url(path)) as store:
        assert isinstance(store, SqlStore)
        async with store.database.writing() as connection:
            await connection.exec_driver_sql("DELETE FROM geo_runs")
    summary = await pipeline(perfect, url(path)).run(org, extraction="local")
    assert (summary.batch_id, summary.status) == (made, "complete")
    assert {row["run_id"] for row in rows(path, "SELECT run_id FROM geo_runs")} == before


async def test_model_runs_that_are_run_apart_do_not_exceed_the_cap_together(tmp_path: Path, perfect: Simulator) -> None:
    """Three starts of 30,000 micro-dollars each; none sees what another spends until it is stored."""
    path, org = tmp_path / "s.db", quillmark(10, MODELS, ("US", "DE"))
    cap = 50_000
    batch_id = await pipeline(perfect, url(path)).create_batch(org, extraction="local", max_cost="0.05")
    ids = [row["run_id"] for row in rows(path, "SELECT run_id FROM geo_runs ORDER BY model")]
    await asyncio.gather(*(pipeline(perfect, url(path)).run_model(run_id) for run_id in ids))
    apart = perfect.ledger()["charged_micro_usd"]
    assert 0 < apart <= cap  # of each model one location, 15,000
    await pipeline(perfect, url(path)).resume(batch_id)
    assert perfect.ledger()["charged_micro_usd"] <= cap
