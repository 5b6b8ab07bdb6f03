"""Holistic insights of a batch, once for each revision of its answers: measure, write, check, keep.

Whoever calls has claimed the work (`protocols.ClaimStore`) and ends the claim. Before money can be spent, the most that
it can be is noted in the claim; a claim that was taken over books what its owner before noted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from overheard._handlers import call
from overheard.batch import Batch, BatchInsights, Claim, now_ms
from overheard.errors import ConfigError, OverheardError, UnsupportedError
from overheard.holistic import call as paid
from overheard.holistic import money, rules
from overheard.holistic.check import Checked, check
from overheard.holistic.content import Holistic
from overheard.holistic.prompt import PROMPT_VERSION, request
from overheard.holistic.table import Table

if TYPE_CHECKING:
    from overheard._core import Session
    from overheard.pipeline import Pipeline

log = logging.getLogger("overheard")

Mode = Literal["auto", "model", "rules", "off"]

_DEFAULT_LEASE_MS = 60_000
_LONGEST_WHY = 500


@dataclass(frozen=True)
class _Written:
    """What was written and what it cost; `cost_micro_usd` None: unpriced."""

    checked: Checked
    model: str | None = None
    why: str | None = None
    cost_micro_usd: int | None = 0
    maybe_charged_micro_usd: int = 0


class _ClaimLost(Exception):
    """Another process has the claim: nothing may be bought or kept."""


async def analyse(
    pipeline: Pipeline,
    batch_id: str,
    claim: Claim,
    *,
    mode: Mode = "auto",
    on_session: Callable[[Session], None] | None = None,
    on_requests: Callable[[int], None] | None = None,
) -> BatchInsights | None:
    """Writes the holistic insights of a batch for the claim's revision, and keeps them in the pipeline's store.

    Args:
        pipeline: Its store is read and written, the extraction model of its settings is asked.
        batch_id: The batch.
        claim: Of the work `holistic:<batch_id>`, granted to the caller, who ends it afterwards.
        mode: `auto`: a model when the batch was extracted by one, else rules; `model`: a model also where extraction
            was local; `rules`: never a model; `off`: nothing is done. A model that cannot be asked (no key, too little
            of `max_cost` left) or whose reply cannot be used twice leaves the writing to the rules, and `why` says so.
        on_session: Called with the session of the paid call, so that a stop can reach it: its `stop()` gives the call
            its grace and leaves the writing to the rules.
        on_requests: Called with the number of HTTP requests that were made.

    Returns:
        The row as it was kept; the stored one when this revision was written before. A store that keeps neither
        insights nor facts is told in the log, and the row is returned all the same. None: `off`, a store that has
        nothing to measure (no `insight_rows`), or another process took the claim over.

    Raises:
        ConfigError: There is no such batch, or `mode` is none of the four words.
        StoreError: The store did not answer.
    """
    if mode not in ("auto", "model", "rules", "off"):
        raise ConfigError(f"holistic: '{mode}' is none of auto, model, rules, off", field="holistic")
    if mode == "off":
        return None
    store = pipeline.store
    if not callable(getattr(store, "insight_rows", None)):
        log.info("Batch %s: this store has no insight_rows, so there is nothing to compare", batch_id)
        return None
    before = await money.load(store, batch_id)
    if before is not None and before.revision >= claim.revision:
        return before  # written by an owner that died before it could say so: nothing is paid twice
    batch: Batch | None = await call(store.load_batch, batch_id)
    if batch is None:
        raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
    table = Table.of(await _measured(pipeline, batch_id))
    earlier, lost = (0, 0) if before is None else money.spent_of(before), money.noted(claim)
    work = _Work(pipeline, batch, claim, table, sum(earlier) + lost, lost, on_session, on_requests)
    try:
        written = await work.written(mode)
        await work.renew(None)  # a row of a revision that another process writes now is not ours to write
    except _ClaimLost:
        log.warning("Batch %s: another process took the holistic analysis over", batch_id)
        return None
    row = _row(batch, claim, written, earlier, lost)
    if not await money.save(store, row):
        log.warning("Batch %s: this store keeps no holistic insights (it has no save_insights, no save_fact)", batch_id)
    _say(batch_id, written)
    return row


@dataclass(frozen=True)
class _Work:
    pipeline: Pipeline
    batch: Batch
    claim: Claim
    table: Table
    #: Micro-dollars of earlier revisions, and of an owner of this claim that died.
    spent_before: int
    lost: int
    on_session: Callable[[Session], None] | None
    on_requests: Callable[[int], None] | None

    async def written(self, mode: Mode) -> _Written:
        if why := self._why_not(mode):
            return self._by_rules(why)
        asked = request(self.table)
        settings = self.pipeline.settings
        try:
            price = paid.quote(settings, asked)
        except (ConfigError, UnsupportedError) as error:
            return self._by_rules(str(error))
        left = await self._left()
        if left is not None and left < price.worst_case_micro_usd:
            worst = _dollars(price.worst_case_micro_usd)
            return self._by_rules(f"max_cost leaves {_dollars(left)}, and asking {price.model} may cost {worst}")
        most = price.most_micro_usd if left is None else min(left, price.most_micro_usd)
        await self.renew(money.note_of(self.lost + most))
        try:
            answer = await paid.ask(settings, asked, most, self.on_session)
        except (ConfigError, UnsupportedError) as error:
            return self._by_rules(str(error))  # before anything was sent
        except OverheardError as error:
            return self._by_rules(f"the call of {price.model} ended without a bill: {error}", maybe=most)
        if self.on_requests is not None:
            self.on_requests(answer.attempts)
        return self._judged(answer)

    def _why_not(self, mode: Mode) -> str | None:
        if mode == "rules":
            return "rules were asked for"
        if not self.table.known:
            return "there is no data to compare"
        # A batch that another system made says nothing of its extraction.
        if mode == "auto" and self.batch.config.get("extraction") == "local":
            return "extraction is local: no model is asked"
        return None

    async def _left(self) -> int | None:
        cap = self.batch.config.get("max_cost_micro_usd")
        if cap is None:
            return None
        spent = await money.batch_spent(self.pipeline.store, self.batch)
        return max(0, int(cap) - spent - self.spent_before)

    async def renew(self, note: str | None) -> None:
        """Makes the claim last, with the note; a store without claims has none to lose."""
        renew = getattr(self.pipeline.store, "renew_claim", None)
        if not callable(renew) or self.claim.owner is None:
            return
        lease_ms = int(self.pipeline.settings.values.get("lease_ms", _DEFAULT_LEASE_MS))
        name = claim_name(self.batch.batch_id)
        if not await call(renew, name, self.claim.revision, self.claim.owner, lease_ms, note):
            raise _ClaimLost

    def _judged(self, answer: paid.Answer) -> _Written:
        checked, model, why = check(answer.reply, self.table), None, None
        if answer.error is not None:
            why = f"{answer.model} gave nothing to use in {answer.attempts} requests: {answer.error}"[:_LONGEST_WHY]
        elif checked.is_empty:
            why = f"nothing that {answer.model} wrote holds in the table"
        else:
            model = answer.model
        if why is not None:
            dropped, checked = checked.dropped, rules.write(self.table)
            checked.dropped = dropped
        return _Written(checked, model, why, answer.cost_micro_usd, answer.maybe_charged_micro_usd)

    def _by_rules(self, why: str, maybe: int = 0) -> _Written:
        return _Written(rules.write(self.table), why=why[:_LONGEST_WHY], maybe_charged_micro_usd=maybe)


def claim_name(batch_id: str) -> str:
    """The name of the claim of a batch's holistic analysis."""
    return f"holistic:{batch_id}"


async def _measured(pipeline: Pipeline, batch_id: str) -> dict[str, Any]:
    return (await pipeline.insights(batch_id)).to_dict()


def _row(batch: Batch, claim: Claim, written: _Written, earlier: tuple[int, int], lost: int) -> BatchInsights:
    version = rules.RULES_VERSION if written.model is None else PROMPT_VERSION
    holistic = Holistic(
        source="rules" if written.model is None else "model",
        model=written.model,
        prompt_version=version,
        revision=claim.revision,
        agreements=tuple(written.checked.agreements),
        disagreements=tuple(written.checked.disagreements),
        actions=tuple(written.checked.actions),
        dropped=dict(written.checked.dropped),
        cost_micro_usd=written.cost_micro_usd,
        why=written.why,
    )
    return BatchInsights(
        batch_id=batch.batch_id,
        revision=claim.revision,
        org_id=batch.org_id,
        model=written.model,
        prompt_version=version,
        content=holistic.to_dict() | {money.EARLIER: {"cost": earlier[0], "maybeCharged": earlier[1]}},
        cost_micro_usd=written.cost_micro_usd,
        maybe_charged_micro_usd=lost + written.maybe_charged_micro_usd,
        created_at_ms=now_ms(),
    )


def _say(batch_id: str, written: _Written) -> None:
    checked, dropped = written.checked, sum(written.checked.dropped.values())
    author = written.model or f"rules ({written.why})"
    log.info(
        "Holistic insights of batch %s by %s: %d agreements, %d disagreements, %d actions, %d dropped",
        batch_id,
        author,
        len(checked.agreements),
        len(checked.disagreements),
        len(checked.actions),
        dropped,
    )


def _dollars(micro_usd: int) -> str:
    return f"${micro_usd / 1_000_000:.6f}"
