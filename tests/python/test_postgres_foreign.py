"""Tables of our names that another system has made: refused and left alone, or brought up by the script."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from e2e_help import pipeline, quillmark
from overheard import StoreError
from overheard.simulator import Simulator
from overheard.stores import open_store, schema, script
from overheard.testing.records import make_batch, make_model_run
from overheard.verify import verify
from postgres_help import Cluster, Place, needed
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

PROPERTY_AUDIT = """
CREATE TABLE properties (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE geo_runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    property_id uuid NOT NULL REFERENCES properties (id),
    surface text NOT NULL,
    model_name text NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'completed', 'failed')),
    query_count integer NOT NULL DEFAULT 0,
    progress_pct integer DEFAULT 0,
    current_query_index integer,
    last_updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    error_message text,
    uses_web_search boolean NOT NULL DEFAULT true,
    cross_model_analysis jsonb
);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.last_updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON geo_runs FOR EACH ROW EXECUTE FUNCTION touched();
"""
PROPERTY = "11111111-2222-4333-8444-555555555555"
OLD_COLUMNS = (
    "id, property_id, surface, model_name, status, query_count, progress_pct, current_query_index, last_updated_at,"
    " started_at, finished_at, error_message, uses_web_search, cross_model_analysis"
)


def property_audit(place: Place) -> list[tuple[Any, ...]]:
    """Makes that system's table with rows; gives them."""
    place.query(PROPERTY_AUDIT)
    place.query(f"INSERT INTO properties VALUES ('{PROPERTY}', 'Quillmark')")
    for status in ("completed", "running", "queued", "failed"):
        place.query(
            "INSERT INTO geo_runs (property_id, surface, model_name, status, query_count, last_updated_at,"
            " cross_model_analysis) VALUES (%s, 'openai', 'gpt-4.1', %s, 22, '2026-01-01', '{}')",
            PROPERTY,
            status,
        )
    return old_rows(place)


def old_rows(place: Place) -> list[tuple[Any, ...]]:
    """That system's rows, with its columns."""
    columns = {
        name for (name,) in place.query("SELECT attname FROM pg_attribute WHERE attrelid = 'geo_runs'::regclass")
    }
    mine = " WHERE batch_id IS NULL" if "batch_id" in columns else ""
    return place.query(f"SELECT {OLD_COLUMNS} FROM geo_runs{mine} ORDER BY id")


def shape(place: Place) -> list[tuple[Any, ...]]:
    """Every column, index and trigger there is."""
    return [
        *place.query(
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM"
            " information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        ),
        *place.query("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"),
        *place.query("SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"),
    ]


async def test_a_geo_runs_of_another_system_is_refused_and_left_alone(place: Place) -> None:
    rows, before = property_audit(place), shape(place)
    with pytest.raises(StoreError) as caught:
        await open_store(place.url).open()
    said = str(caught.value)
    for word in ("geo_runs lacks run_id, batch_id", "geo_runs.sql", "OVERHEARD_STORE_SCHEMA", "Nothing was changed"):
        assert word in said, said
    assert "property_id, which must have a value" in said
    assert shape(place) == before, "it was altered, or a table was made"
    assert old_rows(place) == rows
    async with open_store(place.url, schema="overheard") as store:  # the other way out
        await store.save_batch(make_batch())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE TABLE orgs (id int PRIMARY KEY)", "orgs lacks org_id, name"),
        ("CREATE TABLE facts (name text PRIMARY KEY, value jsonb, updated_at timestamptz)", "facts has value as jsonb"),
        ("CREATE TABLE facts (name text PRIMARY KEY, value text, updated_at timestamp)", "facts has updated_at as"),
        ("CREATE TABLE facts (name text, value text, updated_at timestamptz)", "facts has no unique index on (name)"),
        (
            "CREATE TABLE facts (name text PRIMARY KEY, value text, updated_at timestamptz, who text NOT NULL)",
            "facts has who, which must have a value and has no default",
        ),
        ("CREATE TABLE geo_batch_insights (batch_id uuid PRIMARY KEY)", "geo_batch_insights lacks revision"),
        ("CREATE TABLE a (x int); CREATE TABLE questions (x int)", "questions lacks org_id"),
    ],
)
async def test_each_difference_is_named(place: Place, made: str, said: str) -> None:
    place.query(made)
    before = shape(place)
    with pytest.raises(StoreError) as caught:
        await open_store(place.url).open()
    assert said in str(caught.value)
    assert "geo_runs.sql" not in str(caught.value), "the script is for geo_runs"
    assert shape(place) == before


async def test_a_table_with_all_our_columns_and_more_is_taken(place: Place) -> None:
    place.query(str(CreateTable(schema.geo_runs).compile(dialect=postgresql.dialect())))
    place.query("ALTER TABLE geo_runs ADD COLUMN note text, ADD COLUMN made timestamptz NOT NULL DEFAULT now()")
    before = [row for row in shape(place) if row[0] == "geo_runs"]
    async with open_store(place.url) as store:
        batch = make_batch()
        await store.save_batch(batch)
        await store.save_model_runs([make_model_run(batch, "m")])
        assert await store.load_batch(batch.batch_id) is not None
    assert [row for row in shape(place) if row[0] == "geo_runs"] == before


async def test_a_foreign_table_in_an_sqlite_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "theirs.db") as connection:
        connection.execute("CREATE TABLE orgs (id INTEGER PRIMARY KEY, title TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"theirs\.db: .*orgs lacks org_id.*set OVERHEARD_STORE to another file"):
        await open_store(f"sqlite:///{tmp_path}/theirs.db").open()
    with sqlite3.connect(tmp_path / "theirs.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("orgs",)]
    connection.close()


# --- the script ---


async def test_the_script_brings_a_table_up_and_a_batch_runs_beside_the_old_rows(
    place: Place, perfect: Simulator, tmp_path: Path
) -> None:
    rows = property_audit(place)
    place.query(script())
    once = shape(place)
    place.query(script())
    assert shape(place) == once, "the second time changed something"
    assert old_rows(place) == rows
    async with open_store(place.url) as store:
        summary = await pipeline(perfect, store, journal=tmp_path / "journal").run(quillmark(3, ("gpt-4.1", "chatgpt")))
        assert summary.complete
        assert [check.line() for check in await verify(store, journal=tmp_path / "journal") if not check.passed] == []
    assert old_rows(place) == rows, "rows of the other system are not ours to change"
    assert shape(place)[: len(once)] != once  # our tables came, and
    theirs = [row for row in shape(place) if row[0] == "geo_runs"]
    assert theirs == [row for row in once if row[0] == "geo_runs"]
    assert place.query("SELECT count(*) FROM geo_runs WHERE batch_id IS NOT NULL AND id::text = run_id") == [(2,)]
    models = place.query("SELECT model_name FROM geo_runs WHERE batch_id IS NOT NULL ORDER BY 1")
    assert models == [("chatgpt",), ("gpt-4.1",)]


async def test_a_row_that_the_other_system_inserts_is_a_model_run(place: Place, perfect: Simulator) -> None:
    """As PropertyAudit writes it: property_id and model_name, without a word of ours but batch_id and batch_size."""
    property_audit(place)
    place.query(script())
    batch_id = str(uuid4())
    (inserted,) = place.query(
        "INSERT INTO geo_runs (property_id, surface, model_name, batch_id, batch_size)"
        " VALUES (%s, 'openai', 'gpt-4.1', %s, 1) RETURNING id::text",
        PROPERTY,
        batch_id,
    )
    org = quillmark(2, ("gpt-4.1",), id=PROPERTY)
    async with open_store(place.url) as store:
        await store.save_org(org)
        found = await store.load_model_run(inserted[0])
        assert found is not None
        assert (found.run_id, found.batch_id, found.org_id, found.model) == (inserted[0], batch_id, PROPERTY, "gpt-4.1")
        opened = pipeline(perfect, store)
        summary = await opened.run_model(inserted[0])
        assert summary.complete
        (old_id,) = place.query("SELECT id::text FROM geo_runs WHERE batch_id IS NULL LIMIT 1")[0]
        assert await store.load_model_run(old_id) is None, "a row of no batch is none of ours"
    query = "SELECT status, property_id::text, current_query_index FROM geo_runs WHERE batch_id = %s"
    assert place.query(query, batch_id) == [("completed", PROPERTY, 2)]


async def test_an_org_that_is_a_property_shows_in_the_other_systems_column(place: Place) -> None:
    property_audit(place)
    place.query(script())
    async with open_store(place.url) as store:
        for org_id, expected in ((PROPERTY, PROPERTY), ("acme", None)):
            batch = make_batch(org_id=org_id)
            await store.save_model_runs([make_model_run(batch, "m", org_id=org_id)])
            query = "SELECT property_id::text FROM geo_runs WHERE batch_id = %s"
            assert place.query(query, batch.batch_id) == [(expected,)]


async def test_rows_that_were_of_a_batch_before_the_script_are_read(place: Place) -> None:
    """Their own `batch_id` and `batch_size` came first; a bigint key has no UUID to give."""
    place.query(
        "CREATE TABLE geo_runs (id bigserial PRIMARY KEY, property_id bigint NOT NULL, surface text NOT NULL,"
        " model_name text, status text, batch_id uuid, batch_size int, query_count int, current_query_index int)"
    )
    batch_id = str(uuid4())
    place.query("INSERT INTO geo_runs VALUES (7, 3, 'openai', NULL, 'completed', %s, 2, NULL, 5)", batch_id)
    place.query("INSERT INTO geo_runs VALUES (8, 3, 'claude', 'sonnet', 'queued', %s, 2, 5, 0)", batch_id)
    place.query(script())
    async with open_store(place.url) as store:
        batch = await store.load_batch(batch_id)
        assert batch is not None
        told = [(run.run_id, run.org_id, run.model, run.query_count) for run in batch.model_runs]
        assert told == [("7", "3", "openai", 0), ("8", "3", "sonnet", 5)]


async def test_the_script_stops_as_a_whole(place: Place) -> None:
    """What it cannot do it does not do half: here two rows have one run_id."""
    place.query("CREATE TABLE geo_runs (run_id text, status text)")
    place.query("INSERT INTO geo_runs VALUES ('same', 'queued'), ('same', 'queued')")
    before = shape(place)
    with pytest.raises(Exception, match="uq_geo_runs_run"):
        place.query(script())
    assert shape(place) == before


def test_the_script_runs_in_psql(postgres: Cluster, tmp_path: Path) -> None:
    psql = needed() / "psql"
    place = Place(postgres.url())
    property_audit(place)
    (tmp_path / "geo_runs.sql").write_text(script())
    for _ in range(2):
        ended = subprocess.run(
            [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "geo_runs.sql"), place.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
    assert ("idx_geo_runs_batch",) in place.query("SELECT indexname FROM pg_indexes WHERE tablename = 'geo_runs'")


def test_the_script_knows_every_column(place: Place) -> None:
    """A column that a later version adds to `geo_runs` must be added here, too."""
    place.query("CREATE TABLE geo_runs (id uuid PRIMARY KEY)")
    place.query(script())
    found = {
        name
        for (name,) in place.query("SELECT column_name FROM information_schema.columns WHERE table_name = 'geo_runs'")
    }
    assert found == {"id", *schema.geo_runs.columns.keys()}
    for name in (column.name for column in schema.geo_runs.columns):
        assert f"'{name}'" in script(), f"{name} is not in the script's list of our columns"
