"""Owners that can be seen dead, and the SQLite store's fence: what the contract cannot tell of one store object."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e_help import rows
from overheard import LeaseLost, SqlStore, _owners, open_store
from overheard._handlers import lease_handlers
from overheard.batch import Batch, BatchStatus, ModelRun, now_ms
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run


def owner_of(number: int, /, **changed: str) -> str:
    """An owner as that process of this host would make it."""
    with _owners.session() as ours:
        host, boot, _, session = ours.split("/")
    parts = {"host": host, "boot": boot, "process": f"{number}+{_owners._started(number) or ''}", "session": session}
    return "/".join({**parts, **changed}.values())


@pytest.fixture
def child() -> Any:
    """A process that lives until the test ends it."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_session_of_this_process_is_dead_when_it_has_ended() -> None:
    with _owners.session() as owner:
        assert not _owners.is_dead(owner)
    assert _owners.is_dead(owner)


def test_another_process_is_dead_when_it_was_killed_even_before_it_is_buried(child: Any) -> None:
    owner = owner_of(child.pid)
    assert not _owners.is_dead(owner)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    assert _owners.is_dead(owner)
    child.wait()
    assert _owners.is_dead(owner)


def test_a_process_id_that_is_used_again_is_not_the_owner(child: Any) -> None:
    assert _owners.is_dead(owner_of(child.pid, process=f"{child.pid}+1"))


def test_what_cannot_be_looked_at_counts_as_alive(child: Any) -> None:
    child.kill()
    child.wait()
    gone = child.pid
    assert _owners.is_dead(owner_of(gone))
    assert not _owners.is_dead(owner_of(gone, host="elsewhere"))
    assert not _owners.is_dead(owner_of(gone, boot="machine+boot+namespace")), "another machine of the same name"
    assert not _owners.is_dead("somebody")


def test_a_reboot_ends_all_sessions_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef\n")
    monkeypatch.setattr(_owners, "_MACHINE", machine)
    _, boot, namespace = _owners._boot().split("+")
    before = owner_of(os.getppid(), boot=f"0123456789ab+{boot[::-1]}+{namespace}")
    assert _owners.is_dead(before)
    machine.write_text("fedcba9876543210\n")
    assert not _owners.is_dead(before)


async def leased(tmp_path: Path, **fields: Any) -> tuple[SqlStore, SqlStore, Batch, ModelRun]:
    """Two store objects on one file, as two processes have them, and a stored model run."""
    first, second = (open_store(f"sqlite:///{tmp_path / 's.db'}") for _ in range(2))
    batch = make_batch()
    run = make_model_run(batch, **fields)
    await first.save_batch(batch)
    await first.save_model_runs([run])
    return first, second, batch, run


async def test_what_the_loser_writes_is_refused_and_names_the_winner(tmp_path: Path) -> None:
    first, second, batch, run = await leased(tmp_path)
    answer = make_question_run(run)
    lost = await first.acquire_lease(run.run_id, "one", 0)
    await first.save_question_runs([answer])  # it has ended, and nobody has taken it
    won = await second.acquire_lease(run.run_id, owner_of(os.getppid()), 60_000)
    assert (lost.granted, won.granted, won.fence) == (True, True, lost.fence + 1)
    before = rows(tmp_path / "s.db", "SELECT * FROM geo_runs")
    for write in (
        first.save_question_runs([make_question_run(run, "q2")]),
        first.save_extractions([make_extraction(answer)]),
        first.save_model_runs([run]),
    ):
        with pytest.raises(LeaseLost, match=rf"chatgpt was taken over by process {os.getppid()} on "):
            await write
    assert not await first.renew_lease(run.run_id, "one", lost.fence, 60_000)
    await first.release_lease(run.run_id, "one", lost.fence)
    assert rows(tmp_path / "s.db", "SELECT * FROM geo_runs") == before
    assert len(await second.existing_keys(batch.batch_id, None, 10)) == 1
    await second.save_extractions([make_extraction(answer)])
    for store in (first, second):
        await store.aclose()


async def test_the_lease_of_a_dead_owner_is_taken_over_at_once_and_its_status_is_not_running(tmp_path: Path) -> None:
    owner = owner_of(os.getppid(), process=f"{os.getppid()}+7")  # an earlier process of that id
    first, second, batch, run = await leased(
        tmp_path, status="running", lease_owner=owner, lease_expires_at_ms=now_ms() + 60_000, lease_fence=4
    )
    (told,) = await lease_handlers(second, batch.batch_id)["acquire_lease"]([run.run_id], "next", 60_000)
    assert (told["granted"], told["owner"], told["fence"]) == (True, "next", 5)
    assert told["last_alive_ms"] <= now_ms()
    await second.release_lease(run.run_id, "next", 5)
    await first.save_model_runs([run])
    loaded = await second.load_batch(batch.batch_id)
    assert loaded is not None
    assert BatchStatus.of(loaded).status == "partial"
    assert rows(tmp_path / "s.db", "SELECT status, lease_owner FROM geo_runs") == [
        {"status": "queued", "lease_owner": None}
    ]
    for store in (first, second):
        await store.aclose()


async def test_a_lease_put_back_into_the_queue_is_still_its_owners_until_another_takes_it(tmp_path: Path) -> None:
    first, second, batch, run = await leased(tmp_path)
    lease = await first.acquire_lease(run.run_id, "one", 0)
    await first.save_model_runs([make_model_run(batch, run_id=run.run_id, status="running")])
    loaded = await second.load_batch(batch.batch_id)
    assert loaded is not None
    assert (loaded.model_runs[0].status, loaded.model_runs[0].lease_owner) == ("queued", None)
    assert await first.renew_lease(run.run_id, "one", lease.fence, 60_000)
    assert not (await second.acquire_lease(run.run_id, "two", 60_000)).granted
    for store in (first, second):
        await store.aclose()


def test_leases_of_a_plain_store_stay_in_the_drivers_thread() -> None:
    """A plain store is used from one thread alone: its leases must not leave it either."""
    from overheard.batch import Lease

    class Plain:
        def acquire_lease(self, run_id: str, owner: str, ttl_ms: int) -> Lease:
            return Lease(granted=True, fence=1, owner=owner)

        def renew_lease(self, run_id: str, owner: str, fence: int, ttl_ms: int) -> bool:
            return False

        def release_lease(self, run_id: str, owner: str, fence: int) -> None: ...

        def load_batch(self, batch_id: str) -> Batch:
            batch = make_batch(batch_id=batch_id)
            return make_batch(
                batch_id=batch_id, model_runs=(make_model_run(batch, run_id="r", lease_owner="the winner"),)
            )

    handlers = lease_handlers(Plain(), "b")
    (taken,) = handlers["acquire_lease"](["r"], "me", 1)
    assert (taken["run_id"], taken["granted"]) == ("r", True)
    (refused,) = handlers["renew_lease"]([("r", 1)], "me", 1)
    assert (refused["granted"], refused["owner"]) == (False, "the winner")
