"""Insights, question runs and extractions as Arrow tables and pandas data frames (extra `overheard[arrow]`).

Types and layout only: nothing is measured here, and nothing is read beyond what is asked for. pyarrow and pandas are
imported on first use, so that whoever needs no tables waits for neither.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from overheard._columns import COLUMNS, ORG_CITATION_FIELDS, SOURCE_FIELDS, Column, What
from overheard._figures import figure_rows
from overheard._pages import pages
from overheard.errors import ConfigError
from overheard.stores import SqlStore

__all__ = ["arrow_schema", "arrow_table", "library", "read_batch", "to_arrow", "to_pandas"]


class Measured(Protocol):
    """What has figures: `overheard.insights.Insights`."""

    def to_dict(self) -> Mapping[str, Any]:
        """The figures, as JSON has them."""
        ...


def to_arrow(insights: Measured) -> Any:
    """The figures of insights as a `pyarrow.Table`, one row a figure.

    Columns: `batch_ids` (list of text), `scope` (`summary`, `model`, `location`, `question`, `competitor`, `domain`,
    `agreement`, `change`), `model`, `served_model`, `surface`, `location`, `question_id`, `name` (competitor, domain,
    pair of models, question), `metric`, `value` (percent: 0-100), `unit`, `numerator`, `denominator`, `low`, `high`
    (95 % interval; null: none), `interval_method`, `verdict`, `left_out` (question runs) and its parts.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    return arrow_table(figure_rows(insights.to_dict()), "metrics")


def to_pandas(insights: Measured) -> Any:
    """The same as a `pandas.DataFrame`; counts are `Int64`, so that a missing one stays missing.

    Raises:
        ConfigError: pandas or pyarrow is not installed.
    """
    arrow, pandas = library("pyarrow"), library("pandas")
    return to_arrow(insights).to_pandas(types_mapper={arrow.int64(): pandas.Int64Dtype()}.get)


async def read_batch(store: SqlStore, batch_id: str, what: What = "joined") -> Any:
    """Question runs or extractions of a batch as a `pyarrow.Table`, all of them in memory; `export` streams instead.

    Every row has `model`, `served_model`, `location` and `surface`; times are `timestamp[ms, UTC]`, money is `int64`
    micro-dollars, citations are lists of structs. Raw bodies are left out.

    Args:
        store: Where from.
        batch_id: The batch.
        what: `question-runs`, `extractions`, or `joined`: question runs with the columns of their extraction.

    Raises:
        ConfigError: There is no such batch, `what` is none of these, or pyarrow is not installed.
    """
    arrow = library("pyarrow")
    if what not in ("question-runs", "extractions", "joined"):
        raise ConfigError(f"what: '{what}' is none of question-runs, extractions, joined", field="what")
    batch = await store.load_batch(batch_id)
    if batch is None:
        raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
    parts = [arrow_table(rows, what) async for rows in pages(store, batch, what)]
    return arrow.concat_tables(parts) if parts else arrow_table((), what)


def arrow_table(rows: Iterable[Mapping[str, Any]], what: What) -> Any:
    """Rows as a `pyarrow.Table` with the types of the table `what`; a column that a row lacks is null.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    arrow = library("pyarrow")
    given = rows if isinstance(rows, Sequence) else list(rows)
    schema = arrow_schema(what)
    arrays = [arrow.array([_value(row.get(field.name)) for row in given], type=field.type) for field in schema]
    return arrow.Table.from_arrays(arrays, schema=schema)


def arrow_schema(what: What) -> Any:
    """The `pyarrow.Schema` of a table.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    arrow = library("pyarrow")
    return arrow.schema([_field(arrow, column) for column in COLUMNS[what]])


def _field(arrow: Any, column: Column) -> Any:
    def struct(fields: Sequence[Column]) -> Any:
        return arrow.list_(arrow.struct([_field(arrow, field) for field in fields]))

    types = {
        "text": arrow.string,
        "int": arrow.int64,
        "float": arrow.float64,
        "bool": arrow.bool_,
        "instant": lambda: arrow.timestamp("ms", tz="UTC"),
        "texts": lambda: arrow.list_(arrow.string()),
        "sources": lambda: struct(SOURCE_FIELDS),
        "org_citations": lambda: struct(ORG_CITATION_FIELDS),
    }
    return arrow.field(column.name, types[column.kind]())


def _value(value: Any) -> Any:
    """Text that is no Unicode (a lone surrogate in another system's row) must not end an export."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_value(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _value(entry) for name, entry in value.items()}
    return value


def library(name: str) -> Any:
    """A table library, imported on first use.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"tables need {name}: pip install 'overheard[arrow]'", field="arrow") from error
