"""The store on PostgreSQL: a whole batch, and F63-F66: restarts, killed sessions, a full disk, a halt."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import asked, cells, environment, eventually, pipeline, quillmark, requests, wait_until
from overheard import ConfigError, Org, StoreError, Summary
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store
from overheard.verify import store_totals, verify
from postgres_help import Cluster, Place, Watched, cluster_in, needed
from sqlalchemy.exc import DBAPIError

STARTS = 6


async def assert_whole(store: SqlStore, simulator: Simulator, org: Org, summary: Summary, journal: Path) -> None:
    """Every cell once, bought once, and paid as charged; verify finds nothing."""
    assert summary.complete, summary
    stored = [row["key"] for row in await store.existing_keys(summary.batch_id, None, 10_000)]
    assert len(stored) == len(set(stored))
    assert set(stored) == cells(org)
    twice = {key: times for key, times in asked(simulator).items() if times != 1}
    assert not twice, f"asked and paid once is right: {twice}"
    ledger = simulator.ledger()
    totals = await store_totals(store)
    assert totals == {"cost_micro_usd": ledger["charged_micro_usd"], "records": ledger["records"]}
    assert summary.total_cost_micro_usd == ledger["charged_micro_usd"]
    assert [check.line() for check in await verify(store, journal=journal) if not check.passed] == []


async def completed(opened: Any, org: Org, running: asyncio.Future[Summary]) -> Summary:
    """Awaits a start; as long as one ends with the database's error, the next goes on."""
    for _ in range(STARTS):
        try:
            return await running
        except (DBAPIError, StoreError) as error:
            logging.getLogger("overheard").warning("start ended: %s", error)
        running = asyncio.ensure_future(opened.run(org, extraction="local"))
    return await running


async def assert_kept(cluster: Cluster, database: str, acknowledged: set[str]) -> None:
    """Rows that the store had acknowledged are there, seen by another connection."""
    import psycopg

    def kept() -> set[str]:
        try:
            return {row[0] for row in cluster.query("SELECT cell_key FROM question_runs", database=database)}
        except psycopg.OperationalError:  # it recovers; what it has then counts
            return set()

    found = await eventually(kept, "the server gives its rows", 60)
    assert acknowledged <= found


# --- a whole batch ---


async def test_a_whole_batch_with_every_kind_of_model(place: Place, perfect: Simulator, tmp_path: Path) -> None:
    org, journal = quillmark(6, ("chatgpt", "gpt-4.1", "claude-sonnet-4-5")), tmp_path / "journal"
    async with open_store(place.url) as store:
        opened = pipeline(perfect, store, journal=journal)
        await assert_whole(store, perfect, org, await opened.run(org, batch_key="monday"), journal)
        before = requests(perfect)
        again = await opened.run(org, batch_key="monday")
        assert again.complete
        assert requests(perfect) == before, "a start of a complete batch asked something"


async def test_two_that_open_a_new_database_at_once_both_find_their_tables(place: Place) -> None:
    url = place.url
    stores = [open_store(url) for _ in range(8)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        assert [await store.org_ids() for store in stores] == [[]] * 8
    finally:
        for store in stores:
            await store.aclose()


async def test_text_with_nul_is_stored(place: Place) -> None:
    """Answers are untrusted, and PostgreSQL's text has no NUL: the body keeps it, the text shows a replacement."""
    from overheard.testing.records import make_batch, make_model_run, make_question_run

    async with open_store(place.url) as store:
        batch = make_batch()
        model_run = make_model_run(batch, "m")
        await store.save_batch(batch)
        await store.save_model_runs([model_run])
        await store.save_question_runs([make_question_run(model_run, text="before\0after % ? \u202e")])
        (loaded,) = await store.question_runs(batch.batch_id, None, 10)
        assert loaded.text == "before\ufffdafter % ? \u202e"


def test_urls_of_other_drivers_lead_to_psycopg() -> None:
    for url in (
        "postgresql://u:secret@h:5433/d?ssl=require",
        "postgres://u:secret@h:5433/d?sslmode=require",
        "postgresql+psycopg://u:secret@h:5433/d?sslmode=require",
        "postgresql+asyncpg://u:secret@h:5433/d?ssl=require",
    ):
        made = open_store(url).database.url
        assert made.render_as_string(hide_password=False) == "postgresql+psycopg://u:secret@h:5433/d?sslmode=require"
    for wrong in ("postgresql://u:secret@h:port/d", "postgresql://u:secret@h", "postgresql://"):
        with pytest.raises(ConfigError, match="OVERHEARD_STORE") as caught:
            open_store(wrong)
        assert "secret" not in str(caught.value)


async def test_a_server_that_is_not_there_is_named_without_the_password(postgres: Cluster) -> None:
    url = postgres.url("nothing").replace("@", ":secret-word@")
    with pytest.raises(StoreError, match="OVERHEARD_STORE") as caught:
        await open_store(url).open()
    assert 'database "nothing" does not exist' in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_the_command_line_takes_the_url(place: Place, perfect: Simulator, tmp_path: Path) -> None:
    url = place.url
    for words in (["run", "demo", "--questions", "1"], ["verify"]):
        ended = subprocess.run(
            [sys.executable, "-m", "overheard", *words, "--store", url],
            env=environment(perfect, tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "FAIL" not in ended.stdout
    assert not list(tmp_path.glob("*.db"))


# --- F63, F64 ---


async def hurt_in_the_middle(postgres: Cluster, tmp_path: Path, hurt: Any, times: tuple[int, ...]) -> None:
    """Whenever so many direct calls have been answered, the server is hurt while the batch goes on."""
    org, journal, database = quillmark(120, ("gpt-4.1", "chatgpt")), tmp_path / "journal", postgres.database()
    with Simulator(seed=63, latency_ms=40, snapshot_ms=300, perfect=True) as simulator:
        async with Watched(postgres.url(database)) as store:
            opened = pipeline(simulator, store, journal=journal, openai_in_flight=4, group_commit=5)
            running = asyncio.ensure_future(opened.run(org, extraction="local"))
            finishing = asyncio.ensure_future(completed(opened, org, running))
            for number in times:
                await eventually(lambda at=number: finishing.done() or len(store.acknowledged) >= at, "rows come", 100)
                assert not finishing.done(), f"the batch ended before {number} rows: {finishing}"
                acknowledged = set(store.acknowledged)
                await asyncio.to_thread(hurt, database)
                await assert_kept(postgres, database, acknowledged)
            # A row whose transaction ended while its caller had given up was never acknowledged: what is stored counts.
            summary = await finishing
            await assert_whole(store, simulator, org, summary, journal)


@pytest.mark.timeout(300)
async def test_f63_a_server_that_restarts_in_the_middle_loses_nothing(postgres: Cluster, tmp_path: Path) -> None:
    await hurt_in_the_middle(postgres, tmp_path, lambda _database: postgres.restart(), (20, 80, 150, 200))


@pytest.mark.timeout(300)
async def test_f64_a_killed_session_loses_nothing(postgres: Cluster, tmp_path: Path) -> None:
    """All sessions of the server fall with it, and it recovers."""
    killed: list[int] = []

    def kill(database: str) -> None:
        killed.append(wait_until(lambda: postgres.kill_session(database), "a session to kill", 60))

    await hurt_in_the_middle(postgres, tmp_path, kill, (20, 80, 150, 200))
    assert len(set(killed)) == 4


@pytest.mark.timeout(300)
async def test_f64_sessions_that_the_server_ends_lose_nothing(postgres: Cluster, tmp_path: Path) -> None:
    """As an administrator does, or a pooler that is restarted: every session of the database, the server goes on."""
    ended: list[int] = []

    def end(database: str) -> None:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        ended.append(wait_until(lambda: postgres.query(query, database)[0][0], "a session to end", 60))

    await hurt_in_the_middle(postgres, tmp_path, end, (20, 60, 100, 140, 180))
    assert sum(ended) >= 5


async def test_f63_an_idle_connection_that_the_server_dropped_is_made_anew(postgres: Cluster) -> None:
    async with open_store(postgres.url()) as store:
        await store.save_fact("name", "before")
        await asyncio.to_thread(postgres.restart)
        assert await store.load_fact("name") == "before"


# --- F65 ---


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 160 MB, where the server's user may come."""
    needed()
    folder = Path(tempfile.mkdtemp(prefix="overheard-pg-"))
    made = os.geteuid() == 0 and shutil.which("mount") is not None
    if made:
        made = (
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], check=False).returncode
            == 0
        )
    if not made:
        folder.rmdir()
        pytest.skip("no small disk can be made without root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.timeout(300)
async def test_f65_a_full_disk_loses_nothing_and_the_next_start_goes_on(small_disk: Path, tmp_path: Path) -> None:
    org, journal = quillmark(150, ("gpt-4.1",)), tmp_path / "journal"
    with (
        cluster_in(small_disk) as full,
        Simulator(seed=65, latency_ms=150, answer_chars=20_000, perfect=True) as simulator,
    ):
        database = full.database()
        async with Watched(full.url(database)) as store:
            opened = pipeline(simulator, store, journal=journal, openai_in_flight=4, group_commit=5)
            running = asyncio.ensure_future(opened.run(org, extraction="local"))
            await eventually(lambda: running.done() or len(store.acknowledged) >= 10, "rows come", 60)
            ballast = small_disk / "ballast"
            ballast.write_bytes(b"x" * max(0, free(small_disk) - 100_000))
            with pytest.raises((DBAPIError, StoreError)):
                await running
            acknowledged, paid = set(store.acknowledged), requests(simulator)["openai.responses"]
            assert 10 <= len(acknowledged) < 150, "the disk was never full, or full from the start"
            assert paid < 150, "it went on buying"
            ballast.unlink()
            full.start()
            await assert_kept(full, database, acknowledged)
            summary = await completed(opened, org, asyncio.ensure_future(opened.run(org, extraction="local")))
            await assert_whole(store, simulator, org, summary, journal)


def free(folder: Path) -> int:
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


# --- F66 ---


@pytest.mark.timeout(300)
@pytest.mark.parametrize("gives_up", [False, True])
async def test_f66_a_halted_server_is_told_while_the_loop_turns_and_the_batch_completes_after_it(
    postgres: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, gives_up: bool
) -> None:
    """Halted for one time limit, or for so long that the start gives up and the next one completes."""
    org, journal, database = quillmark(400, ("gpt-4.1",)), tmp_path / "journal", postgres.database()
    with Simulator(seed=66, latency_ms=20, perfect=True) as simulator:
        async with Watched(postgres.url(database)) as store:
            opened = pipeline(
                simulator, store, journal=journal, openai_in_flight=4, group_commit=5, host_timeout_ms=1_500
            )
            with caplog.at_level(logging.WARNING, logger="overheard"):
                running = asyncio.ensure_future(opened.run(org, extraction="local"))
                await eventually(lambda: running.done() or len(store.acknowledged) >= 10, "rows come", 60)
                await asyncio.to_thread(postgres.freeze)
                try:
                    # This very loop turns on it.
                    await eventually(lambda: "did not return within" in caplog.text, "it is told", 60)
                    assert not running.done()
                    acknowledged = set(store.acknowledged)
                    if gives_up:
                        with pytest.raises(StoreError, match="did not return within"):
                            await running
                        paid = requests(simulator)["openai.responses"]
                        assert paid < 400, "it went on buying"
                finally:
                    postgres.go_on()
                await assert_kept(postgres, database, acknowledged)
                if gives_up:
                    running = asyncio.ensure_future(opened.run(org, extraction="local"))
                summary = await completed(opened, org, running)
            await assert_whole(store, simulator, org, summary, journal)
