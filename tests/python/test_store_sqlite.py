"""The SQLite store beyond the contract: file mode, errors, migrations, leases, rows that belong together."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from overheard import _core
from overheard.batch import now_ms
from overheard.errors import ConfigError, StoreError
from overheard.org import Org
from overheard.orgfile import demo_org
from overheard.stores import SqlStore, open_store, schema
from overheard.testing import make_batch, make_extraction, make_model_run, make_question_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def store_at(path: Path) -> SqlStore:
    return open_store(f"sqlite:///{path}")


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_the_schema_has_every_column_the_engine_sends() -> None:
    for table, columns in (
        (schema.question_runs, _core.QUESTION_RUN_COLUMNS),
        (schema.org_evals, _core.ORG_EVAL_COLUMNS),
        (schema.org_competitors, _core.ORG_COMPETITOR_COLUMNS),
        (schema.org_citations, _core.ORG_CITATION_COLUMNS),
    ):
        assert set(columns) <= set(table.columns.keys())


async def test_files_are_for_their_owner_only(path: Path) -> None:
    async with store_at(path) as store:
        await store.save_batch(make_batch())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


@pytest.mark.parametrize("name", ["", "none/store.db"])
async def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(StoreError, match="OVERHEARD_STORE") as caught:
        await store_at(path).open()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_text("dear diary, " * 100)
    with pytest.raises(StoreError, match="not a database"):
        asyncio.run(store_at(path).open())
    assert path.read_text() == "dear diary, " * 100


@pytest.mark.broken_store("of a version that this one must not read")
async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with store_at(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO overheard_migrations VALUES (99, '2030-01-01')")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="schema version 99"):
        await store_at(path).open()


@pytest.mark.parametrize("url", ["postgresql://x", "store.db", "sqlite:///", "sqlite://store.db"])
def test_urls_that_are_no_store(url: str) -> None:
    with pytest.raises(ConfigError, match="OVERHEARD_STORE"):
        open_store(url)


async def test_orgs_round_trip(path: Path) -> None:
    async with store_at(path) as store:
        await store.save_org(demo_org())
        await store.save_org(Org("b", "B"))
        shorter = replace(demo_org(), questions=["Only this?"])
        await store.save_org(shorter)
        assert await store.load_org("demo") == shorter
        assert await store.load_org("none") is None
        assert await store.org_ids() == ["b", "demo"]


async def test_an_expired_lease_goes_back_to_the_queue(path: Path) -> None:
    batch = make_batch(batch_size=2)
    dead = make_model_run(batch, "a", status="running", lease_owner="x", lease_expires_at_ms=now_ms() - 1)
    alive = make_model_run(batch, "b", status="running", lease_owner="y", lease_expires_at_ms=now_ms() + 600_000)
    async with store_at(path) as store:
        await store.save_batch(batch)
        await store.save_model_runs([dead, alive])
        loaded = await store.load_batch(batch.batch_id)
        assert loaded is not None
        assert {run.model: run.status for run in loaded.model_runs} == {"a": "queued", "b": "running"}
        await store.save_model_runs([dead])
    async with store_at(path):
        assert rows(path, "SELECT status, lease_owner FROM geo_runs ORDER BY model") == [
            ("queued", None),
            ("running", "y"),
        ]


async def test_rows_of_another_system_make_a_batch(path: Path) -> None:
    async with store_at(path) as store:
        async with store.database.writing() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO geo_runs (run_id, batch_id, batch_size, org_id, model, status) VALUES (?, ?, ?, ?, ?, ?)",
                [("r1", "b1", 2, "acme", "gemini", "queued")],
            )
        batch = await store.load_batch("b1")
        run = await store.load_model_run("r1")
    assert batch is not None
    assert run is not None
    assert (batch.org_id, batch.batch_size, batch.config) == ("acme", 2, {})
    assert (run.model, run.status, run.query_count, run.surface) == ("gemini", "queued", 0, "")


async def test_children_are_written_together_and_go_together(path: Path) -> None:
    batch = make_batch()
    model_run = make_model_run(batch)
    run = make_question_run(model_run)
    async with store_at(path) as store:
        await store.save_batch(batch)
        await store.save_model_runs([model_run])
        await store.save_question_runs([run])
        await store.save_extractions([make_extraction(run)])
        assert rows(path, "SELECT url, canonical_url, domain, type, cited, position FROM org_citations") == [
            ("https://acme.example/?utm_source=openai", "https://acme.example", "acme.example", "primary", 1, 1)
        ]
        assert rows(path, "SELECT name FROM org_competitors ORDER BY position") == [("Bolt",), ("Crate",)]
        double = make_extraction(run, competitors=[{"name": "A", "position": 1}, {"name": "B", "position": 1}])
        with pytest.raises(Exception, match="UNIQUE"):
            await store.save_extractions([double])
        assert rows(path, "SELECT name FROM org_competitors ORDER BY position") == [("Bolt",), ("Crate",)]
        await store.save_question_runs([run])
        for table in ("extractions", "org_evals", "org_competitors", "org_citations"):
            assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_light_keeps_text_and_counts_only() -> None:
    batch = make_batch()
    model_run = make_model_run(batch)
    run = make_question_run(model_run)
    async with open_store("sqlite://", light=True) as store:
        await store.save_batch(batch)
        await store.save_model_runs([model_run])
        await store.save_question_runs([run])
        await store.save_extractions([make_extraction(run)])
        async with store.database.reading() as connection:
            found = await connection.exec_driver_sql("SELECT answer_text, raw_body FROM question_runs")
            assert found.all() == [(run.text, None)]
            assert (await connection.exec_driver_sql("SELECT count(*) FROM org_citations")).scalar() == 0


def test_one_store_from_several_threads_with_their_own_loops(path: Path) -> None:
    store = store_at(path)
    batch = make_batch()
    model_run = make_model_run(batch)

    async def begin() -> None:
        await store.save_batch(batch)
        await store.save_model_runs([model_run])
        await store.aclose()

    async def write(thread: int) -> None:
        for number in range(20):
            await store.save_question_runs([make_question_run(model_run, f"{thread}-{number}")])
        await store.aclose()

    asyncio.run(begin())
    threads = [threading.Thread(target=lambda number=number: asyncio.run(write(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(path, "SELECT count(*) FROM question_runs") == [(80,)]


async def test_facts_are_kept(path: Path) -> None:
    async with store_at(path) as store:
        assert await store.load_fact("a") is None
        await store.save_fact("a", "1")
        await store.save_fact("a", "2")
    async with store_at(path) as store:
        assert await store.load_fact("a") == "2"
