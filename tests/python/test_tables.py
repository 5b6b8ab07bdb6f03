"""Insights as Arrow and pandas: every figure once, with real types; whatever is missing is null, never an error."""

from __future__ import annotations

import asyncio
import copy
import importlib
import subprocess
import sys
from typing import Any

import pandas
import pyarrow as pa
import pytest
from e2e_help import pipeline, quillmark, url
from hypothesis import given, settings
from hypothesis import strategies as st
from insights_help import BATCH, HOSTILE, Measured, insights
from overheard import tables
from overheard._figures import figure_rows
from overheard.errors import ConfigError
from overheard.simulator import Simulator
from overheard.stores import open_store


def one(found: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The one row with these values."""
    (row,) = [entry for entry in found if all(entry.get(name) == value for name, value in wanted.items())]
    return row


def test_arrow_has_every_figure_once_with_real_types() -> None:
    table = tables.to_arrow(Measured())
    types = {field.name: field.type for field in table.schema}
    assert types["value"] == types["low"] == types["numerator"] == pa.float64()
    assert types["left_out"] == types["left_out_refused"] == pa.int64()
    assert types["batch_ids"] == pa.list_(pa.string())
    found = table.to_pylist()
    assert {entry["scope"] for entry in found} == {
        "summary",
        "model",
        "location",
        "question",
        "competitor",
        "domain",
        "agreement",
        "change",
    }
    row = one(found, scope="summary", metric="visibility")
    assert row["batch_ids"] == [BATCH]
    assert (row["value"], row["unit"], row["low"], row["high"]) == (45.0, "percent", 31.5, 59.25)
    assert (row["numerator"], row["denominator"], row["interval_method"]) == (18.0, 40.0, "bootstrap")
    assert (row["left_out"], row["left_out_refused"], row["left_out_failed"], row["verdict"]) == (3, 2, 1, "ok")
    row = one(found, scope="location", metric="visibility", model="chatgpt", location="DE")
    assert (row["served_model"], row["surface"], row["verdict"]) == ("gpt-5-5, gpt-5-6", "chatgpt", "insufficient")
    assert (row["low"], row["high"], row["interval_method"]) == (None, None, None)
    row = one(found, scope="question", model="gpt-4.1", question_id="q000")
    assert (row["value"], row["verdict"], row["surface"]) == (None, "no data", "openai")
    assert one(found, scope="competitor", name=HOSTILE, metric="visibility")["value"] == 22.5
    assert one(found, scope="competitor", name=HOSTILE, metric="answers")["value"] == 9.0
    assert one(found, scope="agreement", name="chatgpt~gpt-4.1", metric="kappa")["value"] == 0.41
    assert one(found, scope="change", name="after", model="chatgpt")["value"] == 45.0
    assert one(found, scope="summary", metric="cost.totalMicroUsd")["value"] == 354_289.0
    assert one(found, scope="summary", metric="outcomes.refused")["unit"] == "count"
    keys = [tuple(entry[name] for name in KEY) for entry in found]
    assert len(keys) == len(set(keys)), "a figure stands there twice"
    assert len(found) == figures_in(insights())


KEY = ("scope", "model", "location", "question_id", "name", "metric")


def figures_in(plain: Any) -> int:
    """Figures and single numbers, counted by walking the document: what is a number and no part of a figure."""
    if isinstance(plain, dict):
        if "intervalMethod" in plain:
            return 1
        skipped = ("batchStatus", "models") if "visibility" in plain and "answers" in plain else ("batchStatus",)
        if "citations" in plain:
            skipped = ("models",)
        if "before" in plain:
            skipped = ("b", "c", "p")
        return sum(figures_in(value) for name, value in plain.items() if name not in skipped)
    if isinstance(plain, list):
        return sum(figures_in(entry) for entry in plain)
    return isinstance(plain, int | float) and not isinstance(plain, bool)


def test_pandas_keeps_missing_counts_missing() -> None:
    frame = tables.to_pandas(Measured())
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == tables.to_arrow(Measured()).num_rows
    assert str(frame["left_out"].dtype) == "Int64"
    assert frame["value"].dtype == float
    row = frame[(frame.scope == "model") & (frame.model == "chatgpt") & (frame.metric == "visibility")].iloc[0]
    assert (row.value, row.low, row.high, row.left_out) == (50.0, 31.5, 59.25, 3)
    plain_number = frame[(frame.scope == "competitor") & (frame.metric == "answers")].iloc[0]
    assert plain_number.left_out is pandas.NA


def paths(plain: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document, the inner ones included."""
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [path, *(deep for name, value in inner for deep in paths(value, (*path, name)))]


_PATHS = [path for path in paths(insights()) if path]
_SPOILT = st.sampled_from(
    [None, "", "text", 0, -1, 1.5, 10**30, float("nan"), float("inf"), True, [], {}, [None], "absent"]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(_PATHS), _SPOILT), min_size=1, max_size=5))
def test_whatever_is_missing_or_wrong_is_null_and_never_an_error(spoilt: list[tuple[tuple[Any, ...], Any]]) -> None:
    plain = copy.deepcopy(insights())
    for path, value in spoilt:
        spoil(plain, path, value)
    table = tables.to_arrow(Measured(plain))
    for entry in table.to_pylist():
        assert entry["value"] is None or isinstance(entry["value"], float)
    tables.to_pandas(Measured(plain))


def spoil(plain: Any, path: tuple[Any, ...], value: Any) -> None:
    """Puts a value where the path leads, or removes what is there; a way that is gone is left."""
    for name in path[:-1]:
        try:
            plain = plain[name]
        except (KeyError, IndexError, TypeError):
            return
    if value == "absent" and isinstance(plain, dict):
        plain.pop(path[-1], None)
    elif isinstance(plain, dict) or (isinstance(plain, list) and isinstance(path[-1], int) and path[-1] < len(plain)):
        plain[path[-1]] = value


def test_an_empty_document_gives_an_empty_table() -> None:
    assert list(figure_rows({})) == []
    assert tables.to_arrow(Measured({})).num_rows == 0
    assert list(tables.to_pandas(Measured({})).columns) == tables.to_arrow(Measured({})).column_names


async def test_question_runs_and_extractions_of_a_batch(tmp_path: Any, perfect: Simulator) -> None:
    async with pipeline(perfect, url(tmp_path / "x.db")) as running:
        summary = await running.run(quillmark(2, ["chatgpt", "gpt-4.1"]))
        runs = await tables.read_batch(running.store, summary.batch_id, "question-runs")
        extractions = await tables.read_batch(running.store, summary.batch_id, "extractions")
        joined = await tables.read_batch(running.store, summary.batch_id)
        with pytest.raises(ConfigError, match="there is no batch 'nothing'"):
            await tables.read_batch(running.store, "nothing")
        with pytest.raises(ConfigError, match="what: 'metrics' is none of"):
            await tables.read_batch(running.store, summary.batch_id, "metrics")
    types = {field.name: field.type for field in joined.schema}
    assert types["started_at"] == types["extracted_at"] == pa.timestamp("ms", tz="UTC")
    assert types["cost_micro_usd"] == types["extraction_cost_micro_usd"] == pa.int64()
    assert types["mentioned"] == types["unpriced"] == pa.bool_()
    assert types["search_queries"] == types["org_competitors"] == pa.list_(pa.string())
    for name in ("citations", "org_citations"):
        assert pa.types.is_list(types[name])
        assert pa.types.is_struct(types[name].value_type)
    assert joined.num_rows == runs.num_rows == extractions.num_rows == 4
    assert set(runs.column_names) | set(extractions.column_names) == set(joined.column_names)
    for table in (runs, extractions, joined):
        assert {"model", "served_model", "location", "surface"} <= set(table.column_names)
    assert sum(len(entry) for entry in joined["org_citations"].to_pylist()) == summary.citations


def test_an_empty_batch_is_an_empty_table() -> None:
    async def check() -> pa.Table:
        from overheard.testing.records import make_batch

        async with open_store("sqlite://") as store:
            batch = make_batch()
            await store.save_batch(batch)
            return await tables.read_batch(store, batch.batch_id)

    assert asyncio.run(check()).num_rows == 0


@pytest.mark.parametrize("missing", ["pyarrow", "pandas"])
def test_a_missing_library_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = importlib.import_module

    def without(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=r"pip install 'overheard\[arrow\]'"):
        tables.to_pandas(Measured())


def test_the_package_and_its_command_line_wait_for_no_table_library() -> None:
    program = (
        "import sys, overheard, overheard.cli.app, overheard.tables, overheard.export;"
        "print(sorted({'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
