"""The store contract on the stores of this package, and that the suite itself can fail."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from overheard.stores import SqlStore, open_store
from overheard.testing import check_store, store_contract


def make_sqlite() -> SqlStore:
    return open_store(f"sqlite:///{tempfile.mkdtemp(prefix='overheard-')}/store.db")


def reopened(store: Any) -> SqlStore:
    return open_store(f"sqlite:///{store.database.path}")


TestSqlite = store_contract(make_sqlite, reopen=reopened)
TestSqliteInMemory = store_contract(lambda: open_store("sqlite://"))
TestLightSqlite = store_contract(lambda: open_store("sqlite://", light=True))


class Forgetful(SqlStore):
    """Breaks clause 10: keeps the extraction of a run that was replaced."""

    def __init__(self) -> None:
        super().__init__(open_store("sqlite://").database)

    async def save_question_runs(self, runs: Any) -> None:
        right = self._delete_extraction
        self._delete_extraction = f"{right} AND 1=0"
        try:
            await super().save_question_runs(runs)
        finally:
            self._delete_extraction = right


def test_the_suite_finds_a_broken_store() -> None:
    with pytest.raises(AssertionError, match="ExistingKey"):
        check_store(Forgetful)


@pytest.mark.broken_store(
    "the contract writes batches that no start made: plans that are none, states without their rows"
)
def test_plain_methods_pass_too(tmp_path: Path) -> None:
    """A store with plain functions, over ours: each call on an event loop of its own, in another thread."""
    import asyncio

    inner = open_store(f"sqlite:///{tmp_path}/plain.db")

    class Plain:
        def __getattr__(self, name: str) -> Any:
            async def run(*args: Any, **keywords: Any) -> Any:
                try:
                    return await getattr(inner, name)(*args, **keywords)
                finally:
                    await inner.aclose()

            def plain(*args: Any, **keywords: Any) -> Any:
                return asyncio.run(run(*args, **keywords))

            return plain

    numbers = iter(range(100))

    def fresh() -> Plain:
        nonlocal inner
        inner = open_store(f"sqlite:///{tmp_path}/plain{next(numbers)}.db")
        return Plain()

    check_store(fresh)
