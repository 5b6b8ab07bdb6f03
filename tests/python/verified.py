"""A pytest plugin: `verify` runs at the end of every test that ran a batch, on every store that it left.

A store is noticed when a pipeline of this process works on it, and by its file in the test's folder when another one
did. A test whose store is broken on purpose says so: `@pytest.mark.broken_store("why")`. A failed test is left alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

_FAILED: pytest.StashKey[bool] = pytest.StashKey()

# Files of stores that pipelines worked on, with their journals' folders; and what was wrong in stores that had no file.
_worked_on: dict[Path, str] = {}
_problems: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broken_store(why): the test leaves a store that breaks an invariant on purpose")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when in ("setup", "call") and report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session", autouse=True)
def _notices_stores() -> Iterator[None]:
    """Every pipeline of this process tells what it worked on."""
    from overheard.pipeline import Pipeline

    work = Pipeline._work

    async def noticed(self: Pipeline, *args: Any, **keywords: Any) -> Any:
        database = getattr(getattr(self.store, "state", self.store), "database", None)
        if database is None:
            return await work(self, *args, **keywords)  # a store of the test's own
        if database.path is not None:
            _worked_on[database.path] = self._journal()
            return await work(self, *args, **keywords)
        summary = await work(self, *args, **keywords)
        # In memory: it is gone with its event loop, so it is looked at now.
        _problems.extend(await _broken(self.store, self._journal()))
        return summary

    Pipeline._work = noticed  # type: ignore[method-assign]
    yield
    Pipeline._work = work  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _verified(request: pytest.FixtureRequest, _notices_stores: None) -> Iterator[None]:
    """After the test: verifies every batch of every store that it left."""
    yield
    stores, problems = dict(_worked_on), list(_problems)
    _worked_on.clear()
    _problems.clear()
    marker = request.node.get_closest_marker("broken_store")
    if marker is not None:
        assert any(marker.args), "broken_store: say why"
        return
    if request.node.stash.get(_FAILED, False):
        return
    folder = (request.node.funcargs or {}).get("tmp_path")
    if folder is not None:
        stores.update({path: f"{path}.journal" for path in folder.rglob("*.db") if path not in stores})
    for path, journal in stores.items():
        if _is_store(path):
            problems += asyncio.run(_file_broken(path, journal))
    if problems:
        pytest.fail("verify after the test:\n" + "\n".join(problems), pytrace=False)


def _is_store(path: Path) -> bool:
    """A file with our tables in it: tests make others, too."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone())
    except sqlite3.Error:
        return False


async def _file_broken(path: Path, journal: str) -> list[str]:
    from overheard.stores import open_store

    store = open_store(f"sqlite:///{path}")
    try:
        return await _broken(store, journal)
    finally:
        await store.aclose()


async def _broken(store: Any, journal: str) -> list[str]:
    from overheard.verify import verify

    found = await verify(store, journal=journal)
    name = getattr(store, "state", store).database.name
    return [f"{name}: {entry.line()}" for entry in found if not entry.passed]
