"""The store over SQLAlchemy Core: SQLite and PostgreSQL, which differ by their URL and little else.

A hand-over is one transaction (group commit). The rows of the hot path come as tuples from the engine and go to the
driver as they are; only the small tables pass through SQLAlchemy's constructs. Must not interpret answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Table, case, delete, func, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _core
from overheard.batch import Batch, BatchInsights, Claim, Lease, ModelRun, now_ms
from overheard.org import RULE_LISTS, Org
from overheard.stores import claims, insight, leases, purge, replay, rows, schema
from overheard.stores.database import Database
from overheard.stores.operations import whole

if TYPE_CHECKING:
    from overheard._core import Extraction, QuestionRun

_RUN_KEY = ("batch_id", "cell_key")
_EXTRACTION_COLUMNS = (
    "extracted_at_ms",
    "cost_micro_usd",
    "maybe_charged_micro_usd",
    "error",
    "citation_count",
    "competitor_count",
    "batch_id",
    "cell_key",
)


@whole
class SqlStore:
    """A `Store` on a database; see `overheard.protocols.Store` for the contract.

    Use as an async context manager, or call `aclose` at the end. A call that has begun ends: who is cancelled while he
    awaits it is told afterwards.
    """

    def __init__(self, database: Database, *, light: bool = False) -> None:
        """Nothing is opened yet.

        Args:
            database: Where to.
            light: Keep keys, status, text and counts only: no raw bodies, no rows of extractions.
        """
        self.database = database
        self.light = light
        # Model run to the fence of the lease that was granted through this object: what a loser writes is refused.
        self._held: dict[str, int] = {}
        self._upsert_runs = database.insert(schema.question_runs, _core.QUESTION_RUN_COLUMNS, keys=_RUN_KEY)
        self._insert_extractions = database.insert(schema.extractions, _EXTRACTION_COLUMNS)
        self._insert_evals = database.insert(schema.org_evals, _core.ORG_EVAL_COLUMNS)
        self._insert_competitors = database.insert(schema.org_competitors, _core.ORG_COMPETITOR_COLUMNS)
        self._insert_citations = database.insert(schema.org_citations, _core.ORG_CITATION_COLUMNS)
        # Takes evaluation, competitors and citations with it.
        self._delete_extraction = rows.delete(schema.extractions, _RUN_KEY, database.mark, schema=database.schema)

    async def __aenter__(self) -> SqlStore:
        """Opens the database.

        Raises:
            StoreError: It cannot be opened or written.
        """
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        await self.aclose()

    async def open(self) -> None:
        """Opens the database and puts model runs whose lease has expired, or whose owner is dead, back into the queue.

        Raises:
            StoreError: It cannot be opened or written.
        """
        await self.database.open()
        async with self.database.writing() as connection:
            await leases.requeue_ended(connection)

    async def aclose(self) -> None:
        """Closes this event loop's connection."""
        await self.database.aclose()

    # --- orgs -------------------------------------------------------------------------------------------------------

    async def save_org(self, org: Org) -> None:
        """Upserts the org and its questions."""
        async with self.database.writing() as connection:
            plain = org.to_dict()
            rules = {name: plain[name] for name in RULE_LISTS if name in plain}
            values = {"name": org.name, "rules": json.dumps(rules, ensure_ascii=False) if rules else None}
            values.update({name: json.dumps(plain[name], ensure_ascii=False) for name in _ORG_LISTS})
            await _upsert(connection, schema.orgs, {"org_id": org.id}, values)
            await connection.execute(delete(schema.questions).where(schema.questions.c.org_id == org.id))
            entries = [
                {"org_id": org.id, "question_id": question.id, "position": position, "text": question.text}
                for position, question in enumerate(org.question_list)
            ]
            if entries:
                await connection.execute(schema.questions.insert(), entries)

    async def load_org(self, org_id: str) -> Org | None:
        """The org, or None when there is none of this id."""
        async with self.database.reading() as connection:
            row = (await connection.execute(select(schema.orgs).where(schema.orgs.c.org_id == org_id))).first()
            if row is None:
                return None
            wanted = select(schema.questions).where(schema.questions.c.org_id == org_id)
            asked = await connection.execute(wanted.order_by(schema.questions.c.position))
            plain = {name: json.loads(getattr(row, name)) for name in _ORG_LISTS}
            plain |= json.loads(row.rules or "{}")
            questions = [{"id": entry.question_id, "text": entry.text} for entry in asked]
            return Org.from_dict({"id": row.org_id, "name": row.name, "questions": questions, **plain})

    async def org_ids(self) -> list[str]:
        """The ids of all orgs, in order."""
        async with self.database.reading() as connection:
            return list((await connection.execute(select(schema.orgs.c.org_id).order_by("org_id"))).scalars())

    # --- batches ----------------------------------------------------------------------------------------------------

    async def create_batch(self, batch: Batch) -> None:
        """Stores a new batch and its model runs in one transaction, so that nobody sees one without the other.

        Raises:
            StoreError: The org has a batch of this key already.
        """
        async with self.database.writing() as connection:
            await self._save_batch(connection, batch)
            for model_run in batch.model_runs:
                await self._save_model_run(connection, model_run)

    async def save_batch(self, batch: Batch) -> None:
        """Upserts the batch by `batch_id`.

        Raises:
            StoreError: PostgreSQL, and its `batch_id` is no UUID.
        """
        async with self.database.writing() as connection:
            await self._save_batch(connection, batch)

    async def _save_batch(self, connection: AsyncConnection, batch: Batch) -> None:
        self.database.check_batch_id(batch.batch_id)
        values = {
            "org_id": batch.org_id,
            "batch_key": batch.batch_key,
            "batch_size": batch.batch_size,
            "config": json.dumps(dict(batch.config), ensure_ascii=False),
            "overhead_micro_usd": batch.overhead_micro_usd,
            "created_at": batch.created_at_ms,
            "finished_at": batch.finished_at_ms,
        }
        await _upsert(connection, schema.batches, {"batch_id": batch.batch_id}, values)

    async def save_model_runs(self, model_runs: Sequence[ModelRun]) -> None:
        """Upserts model runs by `run_id`. The lease of one that is leased here stays as the lease's methods left it.

        Raises:
            LeaseLost: Its lease was granted here and has gone to another owner.
            StoreError: PostgreSQL, and its `batch_id` is no UUID.
        """
        for model_run in model_runs:
            self.database.check_batch_id(model_run.batch_id)
        async with self.database.writing() as connection:
            await leases.refuse_losers(connection, self._held, [model_run.run_id for model_run in model_runs])
            for model_run in model_runs:
                await self._save_model_run(connection, model_run)

    async def _save_model_run(self, connection: AsyncConnection, model_run: ModelRun) -> None:
        values = model_run.to_dict()
        run_id = values.pop("run_id")
        if run_id in self._held:
            for name in leases.COLUMNS:
                del values[name]
        values["started_at"] = values.pop("started_at_ms")
        values["finished_at"] = values.pop("finished_at_ms")
        await _upsert(connection, schema.geo_runs, {"run_id": run_id}, values)

    async def acquire_lease(self, run_id: str, owner: str, ttl_ms: int) -> Lease:
        """Takes the lease of a model run, or says who has it."""
        async with self.database.writing() as connection:
            lease = await leases.acquire(connection, run_id, owner, ttl_ms)
        if lease.granted:
            self._held[run_id] = lease.fence
        return lease

    async def renew_lease(self, run_id: str, owner: str, fence: int, ttl_ms: int) -> bool:
        """Renews a lease; False: it has gone to another owner."""
        async with self.database.writing() as connection:
            return await leases.renew(connection, run_id, owner, fence, ttl_ms)

    async def release_lease(self, run_id: str, owner: str, fence: int) -> None:
        """Gives a lease back; one that has gone to another owner is left alone."""
        async with self.database.writing() as connection:
            released = await leases.release(connection, run_id, owner, fence)
        if released:  # of a lost one the fence is kept: what still comes of that start is refused
            self._held.pop(run_id, None)

    # --- claims and the score: of what follows the end of a model run or a batch ---

    async def claim_once(self, name: str, mark: str, owner: str, ttl_ms: int) -> Claim:
        """Claims the work `name` for the state `mark`, or says who has it, or that it is done."""
        async with self.database.writing() as connection:
            return await claims.claim(connection, name, mark, owner, ttl_ms)

    async def renew_claim(self, name: str, revision: int, owner: str, ttl_ms: int, note: str | None = None) -> bool:
        """Renews a claim and keeps the note unless it is None; False: it is another's by now, or done."""
        async with self.database.writing() as connection:
            return await claims.renew(connection, name, revision, owner, ttl_ms, note)

    async def finish_claim(self, name: str, revision: int, owner: str) -> bool:
        """Says that the work is done; False: the claim is another's by now."""
        async with self.database.writing() as connection:
            return await claims.finish(connection, name, revision, owner)

    async def save_score(self, run_id: str, score: float) -> None:
        """Keeps the overall score of a model run, 0-100."""
        async with self.database.writing() as connection:
            run = schema.geo_runs.c
            changed = (run.run_id == run_id) & run.score.is_distinct_from(score)
            await connection.execute(update(schema.geo_runs).where(changed).values(score=score))

    async def load_batch(
        self, batch_id: str | None = None, *, org_id: str | None = None, batch_key: str | None = None
    ) -> Batch | None:
        """The batch with its model runs: by id; by org and key; by org alone the newest unfinished one."""
        table = schema.batches
        wanted = select(table)
        if batch_id is not None:
            wanted = wanted.where(table.c.batch_id == batch_id)
        elif batch_key is not None:
            wanted = wanted.where(table.c.org_id == org_id, table.c.batch_key == batch_key)
        else:
            wanted = wanted.where(table.c.org_id == org_id, table.c.finished_at.is_(None))
        newest = wanted.order_by(table.c.created_at.desc(), table.c.batch_id.desc()).limit(1)
        # Who asks does not wait behind who writes, unless there is something to write.
        async with self.database.reading() as connection:
            row = (await connection.execute(newest)).first()
            found = batch_id if row is None else row.batch_id
            if found is None:
                return None
            ended = await leases.ended(connection, found)
            model_runs = await _model_runs(connection, found)
        if ended:
            async with self.database.writing() as connection:
                await leases.requeue_ended(connection, found)
                model_runs = await _model_runs(connection, found)
        if row is None:
            return _foreign_batch(model_runs)
        return Batch(
            batch_id=row.batch_id,
            org_id=row.org_id,
            batch_key=row.batch_key,
            batch_size=row.batch_size,
            config=json.loads(row.config),
            overhead_micro_usd=row.overhead_micro_usd,
            created_at_ms=row.created_at,
            finished_at_ms=row.finished_at,
            model_runs=model_runs,
        )

    async def load_model_run(self, run_id: str) -> ModelRun | None:
        """The model run, or None."""
        geo = schema.geo_runs
        # In another system's table a row need not be part of a batch.
        wanted = select(geo).where(geo.c.run_id == run_id, geo.c.batch_id.is_not(None))
        async with self.database.reading() as connection:
            row = (await connection.execute(wanted)).first()
            return None if row is None else _model_run(row)

    async def batch_ids(self, org_id: str | None = None) -> list[str]:
        """The ids of all batches, of one org or of all, newest first."""
        table = schema.batches
        wanted = select(table.c.batch_id).order_by(table.c.created_at.desc(), table.c.batch_id)
        if org_id is not None:
            wanted = wanted.where(table.c.org_id == org_id)
        async with self.database.reading() as connection:
            return list((await connection.execute(wanted)).scalars())

    # --- question runs and extractions ------------------------------------------------------------------------------

    async def save_question_runs(self, runs: Sequence[QuestionRun]) -> None:
        """Upserts question runs, in one transaction; the extraction of one that was there is removed.

        Raises:
            LeaseLost: The lease of their model run was granted here and has gone to another owner.
            StoreError: PostgreSQL, and their `batch_id` is no UUID.
        """
        tuples = _core.question_run_rows(list(runs))
        if not tuples:
            return
        columns = _core.QUESTION_RUN_COLUMNS
        batch = columns.index("batch_id")
        for batch_id in {row[batch] for row in tuples}:
            self.database.check_batch_id(batch_id)
        if self.light:
            raw = columns.index("raw_body")
            tuples = [(*row[:raw], None, *row[raw + 1 :]) for row in tuples]
        run = columns.index("run_id")
        async with self.database.writing() as connection:
            await leases.refuse_losers(connection, self._held, {row[run] for row in tuples})
            await self._delete_extractions(connection, _keys(columns, tuples))
            await self._upsert_runs.execute(connection, tuples)

    async def _delete_extractions(self, connection: AsyncConnection, keys: Sequence[tuple[str, str]]) -> None:
        """Deletes those that are there. Looking first is cheap; a delete of nothing walks four tables for each key."""
        table = schema.extractions.c
        for batch_id in {batch_id for batch_id, _ in keys}:
            wanted = [key for batch, key in keys if batch == batch_id]
            there = select(table.cell_key).where(table.batch_id == batch_id, table.cell_key.in_(wanted))
            if found := list((await connection.execute(there)).scalars()):
                await connection.exec_driver_sql(self._delete_extraction, [(batch_id, key) for key in found])

    async def existing_keys(self, batch_id: str, after: str | None, limit: int) -> list[Mapping[str, Any]]:
        """A page of what is stored, ordered by cell key."""
        runs, extractions = schema.question_runs.c, schema.extractions.c
        extracted = extractions.extracted_at_ms.is_not(None)
        none = func.coalesce
        # An extraction that is there and has no cost; one that is not there has none to know.
        extraction_unpriced = case(
            (extractions.cell_key.is_not(None) & extractions.cost_micro_usd.is_(None), 1), else_=0
        )
        wanted = (
            select(
                runs.cell_key.label("key"),
                runs.status,
                extracted.label("extracted"),
                (none(runs.cost_micro_usd, 0) + none(extractions.cost_micro_usd, 0)).label("cost_micro_usd"),
                (runs.maybe_charged_micro_usd + none(extractions.maybe_charged_micro_usd, 0)).label(
                    "maybe_charged_micro_usd"
                ),
                none(extractions.cost_micro_usd, 0).label("extraction_cost_micro_usd"),
                none(extractions.maybe_charged_micro_usd, 0).label("extraction_maybe_charged_micro_usd"),
                (case((runs.cost_micro_usd.is_(None), 1), else_=0) + extraction_unpriced).label("unpriced"),
                extraction_unpriced.label("extraction_unpriced"),
                none(extractions.citation_count, 0).label("citations"),
                none(extractions.competitor_count, 0).label("competitors"),
                runs.error_kind,
            )
            .select_from(_WITH_EXTRACTION)
            .where(runs.batch_id == batch_id)
        )
        page = _page(wanted, runs.cell_key, after, limit)
        async with self.database.reading() as connection:
            found = (await connection.execute(page)).mappings()
            return [{**entry, "extracted": bool(entry["extracted"])} for entry in found]

    async def question_runs(self, batch_id: str, after: str | None, limit: int) -> list[QuestionRun]:
        """A page of answered question runs without an extraction, ordered by cell key; without their raw bodies."""
        runs = schema.question_runs.c
        columns = (null() if name == "raw_body" else runs[name] for name in _core.QUESTION_RUN_COLUMNS)
        missing = schema.extractions.c.extracted_at_ms.is_(None)
        wanted = select(*columns).select_from(_WITH_EXTRACTION)
        wanted = wanted.where(runs.batch_id == batch_id, runs.status == "answered", missing)
        page = _page(wanted, runs.cell_key, after, limit)
        async with self.database.reading() as connection:
            return _core.question_runs_from_rows([tuple(row) for row in await connection.execute(page)])

    async def save_extractions(self, extractions: Sequence[Extraction]) -> None:
        """Writes extractions with all their rows in one transaction; one with an error writes its cost and error.

        Raises:
            LeaseLost: The lease of their model run was granted here and has gone to another owner.
        """
        evals, competitors, citations, failed = _core.extraction_rows(list(extractions))
        columns = _core.ORG_EVAL_COLUMNS
        keys = _keys(columns, [*evals, *failed])
        if not keys:
            return
        told = [*self._extracted(evals, competitors, citations), *self._not_extracted(failed)]
        run = columns.index("run_id")
        async with self.database.writing() as connection:
            await leases.refuse_losers(connection, self._held, {row[run] for row in [*evals, *failed]})
            await self._delete_extractions(connection, keys)
            await self._insert_extractions.execute(connection, told)
            if self.light:
                return
            for statement, tuples in (
                (self._insert_evals, evals),
                (self._insert_competitors, competitors),
                (self._insert_citations, citations),
            ):
                if tuples:
                    await statement.execute(connection, tuples)

    @staticmethod
    def _extracted(
        evals: Sequence[tuple[Any, ...]], competitors: Sequence[tuple[Any, ...]], citations: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """What is kept of each extraction, beside its rows."""
        column = {name: place for place, name in enumerate(_core.ORG_EVAL_COLUMNS)}
        when, cost, maybe = column["extracted_at_ms"], column["cost_micro_usd"], column["maybe_charged_micro_usd"]
        citation_counts = Counter(_keys(_core.ORG_CITATION_COLUMNS, citations))
        competitor_counts = Counter(_keys(_core.ORG_COMPETITOR_COLUMNS, competitors))
        return [
            (row[when], row[cost], row[maybe], None, citation_counts[key], competitor_counts[key], *key)
            for row, key in zip(evals, _keys(_core.ORG_EVAL_COLUMNS, evals), strict=True)
        ]

    @staticmethod
    def _not_extracted(failed: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        column = {name: place for place, name in enumerate(_core.ORG_EVAL_COLUMNS)}
        cost, maybe, error = column["cost_micro_usd"], column["maybe_charged_micro_usd"], column["error"]
        return [
            (None, row[cost], row[maybe], row[error], 0, 0, *key)
            for row, key in zip(failed, _keys(_core.ORG_EVAL_COLUMNS, failed), strict=True)
        ]

    # --- replaying --------------------------------------------------------------------------------------------------

    async def answers(self, batch_id: str, after: str | None, limit: int) -> list[QuestionRun]:
        """A page of answered question runs, extracted or not, ordered by cell key; without their raw bodies."""
        page = _page(replay.answers_of(batch_id), schema.question_runs.c.cell_key, after, limit)
        async with self.database.reading() as connection:
            return _core.question_runs_from_rows([tuple(row) for row in await connection.execute(page)])

    async def extractions(self, batch_id: str, after: str | None, limit: int) -> list[Extraction]:
        """A page of stored extractions, ordered by cell key; one that failed is none, and a light store has none."""
        page = _page(replay.evals_of(batch_id), schema.org_evals.c.cell_key, after, limit)
        async with self.database.reading() as connection:
            return await replay.extractions(
                connection, batch_id, [tuple(row) for row in await connection.execute(page)]
            )

    async def raw_bodies(self, batch_id: str, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """The stored raw bodies of these cells; a cell that is not stored is left out."""
        async with self.database.reading() as connection:
            found = await connection.execute(replay.bodies_of(batch_id, keys))
            return {row.cell_key: None if row.raw_body is None else bytes(row.raw_body) for row in found}

    # --- insights ---------------------------------------------------------------------------------------------------

    async def insight_rows(self, batch_id: str, after: str | None, limit: int) -> list[Mapping[str, Any]]:
        """A page of question runs with what was extracted, ordered by cell key. A light store knows no evaluation."""
        page = _page(insight.rows_of(batch_id), schema.question_runs.c.cell_key, after, limit)
        async with self.database.reading() as connection:
            found = (await connection.execute(page)).mappings().all()
            return await insight.with_lists(connection, batch_id, [dict(row) for row in found])

    async def org_batches(self, org_id: str, since_ms: int | None) -> list[str]:
        """The ids of the org's batches made at or after this moment, newest first; None: all."""
        async with self.database.reading() as connection:
            return list((await connection.execute(insight.batches_of(org_id, since_ms))).scalars())

    async def save_insights(self, insights: BatchInsights) -> None:
        """Upserts holistic insights by `(batch_id, revision)`."""
        async with self.database.writing() as connection:
            await _upsert(connection, schema.geo_batch_insights, *insight.to_values(insights))

    async def load_insights(self, batch_id: str) -> BatchInsights | None:
        """The newest revision of the batch's holistic insights, or None."""
        async with self.database.reading() as connection:
            row = (await connection.execute(insight.newest_of(batch_id))).first()
            return None if row is None else insight.from_row(row)

    # --- facts ------------------------------------------------------------------------------------------------------

    async def load_fact(self, name: str) -> str | None:
        """The value, or None."""
        async with self.database.reading() as connection:
            wanted = select(schema.facts.c.value).where(schema.facts.c.name == name)
            value: str | None = (await connection.execute(wanted)).scalar()
            return value

    async def save_fact(self, name: str, value: str) -> None:
        """Upserts the value."""
        values = {"value": value, "updated_at": now_ms()}
        async with self.database.writing() as connection:
            await _upsert(connection, schema.facts, {"name": name}, values)

    # --- the end of rows --------------------------------------------------------------------------------------------

    async def purge_before(self, moment_ms: int, *, dry_run: bool = False) -> Mapping[str, int]:
        """Deletes batches that were finished before a moment, with all their rows; see `purge.py`.

        Args:
            moment_ms: Milliseconds since 1970 UTC.
            dry_run: Counts only.

        Returns:
            Table to rows deleted; with `dry_run` to those that would be.
        """
        return await purge.before(self.database, moment_ms, dry_run=dry_run)

    async def read_all(self, statement: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Rows of a SELECT, for reports and checks."""
        for entry in await self.database.operations.run(self._rows, statement):
            yield dict(entry)

    async def _rows(self, statement: Any) -> Sequence[Mapping[Any, Any]]:
        async with self.database.reading() as connection:
            return (await connection.execute(statement)).mappings().all()


_WITH_EXTRACTION = schema.question_runs.outerjoin(schema.extractions)
_ORG_LISTS = ("websites", "aliases", "competitors", "models", "locations")


def _keys(columns: Sequence[str], tuples: Sequence[tuple[Any, ...]]) -> list[tuple[Any, Any]]:
    batch, key = columns.index("batch_id"), columns.index("cell_key")
    return [(row[batch], row[key]) for row in tuples]


def _page(wanted: Any, key: Any, after: str | None, limit: int) -> Any:
    if after is not None:
        wanted = wanted.where(key > after)
    return wanted.order_by(key).limit(limit)


async def _model_runs(connection: AsyncConnection, batch_id: str) -> tuple[ModelRun, ...]:
    geo = schema.geo_runs
    wanted = select(geo).where(geo.c.batch_id == batch_id).order_by(geo.c.model, geo.c.run_id)
    return tuple(_model_run(entry) for entry in await connection.execute(wanted))


def _model_run(row: Row[Any]) -> ModelRun:
    values = dict(row._mapping)
    values.pop("score")
    values["started_at_ms"] = values.pop("started_at")
    values["finished_at_ms"] = values.pop("finished_at")
    return ModelRun.from_dict(values)  # in another system's table more may be null than in ours


def _foreign_batch(model_runs: Sequence[ModelRun]) -> Batch | None:
    """The batch of rows that another system inserted into `geo_runs`, which has no row of its own."""
    if not model_runs:
        return None
    first = model_runs[0]
    return Batch(
        batch_id=first.batch_id, org_id=first.org_id, batch_size=first.batch_size, model_runs=tuple(model_runs)
    )


async def _upsert(
    connection: AsyncConnection, table: Table, keys: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values({**keys, **values})
    await connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=dict(values)))
