"""Stored answers by the rules of now: replays a batch page by page, writes what changed, says which answers and why.

No engine is asked and no answer is touched. Every page is one transaction; what is current is skipped, so that a
rescore that was stopped goes on where it was. What earlier extractions cost stays in the books.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from overheard import _core, _driver, _owners
from overheard._batches import refuse_locked
from overheard._handlers import call, has_facts, has_leases
from overheard._quiet import QuietText
from overheard._replayed import AnswerChange, FieldChange, compared, edited_fields
from overheard._retry import retried
from overheard.batch import Batch, Lease
from overheard.errors import BatchLocked, ConfigError, LeaseLost
from overheard.org import RULE_LISTS, Org
from overheard.settings import Settings, money

if TYPE_CHECKING:
    from overheard._core import Extraction, QuestionRun

__all__ = ["AnswerChange", "FieldChange", "Rescore", "replayed"]

log = logging.getLogger("overheard")

RULE_FIELDS = ("name", "websites", "aliases", "competitors", *RULE_LISTS)
"""Fields of an org that the rules of extraction read."""
_PAGE = 100  # answers of one transaction
_KEPT_CHANGES = 1_000
_LEASE_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """What a rescore of a batch did, or, as a dry run, would do.

    Attributes:
        batch_id: The batch.
        org_id: The org.
        dry_run: Nothing was written.
        answers: Answered question runs looked at.
        rescored: Extractions that were made anew.
        current: Those that were skipped: made by these rules, this entry.
        not_extracted: Answers without an extraction: `extract` makes theirs.
        failed: Extractions that the model could not make; the earlier one stays.
        changed: Answers in which something changed.
        fields: Field to the number of answers in which it changed.
        changes: The first 1,000 changed answers.
        before: `visibility` and `shareOfVoice` in percent over the answers looked at, by the earlier extractions; None:
            nothing to measure.
        after: The same, by the new ones.
        cost_micro_usd: What the extraction model was charged for this, beside what earlier extractions cost.
        maybe_charged_micro_usd: What it may have been charged beside it.
        notes: What a person should know.
    """

    batch_id: str
    org_id: str
    dry_run: bool
    answers: int = 0
    rescored: int = 0
    current: int = 0
    not_extracted: int = 0
    failed: int = 0
    changed: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    changes: Sequence[AnswerChange] = ()
    before: Mapping[str, float | None] = field(default_factory=dict)
    after: Mapping[str, float | None] = field(default_factory=dict)
    cost_micro_usd: int = 0
    maybe_charged_micro_usd: int = 0
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = {**vars(self), "fields": dict(self.fields), "notes": list(self.notes)}
        return {**plain, "changes": [change.to_dict() for change in self.changes]}


async def replayed(
    store: Any,
    settings: Settings,
    batch: Batch,
    org: Org,
    *,
    models: Sequence[str] | None = None,
    dry_run: bool = False,
    extraction: Literal["local", "llm"] = "local",
    max_cost: str | int | Decimal | None = None,
    on_change: Callable[[AnswerChange], None] | None = None,
) -> Rescore:
    """Replays a batch; see `Pipeline.rescore`.

    Args:
        store: A store with the methods of `ReplayStore`.
        settings: For the extraction model.
        batch: As it is stored.
        org: Whose entry the rules are told.
        models: Only answers of these; None: all.
        dry_run: Write nothing.
        extraction: Who extracts: rules, or the extraction model (paid).
        max_cost: With `llm`: most it may cost, in dollars.
        on_change: Called with each changed answer, in the order of the cell keys.

    Raises:
        BatchLocked: Somebody works on a model run of the batch.
        ConfigError: Names what is wrong.
        LeaseLost: Another process took a model run over while this one was halted.
    """
    _check(store, batch, org, models, extraction, max_cost)
    work = _Work(store, settings, batch, org, models, dry_run=dry_run, on_change=on_change)
    if extraction == "llm":
        work.cap = money("max_cost", max_cost if max_cost is not None else 0)
    await work.prepare()
    async with _held(store, batch, _lease_ms(settings), needed=not dry_run) as renew:
        async for page in work.pages():
            await renew()
            await work.take(page, paid=extraction == "llm")
        if not dry_run:
            await work.finish()
    return await work.result()


def _check(
    store: Any, batch: Batch, org: Org, models: Sequence[str] | None, extraction: str, max_cost: object | None
) -> None:
    missing = [name for name in ("answers", "extractions") if not callable(getattr(store, name, None))]
    if missing or getattr(store, "light", False):
        what = f"{type(store).__name__} lacks {', '.join(missing)}" if missing else "a light store keeps no evaluations"
        raise ConfigError(
            f"store: {what}, so there is nothing to extract again; see overheard.protocols.ReplayStore", field="store"
        )
    if org.id != batch.org_id:
        raise ConfigError(
            f"org: batch {batch.batch_id} is of org '{batch.org_id}', and this is org '{org.id}'", field="org"
        )
    known = [run.model for run in batch.model_runs]
    if unknown := [model for model in models or () if model not in known]:
        raise ConfigError(
            f"models: batch {batch.batch_id} has no model '{unknown[0]}'; it has {', '.join(known)}", field="models"
        )
    if extraction not in ("local", "llm"):
        raise ConfigError(f"extraction: '{extraction}' is none of local, llm", field="extraction")
    if extraction == "llm" and max_cost is None:
        raise ConfigError(
            "max_cost: extracting again by a model is paid: say what it may cost at most, in dollars", field="max_cost"
        )


class _Work:
    """One replay."""

    def __init__(
        self,
        store: Any,
        settings: Settings,
        batch: Batch,
        org: Org,
        models: Sequence[str] | None,
        *,
        dry_run: bool,
        on_change: Callable[[AnswerChange], None] | None,
    ) -> None:
        self.store, self.settings, self.batch, self.org = store, settings, batch, org
        self.models = None if models is None else set(models)
        self.dry_run = dry_run
        self.on_change = on_change
        self.cap: int | None = None
        planned = batch.config.get("org")
        self.planned = Org.from_dict(planned) if isinstance(planned, Mapping) else None
        self.edited: list[str] = []
        if self.planned is not None:
            self.edited = edited_fields(self.planned.to_dict(), org.to_dict(), RULE_FIELDS)
        self.counts: Counter[str] = Counter()
        self.fields: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.changes: list[AnswerChange] = []
        self.money = Counter(cost=0, maybe=0, unpriced=0)
        self.spent = Counter(cost=0, maybe=0)
        self.notes: list[str] = []
        plain = json.dumps(org.to_dict())
        self.tables = (_core.InsightsTable(plain, 0), _core.InsightsTable(plain, 0))
        self.seen: dict[str, None] = {}

    async def prepare(self) -> None:
        """Compiles the rules: for extractions by a model with the variations of the name that it gave."""
        plain = json.dumps(self.org.to_dict())
        self.local = _core.LocalExtractor(plain, [])
        told = await self._variations()
        self.with_names = self.local if told is None else _core.LocalExtractor(plain, told)

    async def _variations(self) -> list[str] | None:
        """The model's variations of the name: of this entry; else of the entry before, without those it has no more."""
        if not has_facts(self.store):
            return None
        kept = self.batch.config.get("settings")
        model = kept.get("extraction_model") if isinstance(kept, Mapping) else None
        model = model or self.settings.extraction_model
        names = _names(await retried(self.store.load_fact, f"names:{model}:{self.local.names_key}"))
        if names is not None or self.planned is None:
            return names
        before = _core.LocalExtractor(json.dumps(self.planned.to_dict()), [])
        names = _names(await retried(self.store.load_fact, f"names:{model}:{before.names_key}"))
        if names is None:
            return None
        gone = {name.casefold() for name in before.names} - {name.casefold() for name in self.local.names}
        return [name for name in names if name.casefold() not in gone]

    async def pages(self) -> AsyncIterator[list[tuple[QuestionRun, Extraction | None]]]:
        """Answers with their extractions, in the order of the cell keys."""
        answers, after = self.store.answers, None
        waiting: deque[Extraction] = deque()
        read_to, ended = None, False
        while True:
            page = [_run(entry) for entry in await retried(answers, self.batch.batch_id, after, _PAGE)]
            if not page:
                return
            last = page[-1].key
            while not ended and (read_to is None or read_to.encode() < last.encode()):
                found = [
                    _extraction(entry)
                    for entry in await retried(self.store.extractions, self.batch.batch_id, read_to, _PAGE)
                ]
                waiting.extend(found)
                ended = len(found) < _PAGE
                read_to = found[-1].key if found else read_to
            known: dict[str, Extraction] = {}
            while waiting and waiting[0].key.encode() <= last.encode():
                extraction = waiting.popleft()
                known[extraction.key] = extraction
            yield [(run, known.get(run.key)) for run in page if self.models is None or run.model in self.models]
            if len(page) < _PAGE:
                return
            after = last

    async def take(self, page: Sequence[tuple[QuestionRun, Extraction | None]], *, paid: bool) -> None:
        """Replays a page, writes it, and keeps what changed."""
        self.counts["answers"] += len(page)
        self.counts["not_extracted"] += sum(earlier is None for _, earlier in page)
        whole = [(run, earlier) for run, earlier in page if earlier is not None]
        due = [pair for pair in whole if paid or not self._is_current(pair[1])]
        self.counts["current"] += len(whole) - len(due)
        fresh = await (self._by_model(due) if paid else self._by_rules(due))
        if due and not self.dry_run:
            await retried(self.store.save_extractions, [one for one in fresh if one is not None])
        newest = {run.key: one for (run, _), one in zip(due, fresh, strict=True) if one is not None}
        for run, earlier in due:
            after = newest.get(run.key)
            if after is None:
                continue
            self.counts["rescored"] += 1
            self._book(earlier, after)
            if (change := compared(run, earlier, after, self.edited)) is not None:
                self.counts["changed"] += 1
                self.fields.update({each.field: 1 for each in change.changes})
                if len(self.changes) < _KEPT_CHANGES:
                    self.changes.append(change)
                if self.on_change is not None:
                    self.on_change(change)
        for run, _ in whole:
            self.seen[run.model] = None
        before = [_row(run, earlier) for run, earlier in whole]
        after_rows = [_row(run, newest.get(run.key, earlier)) for run, earlier in whole]
        await asyncio.to_thread(self.tables[0].add, self.batch.batch_id, before)
        await asyncio.to_thread(self.tables[1].add, self.batch.batch_id, after_rows)

    def _rules(self, earlier: Extraction) -> _core.LocalExtractor:
        return self.with_names if earlier.method == "llm" else self.local

    def _is_current(self, earlier: Extraction) -> bool:
        rules = self._rules(earlier)
        return (earlier.extractor_version, earlier.fingerprint) == (rules.version, rules.fingerprint)

    async def _by_rules(self, due: Sequence[tuple[QuestionRun, Extraction]]) -> list[Extraction | None]:
        made: dict[str, Extraction] = {}
        for rules in {id(each): each for each in (self.local, self.with_names)}.values():
            mine = [pair for pair in due if self._rules(pair[1]) is rules]
            if mine:
                for one in await asyncio.to_thread(rules.replay, mine):
                    made[one.key] = one
        return [made.get(run.key) for run, _ in due]

    async def _by_model(self, due: Sequence[tuple[QuestionRun, Extraction]]) -> list[Extraction | None]:
        """Paid. One that fails leaves the earlier extraction, with what the try was charged."""
        if not due:
            return []
        left = max(0, (self.cap or 0) - self.spent["cost"] - self.spent["maybe"])
        spec = {
            "org": self.org.to_dict(),
            "names": self.with_names.names,
            "max_cost_micro_usd": left,
            "settings": self.settings.to_json_dict(),
        }
        made = await _driver.drive("extract", QuietText(json.dumps(spec)), {}, records=[run for run, _ in due])
        told: list[Extraction | None] = []
        for (_, earlier), new in zip(due, made, strict=True):
            cost, maybe = new.cost_micro_usd, new.maybe_charged_micro_usd
            self.spent["cost"] += cost or 0
            self.spent["maybe"] += maybe
            kept = earlier if new.error is not None else new
            if new.error is not None:
                self.counts["failed"] += 1
                self.reasons[str(new.error)] += 1
            asked = new.error is None or cost != 0 or maybe != 0
            told.append(_with_money(kept, earlier, cost, maybe) if asked else None)
        return told

    def _book(self, before: Extraction, after: Extraction) -> None:
        self.money["cost"] += (after.cost_micro_usd or 0) - (before.cost_micro_usd or 0)
        self.money["maybe"] += after.maybe_charged_micro_usd - before.maybe_charged_micro_usd
        self.money["unpriced"] += (after.cost_micro_usd is None) - (before.cost_micro_usd is None)

    async def finish(self) -> None:
        """The batch's plan keeps the entry it was extracted with; the summary what it sums up to."""
        config = self.batch.config
        if self.planned is not None and self.edited and self.models is None:
            told = {name: getattr(self.org, name) for name in RULE_FIELDS}
            org = replace(self.planned, **told)
            changed = replace(self.batch, config={**config, "org": org.to_dict()}, model_runs=())
            await retried(self.store.save_batch, changed)
        if self.counts["rescored"] and has_facts(self.store):
            name = f"summary:{self.batch.batch_id}"
            if said := await retried(self.store.load_fact, name):
                summary = json.loads(said)
                for entry, part in (
                    ("total_cost_micro_usd", "cost"),
                    ("maybe_charged_micro_usd", "maybe"),
                    ("unpriced", "unpriced"),
                ):
                    if entry in summary:
                        summary[entry] += self.money[part]
                # Also when it says the same: it was noted after the newest extraction.
                await retried(self.store.save_fact, name, json.dumps(summary))
        if self.counts["rescored"] and callable(load := getattr(self.store, "load_insights", None)):
            stored = await retried(load, self.batch.batch_id)
            if stored is not None and self.counts["changed"]:
                self.notes.append(
                    f"the holistic insights (revision {stored.revision}) rest on the earlier extraction; they are "
                    "written anew when the batch's answers change"
                )

    async def result(self) -> Rescore:
        """What was done."""
        if self.counts["not_extracted"]:
            self.notes.append(
                f"{self.counts['not_extracted']} answers are not extracted yet: overheard extract {self.batch.batch_id}"
            )
        for reason, count in self.reasons.most_common(_SHOWN_REASONS):
            self.notes.append(f"{count} could not be extracted by the model: {reason}")
        if self.models is not None and self.edited:
            self.notes.append(
                "the batch keeps the org's entry it had, because not all of its models were rescored; its insights "
                "name the org by it"
            )
        before, after = [await asyncio.to_thread(self._figures, table) for table in self.tables]
        return Rescore(
            batch_id=self.batch.batch_id,
            org_id=self.batch.org_id,
            dry_run=self.dry_run,
            fields=dict(sorted(self.fields.items())),
            changes=tuple(self.changes),
            before=before,
            after=after,
            cost_micro_usd=self.spent["cost"],
            maybe_charged_micro_usd=self.spent["maybe"],
            notes=tuple(self.notes),
            **{name: self.counts[name] for name in _COUNTS},
        )

    def _figures(self, table: _core.InsightsTable) -> dict[str, float | None]:
        """Measured as `Pipeline.insights` does, over the answers looked at, of whatever model run."""
        nothing = {"overheadMicroUsd": 0, "overheadMaybeChargedMicroUsd": 0}
        models = [{"model": model, "surface": "", **nothing} for model in self.seen]
        summary = json.loads(table.measure(json.dumps({"models": models, **nothing})))["summary"]
        share = summary.get("brandSOV")
        return {
            "visibility": (summary.get("visibility") or {}).get("value"),
            "shareOfVoice": None if share is None else float(share),
        }


_SHOWN_REASONS = 3
_COUNTS = ("answers", "rescored", "current", "not_extracted", "failed", "changed")


def _row(run: QuestionRun, extraction: Extraction) -> dict[str, Any]:
    """A row of `InsightStore.insight_rows`."""
    evaluation = extraction.evaluation
    return {
        "cell_key": run.key,
        "question_id": run.question_id,
        "question": run.question,
        "model": run.model,
        "location": run.location,
        "repeat": run.repeat,
        "status": run.status,
        "extracted": True,
        "mentioned": evaluation.mentioned,
        "citation": evaluation.citation,
        "sentiment": evaluation.sentiment,
        "mention_rank": evaluation.mention_rank,
        "share_of_voice": evaluation.share_of_voice,
        "competitors": [brand.name for brand in extraction.competitors],
        "citations": [
            {"domain": entry.domain, "type": entry.ownership, "position": entry.position, "cited": entry.cited}
            for entry in extraction.citations
        ],
    }


def _with_money(kept: Extraction, earlier: Extraction, cost: int | None, maybe: int) -> Extraction:
    """`kept` with what both extractions were charged. A known part of an unknown whole stands beside what may be."""
    total, perhaps = earlier.cost_micro_usd, earlier.maybe_charged_micro_usd + maybe
    if total is None or cost is None:
        perhaps += (total or 0) + (cost or 0)
        total = None
    else:
        total += cost
    plain = {**kept.to_dict(), "cost_micro_usd": total, "maybe_charged_micro_usd": perhaps}
    return _core.Extraction.from_dict(plain)


def _names(text: str | None) -> list[str] | None:
    try:
        names = json.loads(text or "null")
    except ValueError:
        return None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else None


def _run(entry: Any) -> QuestionRun:
    return _core.QuestionRun.from_dict(entry) if isinstance(entry, Mapping) else entry


def _extraction(entry: Any) -> Extraction:
    return _core.Extraction.from_dict(entry) if isinstance(entry, Mapping) else entry


def _lease_ms(settings: Settings) -> int:
    return int(settings.values.get("lease_ms", _LEASE_MS))


@asynccontextmanager
async def _held(store: Any, batch: Batch, ttl_ms: int, *, needed: bool) -> AsyncIterator[Callable[[], Any]]:
    """Holds the leases of all model runs of a batch; gives what renews them when it is time.

    Raises:
        BatchLocked: Somebody works on one of them; says who.
    """

    async def nothing() -> None:
        return None

    if needed and not has_leases(store):
        refuse_locked(batch, batch.model_runs)
    if not needed or not has_leases(store):
        yield nothing
        return
    with _owners.session() as owner:
        held: dict[str, int] = {}
        renewed = time.monotonic()

        async def renew() -> None:
            nonlocal renewed
            if (time.monotonic() - renewed) * 4000 < ttl_ms:
                return
            for run_id, fence in held.items():
                if not await retried(store.renew_lease, run_id, owner, fence, ttl_ms):
                    raise LeaseLost(f"batch {batch.batch_id}: another process took a model run over; rescore it again")
            renewed = time.monotonic()

        try:
            for run in batch.model_runs:
                lease: Lease = await retried(store.acquire_lease, run.run_id, owner, ttl_ms)
                if not lease.granted and lease.owner is not None and _owners.is_dead(lease.owner):
                    await retried(store.release_lease, run.run_id, lease.owner, lease.fence)
                    lease = await retried(store.acquire_lease, run.run_id, owner, ttl_ms)
                if not lease.granted:
                    who = "somebody" if lease.owner is None else _owners.describe(lease.owner)
                    raise BatchLocked(
                        f"batch {batch.batch_id} is locked: {who} works on {run.model}; rescore it when that has ended",
                        model=run.model,
                    )
                held[run.run_id] = lease.fence
            yield renew
        finally:
            for run_id, fence in held.items():
                await asyncio.shield(call(store.release_lease, run_id, owner, fence))
