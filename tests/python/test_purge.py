"""`purge_before` on both databases: finished batches go with all their rows, nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import pipeline, quillmark
from overheard.batch import now_ms
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store, purge, schema
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run
from sqlalchemy import func, insert, select, text

NOW = 2_000_000_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    url = f"sqlite:///{tmp_path}/s.sqlite" if request.param == "sqlite" else request.getfixturevalue("place").url
    async with open_store(url) as opened:
        yield opened


async def filled(store: SqlStore, cells: int = 3, *, finished: int | None = 1_000, **fields: Any) -> tuple[str, str]:
    """A batch with rows in every table; its id and its model run's."""
    batch = make_batch(finished_at_ms=finished)
    model_run = make_model_run(batch, "m", **({"status": "completed"} | fields))
    await store.save_batch(batch)
    await store.save_model_runs([model_run])
    runs = [make_question_run(model_run, f"q{number}") for number in range(cells)]
    await store.save_question_runs(runs)
    await store.save_extractions([make_extraction(run) for run in runs])
    await store.save_fact(f"summary:{batch.batch_id}", "{}")
    async with store.database.writing() as connection:
        await connection.execute(
            insert(schema.claims).values(name=f"finished:{batch.batch_id}", revision=1, mark="m", owner="o")
        )
        await connection.execute(
            insert(schema.geo_batch_insights).values(
                batch_id=batch.batch_id, revision=1, org_id="acme", prompt_version="1", content="{}", created_at=1
            )
        )
    return batch.batch_id, model_run.run_id


async def counted(store: SqlStore) -> dict[str, int]:
    found = {}
    async with store.database.reading() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name not in ("overheard_migrations", "orgs", "questions"):
                found[table.name] = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return found


@pytest.mark.broken_store("batches made by hand")
async def test_a_finished_batch_goes_with_all_its_rows(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "_PAGE", 2)  # several transactions
    await store.save_fact("names:acme", "kept")
    await filled(store, finished=NOW)
    kept = await counted(store)
    await filled(store, 5)
    await filled(store, 2, finished=NOW - 1)
    before = await counted(store)
    would = dict(await store.purge_before(NOW, dry_run=True))
    assert await counted(store) == before, "a dry run deleted something"
    gone = dict(await store.purge_before(NOW))
    assert gone == would
    assert await counted(store) == kept
    assert gone == {name: before[name] - kept[name] for name in before}
    assert gone["question_runs"] == 7
    assert all(gone.values()), f"a table was not part of the test: {gone}"
    assert set((await store.purge_before(NOW)).values()) == {0}
    assert await store.load_fact("names:acme") == "kept"


@pytest.mark.broken_store("batches made by hand")
@pytest.mark.parametrize(
    "fields",
    [
        {"finished": None},
        {"finished": NOW},
        {"status": "running", "lease_owner": "host/x/1/s", "lease_expires_at_ms": now_ms() + 86_400_000},
        {"status": "completed", "lease_owner": "host/x/1/s", "lease_expires_at_ms": now_ms() + 86_400_000},
    ],
)
async def test_what_is_not_finished_or_is_worked_on_stays(store: SqlStore, fields: dict[str, Any]) -> None:
    await filled(store, **fields)
    before = await counted(store)
    assert set((await store.purge_before(NOW)).values()) == {0}
    assert set((await store.purge_before(NOW, dry_run=True)).values()) == {0}
    assert await counted(store) == before


@pytest.mark.broken_store("batches made by hand")
async def test_model_runs_of_another_system_stay(store: SqlStore) -> None:
    batch = make_batch(finished_at_ms=1)
    await store.save_model_runs([make_model_run(batch, "m", status="completed", finished_at_ms=1)])
    await store.purge_before(NOW)
    assert (await counted(store))["geo_runs"] == 1


@pytest.mark.broken_store("batches made by hand")
async def test_an_id_within_another_name_is_not_the_batch(tmp_path: Path) -> None:
    """SQLite takes every text as a batch's id."""
    async with open_store(f"sqlite:///{tmp_path}/s.sqlite") as store:
        for name in ("summary:1", "summary:11", "summary:1-2", "1:x", "a1", "100%_1"):
            await store.save_fact(name, "")
        await store.save_batch(make_batch(batch_id="1", finished_at_ms=1))
        assert (await store.purge_before(NOW))["facts"] == 2
        left = [row["name"] async for row in store.read_all(select(schema.facts.c.name).order_by("name"))]
        assert left == ["100%_1", "a1", "summary:1-2", "summary:11"]


@pytest.mark.broken_store("batches made by hand")
async def test_a_purge_that_died_half_way_is_ended_by_the_next(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_PAGE", 2)
    batch_id, run_id = await filled(store, 6)
    deleted = purge._delete
    calls = 0

    async def dies(*args: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > 7:  # in its second transaction
            raise KeyboardInterrupt
        return await deleted(*args)

    monkeypatch.setattr(purge, "_delete", dies)
    task = asyncio.ensure_future(_caught(store.purge_before(NOW)))
    await task
    monkeypatch.setattr(purge, "_delete", deleted)
    assert (await counted(store))["question_runs"] == 4, "a transaction was kept half, or none was"
    again = await store.purge_before(NOW)
    assert again["question_runs"] == 4
    assert set((await counted(store)).values()) == {0}
    assert await store.load_model_run(run_id) is None
    assert await store.load_batch(batch_id) is None


async def _caught(work: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        await work


@pytest.mark.broken_store("batches made by hand")
async def test_a_start_cannot_go_on_with_what_is_being_deleted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_id = await filled(store)
    granted: list[bool] = []
    deleted = purge._deleted

    async def looked(*args: Any) -> Any:
        granted.append((await store.acquire_lease(run_id, "a start", 1_000)).granted)
        return await deleted(*args)

    monkeypatch.setattr(purge, "_deleted", looked)
    assert (await store.purge_before(NOW))["batches"] == 1
    assert granted == [False]


async def test_after_a_real_batch_the_other_one_is_whole(store: SqlStore, perfect: Simulator, tmp_path: Path) -> None:
    from overheard.verify import verify

    opened = pipeline(perfect, store, journal=tmp_path / "journal")
    first = await opened.run(quillmark(3, ("gpt-4.1", "chatgpt")))
    async with store.database.writing() as connection:
        table = schema.batches
        await connection.execute(table.update().values(finished_at=NOW - 10).where(table.c.batch_id == first.batch_id))
    second = await opened.run(quillmark(2, ("gpt-4.1",)), new=True)
    gone = await store.purge_before(now_ms() - 3_600_000)
    assert set(gone.values()) == {0}
    async with store.database.writing() as connection:
        table = schema.batches
        await connection.execute(table.update().values(finished_at=1_000).where(table.c.batch_id == first.batch_id))
    gone = await store.purge_before(now_ms() - 3_600_000)
    assert (gone["question_runs"], gone["geo_runs"], gone["batches"], gone["facts"]) == (6, 2, 1, 1)
    assert await store.batch_ids() == [second.batch_id]
    assert [check.line() for check in await verify(store, journal=tmp_path / "journal") if not check.passed] == []
    async with store.database.reading() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
