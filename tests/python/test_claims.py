"""Claims of what follows the end of a batch, beyond what the contract tells of one store object."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from e2e_help import rows
from overheard import SqlStore, _owners, open_store
from overheard._finish import ProcessClaims
from overheard.batch import Claim
from overheard.testing import check_store

NAME = "finished:b"


async def test_claims_of_a_process_follow_the_contract_but_for_time() -> None:
    claims = ProcessClaims()
    with _owners.session() as one, _owners.session() as two:
        first = await claims.claim_once(NAME, "m", one, 60_000)
        assert (first.granted, first.revision) == (True, 1)
        assert not (await claims.claim_once(NAME, "m", two, 60_000)).granted
        assert await claims.renew_claim(NAME, 1, one, 60_000, "note")
    with _owners.session() as three, _owners.session() as four:
        taken = await claims.claim_once(NAME, "m", three, 60_000)
        assert (taken.granted, taken.taken_over, taken.note, taken.revision) == (True, True, "note", 1)
        assert not await claims.finish_claim(NAME, 1, one)
        assert not (await claims.claim_once(NAME, "m", four, 60_000)).granted
    with _owners.session() as five:
        assert not (await claims.claim_once(NAME, "m", five, 60_000)).granted, "never a third time"
        second = await claims.claim_once(NAME, "n", five, 60_000)
        assert (second.granted, second.revision) == (True, 2)
        assert await claims.finish_claim(NAME, 2, five)
        assert (await claims.claim_once(NAME, "n", five, 60_000)).done


async def claimed_by(store: SqlStore, owner: str) -> Claim:
    try:
        return await store.claim_once(NAME, "m", owner, 60_000)
    finally:
        await store.aclose()


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    program = "from overheard import _owners; s = _owners.session(); print(s.__enter__(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    owner = child.stdout.readline().strip()
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    assert asyncio.run(claimed_by(store, owner)).granted
    assert not asyncio.run(claimed_by(store, "another")).granted, "it is alive"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    taken = asyncio.run(claimed_by(store, "another"))
    assert (taken.granted, taken.taken_over, taken.revision) == (True, True, 1)
    assert not asyncio.run(claimed_by(store, "a third")).granted
    child.communicate()


async def test_objects_on_one_file_that_ask_at_the_same_time_agree_on_one_owner_and_one_revision(
    tmp_path: Path,
) -> None:
    stores = [open_store(f"sqlite:///{tmp_path / 's.db'}") for _ in range(4)]
    for store in stores:
        await store.open()
    told = await asyncio.gather(
        *(
            store.claim_once(f"finished:{batch}", mark, f"{number} {mark}", 60_000)
            for batch in range(10)
            for mark in ("a", "b")
            for number, store in enumerate(stores)
        )
    )
    assert sum(claim.granted for claim in told) == 20, "one for each batch and mark"
    kept = rows(tmp_path / "s.db", "SELECT name, revision, mark FROM claims")
    assert Counter(row["name"] for row in kept) == {f"finished:{batch}": 2 for batch in range(10)}
    assert Counter(row["revision"] for row in kept) == {1: 10, 2: 10}
    for store in stores:
        await store.aclose()


def test_the_suite_finds_a_store_that_grants_twice() -> None:
    class Generous(SqlStore):
        async def claim_once(self, name: str, mark: str, owner: str, ttl_ms: int) -> Claim:
            return Claim(granted=True, revision=1, owner=owner)

    try:
        check_store(lambda: Generous(open_store("sqlite://").database))
    except AssertionError as error:
        assert "8 of 8 were granted the claim" in str(error)
    else:
        raise AssertionError("a store that grants every claim passed")


def test_sessions_on_a_postgresql_server_agree_too() -> None:
    """The same over a server, where two transactions run at the same time and neither sees the other's row."""
    from postgres_help import cluster

    with cluster() as server:
        asyncio.run(raced(server.url()))


async def raced(url: str) -> None:
    stores = [open_store(url) for _ in range(8)]
    try:
        for store in stores:
            await store.open()
        for mark in ("a", "b", "c"):
            asked = (store.claim_once(NAME, mark, f"{number} {mark}", 60_000) for number, store in enumerate(stores))
            told = await asyncio.gather(*asked)
            assert sum(claim.granted for claim in told) == 1, told
        # Different marks at the same time: each is a revision of its own.
        asked = (store.claim_once("holistic:b", str(number), "me", 60_000) for number, store in enumerate(stores))
        told = await asyncio.gather(*asked)
        assert sorted(claim.revision for claim in told) == list(range(1, 9))
        assert all(claim.granted for claim in told)
    finally:
        for store in stores:
            await store.aclose()
