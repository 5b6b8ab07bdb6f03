"""What the stored answers of a batch, or of several of an org, add up to. Asks no provider and writes nothing.

The figures are made in Rust (`src/insights/`); here stands which batches, which rows and which earlier batch they are
made of. A figure is a mapping of `metric`, `value`, `unit` (`percent` is 0-100), `numerator`, `denominator`, `leftOut`
(question runs that are not in it, by why), `interval` (95 %, in the unit of the value; None: there is none),
`intervalMethod` (`wilson`, `bootstrap` or None) and `verdict` (`ok`, `insufficient`, `no data`).
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timezone
from typing import Any

from overheard import _core
from overheard._retry import retried
from overheard.batch import Batch, BatchStatus
from overheard.errors import ConfigError, StoreError
from overheard.holistic.money import holistic_spent
from overheard.org import Org

Since = datetime | date | str
"""A moment: aware, or taken as UTC; a date is its first moment; a text is one of both in ISO 8601."""

LoadOrg = Callable[[str], Awaitable[Org]]
LoadBatch = Callable[[str], Awaitable[Batch | None]]

_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Insights:
    """Measured insights.

    Attributes:
        org: The org, as the batch keeps it.
        batch_ids: The batches they are made of, newest first.
        batch_status: Where the newest of them stands.
        summary: The org's figures by name, with `brandSOV`, `brandSOVInterval`, `topCompetitor`, `cost`, `questions`,
            `outcomes` and `agreement`.
        models: One mapping a model: `model`, `surface`, `servedModels`, `summary`, `locations`.
        questions: One mapping a question: `questionId`, `question`, `cells` with the visibility on each model.
        competitors: One mapping a competitor, by the number of answers that name it.
        domains: One mapping a cited domain, by the number of citations.
        agreement: One mapping a pair of models.
        change: What changed since an earlier batch; None: there is none to compare with.
        holistic: The stored comparison of the models; None: there is none yet.
    """

    org: Org
    batch_ids: list[str]
    batch_status: BatchStatus
    summary: dict[str, Any]
    models: list[dict[str, Any]]
    questions: list[dict[str, Any]]
    competitors: list[dict[str, Any]]
    domains: list[dict[str, Any]]
    agreement: list[dict[str, Any]]
    change: dict[str, Any] | None = None
    holistic: dict[str, Any] | None = None
    _table: _core.InsightsTable = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data with names in camelCase, ready for JSON. A copy."""
        return {
            "batchIds": list(self.batch_ids),
            "batchStatus": self.batch_status.to_dict(),
            **{name: copy.deepcopy(getattr(self, name)) for name in _PARTS},
        }

    def explain(self, metric: str, *, model: str | None = None, location: str | None = None) -> list[dict[str, Any]]:
        """The question runs that a figure rests on.

        Args:
            metric: A metric of `summary` (`visibility`, `brandSOV`, …), or the path of a figure: `summary.visibility`,
                `models.<model>.visibility`, `competitors.<name>.visibility`, `competitors.<name>.shareOfVoice`,
                `domains.<domain>.share`.
            model: Of this model alone.
            location: Of this location alone.

        Returns:
            One mapping a question run: `batchId`, `cellKey`, `questionId`, `model`, `location`, `repeat`, `numerator`,
            `denominator`, `value`, `why`. The sums of `numerator` and `denominator` are those of the figure; `why` says
            why a question run adds nothing, and is None for one that does.

        Raises:
            ConfigError: There is no such figure, model or location.
        """
        found = self._table.explain(metric, model, location)
        if found is not None:
            return found
        models = [entry["model"] for entry in self.models]
        if model is not None and model not in models:
            raise ConfigError(f"model: there is no '{model}' in these insights; there are {', '.join(models)}")
        places = sorted({place["location"] for entry in self.models for place in entry["locations"]})
        if location is not None and location not in places:
            raise ConfigError(f"location: there is no '{location}' in these insights; there are {', '.join(places)}")
        names = [name for name, figure in self.summary.items() if isinstance(figure, dict) and "metric" in figure]
        raise ConfigError(
            f"metric: there is no figure '{metric}'; the metrics are brandSOV, {', '.join(names)}, and paths such as "
            "models.<model>.visibility, competitors.<name>.visibility, domains.<domain>.share",
            field="metric",
        )

    def to_pandas(self) -> Any:
        """The figures as a `pandas.DataFrame`; needs pandas."""
        from overheard import tables  # type: ignore[attr-defined, unused-ignore]

        return tables.to_pandas(self)

    def to_arrow(self) -> Any:
        """The figures as a `pyarrow.Table`; needs the extra `overheard[arrow]`."""
        from overheard import tables  # type: ignore[attr-defined, unused-ignore]

        return tables.to_arrow(self)


_PARTS = ("summary", "models", "questions", "competitors", "domains", "agreement", "change", "holistic")


async def measure(
    store: Any,
    batch_or_org: str | Org,
    *,
    since: Since | None = None,
    against: str | None = None,
    load_org: LoadOrg,
    load_batch: LoadBatch,
    at_work: Collection[str] = (),
) -> Insights:
    """Measures what a store holds.

    Args:
        store: A store with the methods of `InsightStore`.
        batch_or_org: A batch's id, an org's id or an `Org`. Of an org: its newest batch with a completed model run.
        since: With an org: all its batches made at or after this moment together, answers of a question in one cluster.
        against: The earlier batch to compare with; None: the org's batch before with a completed model run.
        load_org: Finds an org by id; raises `ConfigError` when there is none.
        load_batch: Finds a batch by id, with its model runs.
        at_work: Batches that this process works on.

    Raises:
        ConfigError: Names the batch or org that is not there, or what the store cannot do.
        StoreError: The store's rows cannot be paged.
    """
    reader = _Reader(store, load_org, load_batch)
    org, batches = await reader.chosen(batch_or_org, since)
    newest, together = batches[0], [batch.batch_id for batch in batches]
    # The same answers give the same intervals, whatever batch they are of and whenever they are measured.
    seed = int.from_bytes(hashlib.sha256(org.id.encode()).digest()[:8], "big")
    table = await reader.table(org, reversed(batches), seed)
    options = _options(batches, [await reader.analysed(batch) for batch in batches])
    report = json.loads(await asyncio.to_thread(table.measure, json.dumps(options)))
    earlier = await reader.earlier(newest, against, pooled=since is not None)
    change = None
    if earlier is not None:
        now = table if len(batches) == 1 else await reader.table(org, [newest], seed)
        before = await reader.table(org, [earlier], seed)
        change = {"against": earlier.batch_id, **json.loads(await asyncio.to_thread(now.compare, before))}
    return Insights(
        org=org,
        batch_ids=together,
        batch_status=BatchStatus.of(newest, alive=newest.batch_id in at_work),
        change=change,
        holistic=await reader.holistic(newest) if len(batches) == 1 else None,
        _table=table,
        **report,
    )


class _Reader:
    """What is asked of the store."""

    def __init__(self, store: Any, load_org: LoadOrg, load_batch: LoadBatch) -> None:
        if not callable(getattr(store, "insight_rows", None)):
            raise ConfigError(
                f"store: {type(store).__name__} has no insight_rows, so there is nothing to measure; "
                "see overheard.protocols.InsightStore",
                field="store",
            )
        self._store, self._load_org, self._load_batch = store, load_org, load_batch

    async def chosen(self, batch_or_org: str | Org, since: Since | None) -> tuple[Org, list[Batch]]:
        """The org, and the batches to measure, newest first."""
        moment = None if since is None else _milliseconds(since)
        if isinstance(batch_or_org, Org):
            org = batch_or_org
        else:
            batch = await self._load_batch(batch_or_org)
            if batch is not None:
                if since is not None:
                    raise ConfigError(f"since: '{batch_or_org}' is a batch; since goes with an org", field="since")
                return await self._org_of(batch), [batch]
            try:
                org = await self._load_org(batch_or_org)
            except ConfigError as error:
                raise ConfigError(
                    f"there is no batch and no org '{batch_or_org}' in the store", field="batch_or_org"
                ) from error
        batches = await self._completed(org.id, moment, most=1 if since is None else None)
        if not batches:
            when = "" if since is None else f" made at or after {since}"
            raise ConfigError(
                f"org '{org.id}' has no batch{when} with a completed model run; run it: overheard run {org.id}",
                field="since" if since is not None else "batch_or_org",
            )
        if isinstance(batch_or_org, Org):
            return org, batches
        return await self._org_of(batches[0]), batches

    async def _org_of(self, batch: Batch) -> Org:
        """The org as the batch keeps it: its answers were evaluated by these names and websites."""
        kept = batch.config.get("org")
        return Org.from_dict(kept) if isinstance(kept, Mapping) else await self._load_org(batch.org_id)

    async def _completed(
        self, org_id: str, since_ms: int | None, *, before: str | None = None, most: int | None = None
    ) -> list[Batch]:
        """The org's batches with a completed model run, newest first; `before`: those older than this batch alone."""
        if not callable(getattr(self._store, "org_batches", None)):
            raise ConfigError(
                f"store: {type(self._store).__name__} has no org_batches, so give a batch's id", field="store"
            )
        ids = list(await retried(self._store.org_batches, org_id, since_ms))
        if before is not None:
            ids = ids[ids.index(before) + 1 :] if before in ids else []
        found: list[Batch] = []
        for batch_id in ids:
            batch = await self._load_batch(batch_id)
            if batch is not None and _completed_models(batch):
                found.append(batch)
            if most is not None and len(found) == most:
                break
        return found

    async def earlier(self, newest: Batch, against: str | None, *, pooled: bool) -> Batch | None:
        """The batch to compare with; None: there is none, or several batches are taken together and none is named."""
        if against is None:
            if pooled or not callable(getattr(self._store, "org_batches", None)):
                return None
            found = await self._completed(newest.org_id, None, before=newest.batch_id, most=1)
            return found[0] if found else None
        batch = await self._load_batch(against)
        if batch is None:
            raise ConfigError(f"against: there is no batch '{against}' in the store", field="against")
        if batch.batch_id == newest.batch_id:
            raise ConfigError("against: a batch cannot be compared with itself", field="against")
        if batch.org_id != newest.org_id:
            raise ConfigError(
                f"against: batch '{against}' is of org '{batch.org_id}', not of '{newest.org_id}'", field="against"
            )
        return batch

    async def table(self, org: Org, batches: Any, seed: int) -> _core.InsightsTable:
        """The rows of the batches' completed model runs."""
        table = _core.InsightsTable(json.dumps(org.to_dict()), seed)
        for batch in batches:
            completed = _completed_models(batch)
            after: str | None = None
            while completed:
                page = await retried(self._store.insight_rows, batch.batch_id, after, _PAGE)
                table.add(batch.batch_id, [row for row in page if _counts(row, completed)])
                if len(page) < _PAGE:
                    break
                after = _next(page, after)
        return table

    async def analysed(self, batch: Batch) -> tuple[int, int]:
        """What the comparisons of the batch's models cost, and may have cost, over all revisions; micro-dollars."""
        return await holistic_spent(self._store, batch.batch_id)

    async def holistic(self, batch: Batch) -> dict[str, Any] | None:
        """The newest stored comparison of the models."""
        if not callable(getattr(self._store, "load_insights", None)):
            return None
        stored = await retried(self._store.load_insights, batch.batch_id)
        return None if stored is None else dict(stored.content)


def _completed_models(batch: Batch) -> set[str]:
    return {run.model for run in batch.model_runs if run.status == "completed"}


def _counts(row: Any, completed: set[str]) -> bool:
    """A row of a completed model run; also one whose model cannot be read: it is left out where it can be seen."""
    model = row.get("model") if isinstance(row, Mapping) else None
    return not isinstance(model, str) or not model.strip() or model in completed


def _next(page: Sequence[Any], after: str | None) -> str:
    """Where the next page starts."""
    last = page[-1]
    key = last.get("cell_key") if isinstance(last, Mapping) else None
    if not isinstance(key, str) or (after is not None and key.encode() <= after.encode()):
        raise StoreError(f"insight_rows: a page after {after!r} ends with cell_key {key!r}, so there is no next page")
    return key


def _options(batches: Sequence[Batch], analysed: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What the core is told beside the rows: the completed model runs, and charges that belong to no question run."""
    models: dict[str, dict[str, Any]] = {}
    for batch in batches:
        for run in batch.model_runs:
            if run.status != "completed":
                continue
            new = {"model": run.model, "surface": run.surface, **dict.fromkeys(_MONEY, 0)}
            told = models.setdefault(run.model, new)
            told["overheadMicroUsd"] += run.overhead_micro_usd
            told["overheadMaybeChargedMicroUsd"] += run.overhead_maybe_charged_micro_usd
    overheads = (sum(each) for each in zip(*analysed, strict=True))
    money = dict(zip(_MONEY, overheads, strict=True))
    money["overheadMicroUsd"] += sum(batch.overhead_micro_usd for batch in batches)
    return {"models": list(models.values()), **money}


_MONEY = ("overheadMicroUsd", "overheadMaybeChargedMicroUsd")


def _milliseconds(since: Since) -> int:
    """Milliseconds since 1970 UTC of the first moment that counts."""
    moment: Any = since
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip().replace("Z", "+00:00"))
        except ValueError as error:
            raise ConfigError(
                f"since: '{since}' is no date or time in ISO 8601, such as 2026-01-31 or 2026-01-31T08:00:00Z",
                field="since",
            ) from error
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if not isinstance(moment, datetime):
        raise ConfigError("since: must be a datetime, a date or a text in ISO 8601", field="since")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp() * 1000)
