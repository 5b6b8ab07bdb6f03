"""What PostgreSQL is for: others read while we write, true counts, large hand-overs, older databases."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, create_subprocess_exec
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_help import environment, ids_noted, pipeline, quillmark
from overheard import StoreError
from overheard.simulator import Simulator
from overheard.stores import SqlStore, claims, migrations, open_store, schema
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run
from postgres_help import Cluster, Place
from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import TEXT
from sqlalchemy.exc import DBAPIError

THE_QUERY = (
    "SELECT batch_id, COUNT(*) AS total_runs, COUNT(*) FILTER (WHERE status = 'completed') AS completed_runs, "
    "COUNT(*) FILTER (WHERE status = 'running') AS running_runs FROM geo_runs WHERE batch_id IS NOT NULL "
    "GROUP BY batch_id ORDER BY MAX(started_at) DESC LIMIT 1;"
)


async def begun(store: SqlStore) -> Any:
    """A batch with one model run, stored; gives the model run."""
    batch = make_batch()
    model_run = make_model_run(batch, "m")
    await store.save_batch(batch)
    await store.save_model_runs([model_run])
    return model_run


# --- the counts ---


def counts(place: Place) -> tuple[int, ...]:
    """Total, completed and running, as somebody sees them who asks the database; nothing before there is a batch."""
    import psycopg

    try:
        found = place.query(THE_QUERY)
    except psycopg.errors.UndefinedTable:
        return ()
    return tuple(found[0][1:]) if found else ()


async def test_the_query_gives_true_counts_also_after_a_killed_process(place: Place, tmp_path: Path) -> None:
    org, journal = quillmark(2, ("gpt-4.1", "chatgpt")), tmp_path / "journal"
    with Simulator(seed=4, snapshot_ms=1_000, perfect=True) as simulator:
        async with open_store(place.url) as store:
            opened = pipeline(simulator, store, journal=journal)
            batch_id = await opened.create_batch(org, extraction="local")
            assert counts(place) == (2, 0, 0)
            batch = await store.load_batch(batch_id)
            assert batch is not None
            await opened.run_model(next(run.run_id for run in batch.model_runs if run.model == "gpt-4.1"))
            assert counts(place) == (2, 1, 0)
        words = [sys.executable, "-m", "overheard"]
        variables = environment(simulator, tmp_path) | {"OVERHEARD_JOURNAL": str(journal), "OVERHEARD_STORE": place.url}
        outside: Any = {"env": variables, "cwd": tmp_path, "stdout": PIPE, "stderr": STDOUT}
        # Its first poll is ten seconds off, so the model run of the snapshot is at work until then.
        start = await create_subprocess_exec(*words, "resume", batch_id, **outside)
        try:
            while start.returncode is None and not (counts(place) == (2, 1, 1) and ids_noted(journal)):
                await asyncio.sleep(0.02)
        finally:
            if start.returncode is None:
                start.send_signal(signal.SIGKILL)
            said, _ = await start.communicate()
        assert start.returncode == -signal.SIGKILL, said
        assert counts(place) == (2, 1, 1), "nobody has looked since"
        asked = await create_subprocess_exec(*words, "status", batch_id, **outside)
        said, _ = await asked.communicate()
        assert asked.returncode == 3, said
        assert counts(place) == (2, 1, 0), "a dead process's model run counts as running"
        async with open_store(place.url) as store:
            summary = await pipeline(simulator, store, journal=journal).resume(batch_id)
            assert summary.complete
        assert counts(place) == (2, 2, 0)
        assert str(place.query(THE_QUERY)[0][0]) == batch_id


# --- readers and the writer ---


async def test_who_reads_does_not_wait_and_who_writes_does(place: Place) -> None:
    async with open_store(place.url) as store:
        model_run = await begun(store)
        await store.save_fact("name", "before")
        order: list[str] = []

        async def written() -> None:
            await store.save_fact("name", "after")
            order.append("second writer")

        async with store.database.writing() as connection:
            await connection.execute(insert(schema.facts).values(name="open", value="x", updated_at=1))
            waiting = asyncio.ensure_future(written())
            reads = [
                store.load_fact("name"),
                store.load_batch(model_run.batch_id),
                store.existing_keys(model_run.batch_id, None, 10),
                store.question_runs(model_run.batch_id, None, 10),
                store.batch_ids(),
                store.load_fact("open"),
            ]
            # It would be for ever: this block ends after it.
            found = await asyncio.wait_for(asyncio.gather(*reads), 30)
            assert found[0] == "before"
            assert found[5] is None, "what is not committed was read"
            order.append("first writer")
        await waiting
        assert order == ["first writer", "second writer"]
        assert await store.load_fact("name") == "after"


class Between:
    """A connection on which something else happens after one of its statements."""

    def __init__(self, connection: Any, statement: int, happens: Callable[[], Awaitable[Any]]) -> None:
        self._connection, self._statement, self._happens = connection, statement, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, *arguments: Any) -> Any:
        result = await self._connection.execute(*arguments)
        self._statement -= 1
        if self._statement == 0:
            await self._happens()
        return result


@pytest.mark.parametrize("statement", [1, 2])
async def test_a_claim_made_between_two_statements_of_another_is_one_revision(place: Place, statement: int) -> None:
    async with open_store(place.url) as store, open_store(place.url) as other:

        async def quicker() -> None:
            assert (await other.claim_once("finished", "mark", "quicker", 60_000)).granted

        async with store.database.writing() as connection:
            between: Any = Between(connection, statement, quicker)
            claim = await claims.claim(between, "finished", "mark", "slower", 60_000)
        assert (claim.granted, claim.revision, claim.owner) == (False, 1, "quicker")
        assert place.query("SELECT revision, owner FROM claims") == [(1, "quicker")]


async def test_verify_sees_one_moment(place: Place) -> None:
    async with open_store(place.url) as store:
        await store.save_fact("name", "before")
        async with store.database.snapshot() as connection:
            query = "SELECT value FROM facts WHERE name = 'name'"
            assert (await connection.exec_driver_sql(query)).scalar() == "before"
            await store.save_fact("name", "after")
            assert (await connection.exec_driver_sql(query)).scalar() == "before"
        async with store.database.reading() as connection:
            assert (await connection.exec_driver_sql("SHOW transaction_isolation")).scalar() == "read committed"


async def test_terminated_sessions_are_made_anew_and_keep_nothing_half(place: Place) -> None:
    ends = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    async with open_store(place.url) as store:
        await store.save_fact("name", "before")
        await store.load_fact("name")
        assert (await asyncio.to_thread(place.query, ends))[0][0] == 2, "one writes, one reads"
        assert await store.load_fact("name") == "before"
        assert (await asyncio.to_thread(place.query, ends))[0][0] >= 1
        await store.save_fact("name", "between")

        async def half_way() -> None:
            async with store.database.writing() as connection:
                await connection.execute(insert(schema.facts).values(name="half", value="x", updated_at=1))
                await asyncio.to_thread(place.query, ends)
                await connection.execute(insert(schema.facts).values(name="other half", value="x", updated_at=1))

        with pytest.raises(DBAPIError):
            await half_way()
        assert await store.load_fact("name") == "between"
        assert await store.load_fact("half") is None


# --- hand-overs ---


async def test_a_hand_over_larger_than_a_statement_is_stored_whole(place: Place) -> None:
    from overheard import _core
    from overheard.stores import rows

    most = rows.BIND_LIMIT // len(_core.QUESTION_RUN_COLUMNS)
    async with open_store(place.url) as store:
        model_run = await begun(store)
        runs = [make_question_run(model_run, f"q{number:05}") for number in range(most + 2)]
        await store.save_question_runs(runs)
        await store.save_extractions([make_extraction(run) for run in runs])
    assert place.query("SELECT count(*) FROM question_runs") == [(most + 2,)]
    assert place.query("SELECT count(*) FROM org_citations") == [(most + 2,)]
    assert place.query("SELECT count(*) FROM org_competitors") == [(2 * (most + 2),)]


@pytest.mark.broken_store("hand-overs at random: states without their rows")
async def test_any_hand_overs_leave_in_postgresql_what_they_leave_in_sqlite(place: Place, tmp_path: Path) -> None:
    """The same cell several times in one hand-over, again later, with and without what may be missing."""
    seed = int(os.environ.get("OVERHEARD_SEED") or random.SystemRandom().randrange(1 << 31))
    chance = random.Random(seed)
    async with open_store(place.url) as postgresql, open_store(f"sqlite:///{tmp_path}/s.sqlite") as sqlite:
        stores = (postgresql, sqlite)
        model_run = make_model_run(make_batch(), "m")
        for store in stores:
            await store.save_batch(make_batch(batch_id=model_run.batch_id))
            await store.save_model_runs([model_run])
        for _ in range(25):
            runs = [
                make_question_run(
                    model_run,
                    f"q{chance.randrange(12)}",
                    text=chance.choice(["", "a", "%s $1 ?", "é\u202e'\"\\", "x" * 9_000]),
                    cost_micro_usd=chance.choice([None, 0, 1, 2**40]),
                    served_model=chance.choice([None, "m-1"]),
                    search_queries=chance.choice([[], ["a", "b"]]),
                )
                for _ in range(chance.randrange(1, 20))
            ]
            last = {run.key: run for run in runs}
            some = [make_extraction(run) for run in last.values() if chance.random() < 0.5]
            for store in stores:
                await store.save_question_runs(runs)
                await store.save_extractions(some)
        found = [
            (
                await store.existing_keys(model_run.batch_id, None, 1_000),
                [run.to_dict() for run in await store.question_runs(model_run.batch_id, None, 1_000)],
            )
            for store in stores
        ]
        assert found[0] == found[1], f"OVERHEARD_SEED={seed}"
        assert len(found[0][0]) == 12, f"OVERHEARD_SEED={seed}"


# --- opening ---


async def test_many_that_open_a_new_schema_at_once_find_their_tables(place: Place) -> None:
    stores = [open_store(place.url, schema="at once") for _ in range(6)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        assert [await store.org_ids() for store in stores] == [[]] * 6
    finally:
        for store in stores:
            await store.aclose()


async def test_who_may_make_no_schema_uses_one_that_is_there(postgres: Cluster) -> None:
    database = postgres.database()
    postgres.query("DROP ROLE IF EXISTS modest")
    postgres.query("CREATE ROLE modest LOGIN")
    postgres.query("CREATE SCHEMA geo AUTHORIZATION modest", database=database)
    postgres.query("REVOKE ALL ON SCHEMA public FROM public", database=database)
    url = f"postgresql://modest@127.0.0.1:{postgres.port}/{database}"
    async with open_store(url, schema="geo") as store:
        await begun(store)
    with pytest.raises(StoreError, match="permission denied for database"):
        await open_store(url, schema="other").open()


@pytest.mark.parametrize("place_name", [None, "geo"])
async def test_batch_ids_that_were_text_become_uuids(
    place: Place, monkeypatch: pytest.MonkeyPatch, place_name: str | None
) -> None:
    """A database that the version before has made, with rows in it."""
    with monkeypatch.context() as before:
        before.setattr(schema.BatchId, "load_dialect_impl", lambda _, dialect: dialect.type_descriptor(TEXT()))
        before.setattr(schema.BatchId, "process_bind_param", lambda _, value, __: value)
        before.setattr(schema.BatchId, "cache_ok", False)
        before.setattr(migrations, "STEPS", migrations.STEPS[:3])
        async with open_store(place.url, schema=place_name) as store:
            model_run = await begun(store)
            run = make_question_run(model_run)
            await store.save_question_runs([run])
            await store.save_extractions([make_extraction(run)])
    kinds = (
        "SELECT DISTINCT data_type FROM information_schema.columns WHERE column_name = 'batch_id'"
        " AND table_schema NOT IN ('information_schema', 'pg_catalog')"
    )
    assert place.query(kinds) == [("character varying",)]
    async with open_store(place.url, schema=place_name) as store:
        (key,) = await store.existing_keys(model_run.batch_id, None, 10)
        assert (key["extracted"], key["citations"]) == (True, 1)
        await store.save_question_runs([run])  # the keys between the tables are back: its extraction goes with it
        (key,) = await store.existing_keys(model_run.batch_id, None, 10)
        assert (key["extracted"], key["citations"]) == (False, 0)
    assert place.query(kinds) == [("uuid",)]
    async with open_store(place.url, schema="fresh"):  # made by the same process, after the other was brought up
        pass
    keys = "SELECT count(*) FROM information_schema.referential_constraints WHERE delete_rule = 'CASCADE' GROUP BY {}"
    assert place.query(keys.format("constraint_schema")) == [(6,), (6,)]


async def test_a_batch_id_that_cannot_become_a_uuid_is_named_and_nothing_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema.BatchId, "load_dialect_impl", lambda _, dialect: dialect.type_descriptor(TEXT()))
        before.setattr(schema.BatchId, "cache_ok", False)
        before.setattr(migrations, "STEPS", migrations.STEPS[:3])
        async with open_store(place.url) as store:
            await begun(store)
    place.query("UPDATE batches SET batch_id = 'monday'")
    with pytest.raises(StoreError, match="batches has the batch 'monday', which is no UUID"):
        await open_store(place.url).open()
    assert place.query("SELECT max(version) FROM overheard_migrations") == [(3,)]
