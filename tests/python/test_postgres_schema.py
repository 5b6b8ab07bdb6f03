"""The contract on PostgreSQL in every form, the `schema=` option, URLs of poolers, and batch ids that are `uuid`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from e2e_help import pipeline, quillmark
from overheard import ConfigError, StoreError
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store
from overheard.testing import check_store
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run
from overheard.verify import verify
from postgres_help import Place
from sqlalchemy import text

ODD = 'Geo "runs"; 100%s $1'
"""A schema's name that is wrong wherever it is not quoted."""


def anew(store: SqlStore) -> SqlStore:
    url = store.database.url.render_as_string(hide_password=False)
    return open_store(url, schema=store.database.schema, light=store.light)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("prefix", ["s", ODD])
def test_the_contract_holds_in_a_schema(place: Place, prefix: str, light: bool) -> None:
    numbers = count()  # each clause has a schema of its own
    check_store(lambda: open_store(place.url, schema=f"{prefix}{next(numbers)}", light=light), reopen=anew)


def test_the_contract_holds_without_a_schema(place: Place) -> None:
    """Everything is in `public`, one clause after the other."""
    tables = "orgs, questions, batches, geo_runs, question_runs, facts, claims, geo_batch_insights"
    made: list[SqlStore] = []

    def emptied() -> SqlStore:
        if made:
            place.query(f"TRUNCATE {tables} CASCADE")
        made.append(open_store(place.url))
        return made[-1]

    check_store(emptied, reopen=anew)
    assert len(made) > 10


async def test_nothing_of_ours_is_outside_the_schema(place: Place, perfect: Simulator, tmp_path: Path) -> None:
    async with open_store(place.url, schema=ODD) as store:
        summary = await pipeline(perfect, store, journal=tmp_path / "journal").run(quillmark(2, ("gpt-4.1",)))
        assert summary.complete
        assert [check.line() for check in await verify(store, journal=tmp_path / "journal") if not check.passed] == []
    found = place.query(
        "SELECT table_schema FROM information_schema.tables"
        " WHERE table_name IN ('geo_runs', 'question_runs', 'overheard_migrations')"
    )
    assert found == [(ODD,)] * 3
    assert place.query('SELECT count(*) FROM "Geo ""runs""; 100%s $1".question_runs') == [(2,)]


async def test_no_statement_needs_the_search_path(place: Place) -> None:
    """As behind a pooler: the session's search path leads nowhere, and another schema has tables of the same names."""
    async with open_store(place.url, schema="other"):
        pass
    database, user = place.query("SELECT current_database(), current_user")[0]
    place.query(f'ALTER ROLE "{user}" IN DATABASE "{database}" SET search_path = other')
    try:
        async with open_store(place.url, schema="geo") as store:
            batch = make_batch()
            model_run = make_model_run(batch, "m")
            run = make_question_run(model_run)
            await store.save_batch(batch)
            await store.save_model_runs([model_run])
            lease = await store.acquire_lease(model_run.run_id, "somebody", 60_000)
            for _ in range(2):
                await store.save_question_runs([run])
                await store.save_extractions([make_extraction(run)])
            await store.release_lease(model_run.run_id, "somebody", lease.fence)
            await store.save_fact("name", "value")
            assert await store.load_batch(batch.batch_id) is not None
            assert len(await store.existing_keys(batch.batch_id, None, 9)) == 1
            await verify(store)
    finally:
        place.query(f'ALTER ROLE "{user}" IN DATABASE "{database}" RESET search_path')
    assert place.query("SELECT count(*) FROM geo.question_runs, geo.facts, geo.batches") == [(1,)]
    assert place.query("SELECT count(*) FROM other.question_runs") == [(0,)]
    assert place.query("SELECT count(*) FROM other.batches") == [(0,)]


async def test_nothing_of_a_session_outlives_its_transaction(place: Place) -> None:
    """A pooler gives each transaction another session: no prepared statement, no setting may be left in one."""
    before = dict(place.query("SELECT name, setting FROM pg_settings WHERE source = 'session'"))
    async with open_store(place.url, schema="geo") as store:
        for number in range(12):  # psycopg prepares what it sees five times, unless it is told not to
            await store.save_fact("name", str(number))
            assert await store.load_fact("name") == str(number)
        for transaction in (store.database.reading, store.database.writing, store.database.snapshot):
            async with transaction() as connection:
                limits = await connection.exec_driver_sql("SHOW statement_timeout")
                assert limits.scalar() not in ("0", None)
                assert (await connection.exec_driver_sql("SHOW synchronous_commit")).scalar() == "on"
                prepared = await connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
                assert prepared.scalar() == 0
            engine = connection.engine
            async with engine.connect() as bare:
                driver: Any = (await bare.get_raw_connection()).driver_connection
                await driver.rollback()
                said = await driver.execute("SELECT name, setting FROM pg_settings WHERE source = 'session'")
                after = dict(await said.fetchall())
                await driver.rollback()
            for name in ("statement_timeout", "lock_timeout", "synchronous_commit", "search_path"):
                assert after.get(name) == before.get(name), f"{name} was left in the session"


def test_where_the_schema_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    url = "postgresql://u@h/d"
    assert open_store(url).database.schema is None
    assert open_store(f"{url}?schema=geo").database.schema == "geo"
    assert open_store(f"{url}?schema=geo", schema="mine").database.schema == "mine"
    assert open_store(f"{url}?schema=geo", schema="").database.schema is None
    assert "schema" not in str(open_store(f"{url}?schema=geo").database.url)
    monkeypatch.setenv("OVERHEARD_STORE_SCHEMA", "variable")
    assert open_store(url).database.schema == "variable"
    assert open_store(f"{url}?schema=geo").database.schema == "geo"
    assert open_store(url, schema="").database.schema is None
    assert open_store("sqlite://").database.schema is None


@pytest.mark.parametrize("name", ["pg_mine", "information_schema", "ä" * 32, "a\0b", "a[b]"])
def test_a_name_that_no_schema_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="OVERHEARD_STORE_SCHEMA"):
        open_store("postgresql://u@h/d", schema=name)


def test_sqlite_refuses_a_schema() -> None:
    for url, schema in (("sqlite:///a.db", "geo"), ("sqlite:///a.db?schema=geo", None), ("sqlite://", "geo")):
        with pytest.raises(ConfigError, match="an SQLite file has no schemas"):
            open_store(url, schema=schema)


def test_words_of_poolers_and_asyncpg_do_not_reach_libpq() -> None:
    url = "postgresql+asyncpg://u@h:6543/d?prepared_statement_cache_size=0&statement_cache_size=0&pgbouncer=true&ssl=require"
    assert open_store(url).database.url.render_as_string() == "postgresql+psycopg://u@h:6543/d?sslmode=require"


# --- batch ids ---


async def test_batch_ids_are_uuids_in_every_table_and_text_in_python(place: Place) -> None:
    async with open_store(place.url, schema="ids") as store:
        batch = make_batch()
        await store.save_batch(batch)
        found = place.query(
            "SELECT table_name, data_type FROM information_schema.columns"
            " WHERE column_name = 'batch_id' AND table_schema = 'ids'"
        )
        assert len(found) == 8
        assert {kind for _, kind in found} == {"uuid"}
        assert await store.batch_ids() == [batch.batch_id]
        loaded = await store.load_batch(batch.batch_id.upper())
        assert loaded is not None
        assert loaded.batch_id == batch.batch_id
        rows = [row async for row in store.read_all(text("SELECT batch_id FROM ids.batches"))]
        assert rows == [{"batch_id": batch.batch_id}]


@pytest.mark.parametrize(
    "wrong", ["", "monday", "{0}", "1234", "' OR 1=1 --", "\0", "urn:uuid:12345678-1234-5678-1234-567812345678"]
)
async def test_what_is_no_uuid_is_absent_when_read_and_refused_when_written(place: Place, wrong: str) -> None:
    async with open_store(place.url) as store:
        assert await store.load_batch(wrong) is None
        assert await store.existing_keys(wrong, None, 10) == []
        assert await store.question_runs(wrong, None, 10) == []
        assert [check for check in await verify(store, wrong) if "there is no batch" in (check.problem or "")]
        batch = make_batch(batch_id=wrong)
        model_run = make_model_run(batch, "m")
        for write in (
            store.save_batch(batch),
            store.save_model_runs([model_run]),
            store.save_question_runs([make_question_run(model_run)]),
        ):
            with pytest.raises(StoreError, match="is no UUID"):
                await write
