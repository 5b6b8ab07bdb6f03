"""Reads rows and journal for the checks, in one transaction. Writes nothing: expired leases stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _core
from overheard._plan import Plan
from overheard.batch import Batch, ModelRun, now_ms
from overheard.errors import ConfigError
from overheard.stores import schema

_PAGE = 500  # keys in one statement


@dataclass(frozen=True)
class Analysed:
    """What the holistic insights of a batch cost.

    Attributes:
        cost_micro_usd: What they were charged.
        maybe_charged_micro_usd: What they may have been charged beside it.
        newest_ms: When the newest were written, milliseconds since 1970 UTC; 0: there are none.
    """

    cost_micro_usd: int
    maybe_charged_micro_usd: int
    newest_ms: int


@dataclass(frozen=True)
class Kept:
    """A batch as it is stored, with the plan it was made with.

    Attributes:
        batch: The batch with its model runs, leases as they stand.
        read_at_ms: Milliseconds since 1970 UTC.
    """

    batch: Batch
    read_at_ms: int

    @property
    def batch_id(self) -> str:
        """The batch's id."""
        return self.batch.batch_id

    @property
    def at_work(self) -> bool:
        """A model run has a lease that lives."""
        return any(run.is_leased(self.read_at_ms) for run in self.batch.model_runs)

    @cached_property
    def plan(self) -> Plan | None:
        """The plan; None: another system made the batch.

        Raises:
            ValueError: The batch keeps something that is no plan.
        """
        if not self.batch.config:
            return None
        try:
            return Plan.from_batch(self.batch)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @cached_property
    def locations(self) -> tuple[str, ...]:
        """The plan's locations as they stand in a cell key."""
        plan = self.plan
        if plan is None:
            return ()
        named = tuple(str(place) for place in plan.locations)
        # An import may have answers from named places and from anywhere.
        return (*named, "anywhere") if not named or self.batch.config.get("imported") else named

    def is_planned(self, cell: Mapping[str, Any]) -> bool:
        """Whether the plan has this cell; without a plan every cell of a model of the batch."""
        plan = self.plan
        if plan is None:
            return cell["model"] in {run.model for run in self.batch.model_runs}
        return (
            cell["question_id"] in self.question_texts
            and cell["model"] in plan.models
            and cell["location"] in self.locations
            and 1 <= int(cell["repeat"]) <= plan.repeats
        )

    @cached_property
    def question_texts(self) -> Mapping[str, str]:
        """Question id to the text that was planned."""
        plan = self.plan
        return {} if plan is None else {question.id: question.text for question in plan.questions}


class Reader:
    """One transaction on the database, and the journal's folder."""

    def __init__(self, connection: AsyncConnection, *, sqlite: bool, journal: Path) -> None:
        """Reads nothing yet.

        Args:
            connection: In a transaction.
            sqlite: SQLite's placeholders and pragmas.
            journal: The journal's folder; it need not be there.
        """
        self.connection = connection
        self.sqlite = sqlite
        self.journal_folder = journal
        self._journals: dict[str, Mapping[str, Any]] = {}

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """All rows of a query with `?` placeholders."""
        text = query if self.sqlite else query.replace("%", "%%").replace("?", "%s")
        result = await self.connection.exec_driver_sql(text, values)
        return [dict(row) for row in result.mappings()]

    async def first(self, query: str, *values: Any) -> dict[str, Any] | None:
        """The first row, or None."""
        found = await self.rows(query + " LIMIT 1", *values)
        return found[0] if found else None

    async def count(self, table: str, batch_id: str) -> int:
        """Rows of the batch in one of our tables."""
        # Only names of our own tables stand in the text.
        query = f"SELECT count(*) AS count FROM {table} WHERE batch_id = ?"  # noqa: S608
        return int((await self.rows(query, batch_id))[0]["count"])

    async def batch_ids(self) -> list[str]:
        """Every batch, those included of which another system made the model runs alone."""
        found = await self.rows(
            "SELECT batch_id FROM batches UNION SELECT batch_id FROM geo_runs WHERE batch_id IS NOT NULL"
            " ORDER BY batch_id"
        )
        return [row["batch_id"] for row in found]

    async def batch(self, batch_id: str) -> Kept | None:
        """The batch, or None."""
        stored = [_values(Batch, row) for row in await self._of(schema.batches, batch_id)]
        runs = tuple(ModelRun.from_dict(_values(ModelRun, row)) for row in await self._of(schema.geo_runs, batch_id))
        if stored:
            values = stored[0] | {"config": json.loads(stored[0]["config"])}
        elif runs:
            values = {"batch_id": batch_id, "org_id": runs[0].org_id, "batch_size": runs[0].batch_size}
        else:
            return None
        return Kept(Batch(**values, model_runs=runs), now_ms())

    async def _of(self, table: Table, batch_id: str) -> list[dict[str, Any]]:
        order = [table.c[name] for name in ("model", "run_id", "batch_id") if name in table.c]
        wanted = select(table).where(table.c.batch_id == batch_id).order_by(*order)
        return [dict(row) for row in (await self.connection.execute(wanted)).mappings()]

    async def fact(self, name: str) -> tuple[str, int] | None:
        """A fact's value and when it was noted, milliseconds since 1970 UTC; None: there is none."""
        table = schema.facts.c
        row = (await self.connection.execute(select(table.value, table.updated_at).where(table.name == name))).first()
        return None if row is None else (row.value, row.updated_at)

    async def analysed(self, batch_id: str) -> Analysed:
        """What the holistic insights of a batch cost, over all revisions."""
        table = schema.geo_batch_insights.c
        sums = (
            func.coalesce(func.sum(table.cost_micro_usd), 0),
            func.coalesce(func.sum(table.maybe_charged_micro_usd), 0),
            func.max(table.created_at, type_=schema.Instant),
        )
        cost, maybe, newest = (await self.connection.execute(select(*sums).where(table.batch_id == batch_id))).one()
        return Analysed(cost_micro_usd=int(cost), maybe_charged_micro_usd=int(maybe), newest_ms=newest or 0)

    async def is_light(self) -> bool:
        """A store that keeps counts in place of rows: nothing in it has a body or an evaluation."""
        full = await self.rows(
            "SELECT EXISTS (SELECT 1 FROM org_evals) AS evals,"
            " EXISTS (SELECT 1 FROM question_runs WHERE raw_body IS NOT NULL) AS bodies"
        )
        return not full[0]["evals"] and not full[0]["bodies"]

    async def stored(self, batch_id: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the store has of cells: status, when it was finished, whether it is extracted."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            marks = ", ".join("?" * len(page))
            for row in await self.rows(
                "SELECT q.cell_key, q.status, q.finished_at_ms, x.extracted_at_ms FROM question_runs q"  # noqa: S608
                " LEFT JOIN extractions x ON x.batch_id = q.batch_id AND x.cell_key = q.cell_key"
                f" WHERE q.batch_id = ? AND q.cell_key IN ({marks})",
                batch_id,
                *page,
            ):
                found[row["cell_key"]] = row
        return found

    def journal(self, batch_id: str) -> Mapping[str, Any]:
        """What the journal holds of a batch, read once: `folder_id` and `files`.

        Raises:
            JournalError: It is there and cannot be read.
        """
        if batch_id not in self._journals:
            self._journals[batch_id] = json.loads(_core.inspect_journal(self.journal_folder, batch_id))
        return self._journals[batch_id]

    def snapshot_ids(self, batch_id: str) -> set[str]:
        """Snapshot ids that the journal knows of a batch."""
        files = self._journals.get(batch_id, {}).get("files", [])
        return {entry["snapshot_id"] for file in files for entry in file["submissions"] if entry["snapshot_id"]}


def cell_key(cell: Mapping[str, Any]) -> str:
    """The text of a cell's key: `question|model|location|repeat`."""
    parts = (str(cell[name]).replace("%", "%25").replace("|", "%7C") for name in ("question_id", "model", "location"))
    return "|".join((*parts, str(cell["repeat"])))


def _values(kind: type[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record from a row; the tables name moments without their unit."""
    names = {entry.name for entry in fields(kind)}
    moments = {f"{name}_at_ms": row[f"{name}_at"] for name in ("created", "started", "finished") if f"{name}_at" in row}
    return {name: value for name, value in {**row, **moments}.items() if name in names}
