"""`verify` and stored holistic insights: what `analyse` keeps passes, and each kind of damage is named."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from e2e_help import pipeline, quillmark, url
from holistic_help import insight_rows, measured, measures
from overheard.batch import BatchInsights, Claim
from overheard.holistic import analyse
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store
from overheard.verify import Check, verify


def write(path: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, values).rowcount == 1


def keep(path: Path, row: BatchInsights) -> None:
    """Writes a row as `geo_batch_insights` has it."""
    columns = "batch_id, revision, org_id, model, prompt_version, content, cost_micro_usd, maybe_charged_micro_usd"
    write(
        path,
        f"INSERT OR REPLACE INTO geo_batch_insights ({columns}, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, '2999-11-22T00:00:00Z')",
        row.batch_id,
        row.revision,
        row.org_id,
        row.model,
        row.prompt_version,
        json.dumps(dict(row.content)),
        row.cost_micro_usd,
        row.maybe_charged_micro_usd,
    )


@pytest.fixture
async def kept(perfect: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, str]:
    """A store with two revisions of a batch's holistic insights, and the batch."""
    measures(monkeypatch, measured())
    monkeypatch.setattr(SqlStore, "insight_rows", staticmethod(insight_rows), raising=False)
    path = tmp_path / "kept.db"
    async with pipeline(perfect, url(path)) as opened:
        summary = await opened.run(quillmark(1), extraction="llm")
        rows = [await analyse(opened, summary.batch_id, Claim(granted=True, revision=revision)) for revision in (1, 2)]
    for row in rows:
        assert row is not None
        assert row.cost_micro_usd
        keep(path, row)
    return path, summary.batch_id


async def states(path: Path) -> Check:
    async with open_store(url(path)) as store:
        return next(check for check in await verify(store) if check.name == "I8")


async def test_what_analyse_keeps_is_sound(kept: tuple[Path, str]) -> None:
    path, batch_id = kept
    assert (await states(path)).problem is None
    claim = "INSERT OR REPLACE INTO claims (name, revision, mark, owner) VALUES (?, ?, 'mark', 'me')"
    for revision in (1, 2):
        write(path, claim, f"holistic:{batch_id}", revision)
    assert (await states(path)).problem is None


def _content(change: str) -> str:
    return f"UPDATE geo_batch_insights SET content = json_set(content, {change}) WHERE revision = 2"


@pytest.mark.broken_store("each row damages the store, and looks at what verify says")
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_content("'$.agreements[0].metrics[0].value', 'much'"), "value is of type str"),
        (_content("'$.agreements[0].metrics[0].metric', ''"), "metric is empty"),
        (_content("'$.agreements[0].confidence', 'investigate'"), "not of high confidence"),
        (_content("'$.actions[0].restsOn[0]', 'agreements.99'"), "rests on agreements.99"),
        (_content("'$.revision', 1"), "the content's revision is not the row's"),
        (_content("'$.earlierMicroUsd.cost', 1"), "earlier revisions' cost"),
        ("UPDATE geo_batch_insights SET content = '{' WHERE revision = 2", "revision 2"),
        ("UPDATE geo_batch_insights SET cost_micro_usd = -1 WHERE revision = 2", "less than nothing"),
        ("UPDATE geo_batch_insights SET model = 'other' WHERE revision = 2", "the content's model is not the row's"),
        ("INSERT INTO claims (name, revision, mark, owner) VALUES ('holistic:' || ?, 1, 'm', 'me')", "no claim"),
    ],
)
async def test_damage_is_named(kept: tuple[Path, str], damage: str, named: str) -> None:
    path, batch_id = kept
    write(path, damage, *([batch_id] if "?" in damage else []))
    problem = (await states(path)).problem or ""
    assert named in problem
    assert "revision 2" in problem
