"""What follows the end of a model run and of a batch: its score, `on_batch_finished`, the holistic analysis.

Asks no question and writes no answer. The work that follows a batch is claimed in the store under a mark of the
answers, so that it is done once for each set of answers, whoever sees the end first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from overheard import _owners
from overheard._handlers import call, has_claims
from overheard._labels import surface_words
from overheard._retry import retried
from overheard.batch import Batch, BatchStatus, Claim, ModelRun, now_ms
from overheard.errors import describe
from overheard.holistic import analyse

if TYPE_CHECKING:
    from overheard._core import Session
    from overheard.pipeline import Pipeline

log = logging.getLogger("overheard")

Holistic = Literal["auto", "model", "rules", "off"]
OnBatchFinished = Callable[[BatchStatus], Any]

_PAGE = 2_000  # keys
_DEFAULT_LEASE_MS = 60_000
_RENEWALS = 3  # of a claim, in its life


@dataclass(frozen=True)
class Mark:
    """What the answers of a batch are.

    Attributes:
        text: SHA-256 over key, status, extracted and charges of every cell; equal for equal answers.
        extracted: Cells whose extraction is stored.
    """

    text: str
    extracted: int


async def mark_of(store: Any, batch_id: str) -> Mark:
    """The mark of a batch, from the pages that every store has."""
    digest, extracted, after = hashlib.sha256(), 0, None
    while True:
        page = await retried(store.existing_keys, batch_id, after, _PAGE)
        for entry in page:
            key, status, is_extracted, cost, maybe = (
                _field(entry, name)
                for name in ("key", "status", "extracted", "cost_micro_usd", "maybe_charged_micro_usd")
            )
            extracted += bool(is_extracted)
            digest.update(f"{key}\0{status}\0{bool(is_extracted):d}\0{cost or 0}\0{maybe or 0}\n".encode())
            after = key
        if len(page) < _PAGE:
            return Mark(digest.hexdigest(), extracted)


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name)


class ProcessClaims:
    """Claims for a store that keeps none: once in this process."""

    def __init__(self) -> None:
        """Nothing is claimed yet."""
        self._claims: dict[str, list[_Kept]] = {}

    async def claim_once(self, name: str, mark: str, owner: str, ttl_ms: int) -> Claim:
        """As `ClaimStore.claim_once`."""
        kept = self._claims.setdefault(name, [])
        found = next((entry for entry in kept if entry.mark == mark), None)
        if found is None:
            kept.append(_Kept(mark, owner))
            return Claim(granted=True, revision=len(kept), owner=owner, expires_at_ms=now_ms() + ttl_ms)
        revision = kept.index(found) + 1
        if found.done or found.takeovers or not _owners.is_dead(found.owner):
            return Claim(granted=False, revision=revision, done=found.done, owner=found.owner)
        kept[revision - 1] = replace(found, owner=owner, takeovers=1)
        return Claim(granted=True, revision=revision, taken_over=True, note=found.note, owner=owner)

    async def renew_claim(self, name: str, revision: int, owner: str, ttl_ms: int, note: str | None = None) -> bool:
        """As `ClaimStore.renew_claim`; a claim lasts as long as its owner."""
        return self._changed(name, revision, owner, {} if note is None else {"note": note})

    async def finish_claim(self, name: str, revision: int, owner: str) -> bool:
        """As `ClaimStore.finish_claim`."""
        return self._changed(name, revision, owner, {"done": True})

    def _changed(self, name: str, revision: int, owner: str, values: Mapping[str, Any]) -> bool:
        kept = self._claims[name]
        if kept[revision - 1].owner != owner:
            return False
        kept[revision - 1] = replace(kept[revision - 1], **values)
        return True


@dataclass(frozen=True)
class _Kept:
    mark: str
    owner: str
    takeovers: int = 0
    done: bool = False
    note: str | None = None


# Of this process, whatever pipeline claims: a batch's id is in the name.
_process_claims = ProcessClaims()


class Finish:
    """Does what follows, for one pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        load: Callable[[str], Awaitable[Batch | None]],
        on_batch_finished: OnBatchFinished | None,
        holistic: Holistic,
    ) -> None:
        """Does nothing yet.

        Args:
            pipeline: Whose store, settings and metrics are used.
            load: Loads a batch.
            on_batch_finished: Called with the status, once for each set of answers; async or plain.
            holistic: Who writes the holistic insights; `off`: nobody.
        """
        self.pipeline = pipeline
        self._load = load
        self.on_batch_finished = on_batch_finished
        self.holistic = holistic

    # --- a model run ------------------------------------------------------------------------------------------------

    async def model_run_ended(self, run: ModelRun, label: str, *, scored: bool) -> None:
        """Says that a model run has ended, and keeps its score. Raises nothing: the answers are stored, whatever fails.

        Args:
            run: As it was stored.
            label: What log lines call it.
            scored: Its answers are extracted, so that they can be measured.
        """
        if run.status != "completed":
            log.info("[%s] Failed: %s", label, run.error_message)
            return
        score = None
        try:
            score = (await _scores(self.pipeline, run.batch_id)).get(run.model) if scored else None
            save = getattr(self.pipeline.store, "save_score", None)
            if score is not None and save is not None:
                await retried(save, run.run_id, score)
        except Exception as error:
            log.warning("the score of %s is not kept: %s: %s", run.model, type(error).__name__, describe(error))
        told = "n/a" if score is None else f"{score:.1f}"
        log.info("[%s] Completed: %d queries, score: %s", label, run.query_count, told)

    async def keep_scores(self, batch: Batch) -> None:
        """Keeps the scores of completed model runs anew: their extractions changed. Raises nothing, as above."""
        save = getattr(self.pipeline.store, "save_score", None)
        if save is None:
            return
        try:
            scores = await _scores(self.pipeline, batch.batch_id)
            for run in batch.model_runs:
                if run.status == "completed" and (score := scores.get(run.model)) is not None:
                    await retried(save, run.run_id, score)
        except Exception as error:
            log.warning("the scores are not kept: %s: %s", type(error).__name__, describe(error))

    # --- a batch ----------------------------------------------------------------------------------------------------

    async def look(
        self,
        batch: Batch,
        status: BatchStatus,
        *,
        announced: bool,
        extracted: bool = False,
        sessions: set[Session] | None = None,
    ) -> int:
        """Does what follows the end of a batch when it has ended and nobody has done it. Loses no summary: a failure is
        logged, and a later look does it.

        Args:
            batch: With its model runs.
            status: Where it stands.
            announced: The log already says that it has ended, or it is not this start that ended it.
            extracted: Only when something of it is extracted: its answers may still wait for their extraction.
            sessions: Where the session of a paid call stands while it runs, so that a stop reaches it.

        Returns:
            HTTP requests that were made.
        """
        made: list[int] = []
        if not (status.finished and status.completed):
            return 0
        if not announced:
            completed = [run for run in batch.model_runs if run.status == "completed"]
            log.info("[Batch %s] ALL RUNS COMPLETE", batch.batch_id)
            log.info("[Batch %s] Surfaces completed: %s", batch.batch_id, surface_words(completed))
            log.info("[Batch %s] Ready for holistic insights", batch.batch_id)
        try:
            await self._follow(batch, status, set() if sessions is None else sessions, made, extracted=extracted)
        except Exception as error:
            log.error(
                "what follows the end of batch %s was not done, a later look does it: %s: %s",
                batch.batch_id,
                type(error).__name__,
                describe(error),
            )
        return sum(made)

    async def _follow(
        self, batch: Batch, status: BatchStatus, sessions: set[Session], made: list[int], *, extracted: bool
    ) -> None:
        if self.on_batch_finished is None and self.holistic == "off":
            return
        mark = await mark_of(self.pipeline.store, batch.batch_id)
        if extracted and not mark.extracted:
            return
        after = await self._load(batch.batch_id)
        if after is None or _leases(after) != _leases(batch):
            return  # somebody has begun to work on it: the look at their end does it
        if (callback := self.on_batch_finished) is not None:

            async def tell(_: Claim) -> None:
                await call(callback, status)

            await self._once(f"finished:{batch.batch_id}", mark, "on_batch_finished", tell)
        if self.holistic != "off":

            async def analysis(claim: Claim) -> None:
                log.info("Triggering holistic analysis")
                before = set(sessions)
                try:
                    await analyse(
                        self.pipeline,
                        batch.batch_id,
                        claim,
                        mode=self.holistic,
                        on_session=sessions.add,
                        on_requests=made.append,
                    )
                finally:
                    sessions.intersection_update(before)

            await self._once(f"holistic:{batch.batch_id}", mark, "the holistic analysis", analysis)

    async def _once(self, name: str, mark: Mark, what: str, work: Callable[[Claim], Awaitable[None]]) -> None:
        """Does the work when the claim is granted. Work that raises is given once more to a later look."""
        store = self.pipeline.store
        claims: Any = store if has_claims(store) else _process_claims
        life = int(self.pipeline.settings.values.get("lease_ms", _DEFAULT_LEASE_MS))
        with _owners.session() as owner:
            claim: Claim = await retried(claims.claim_once, name, mark.text, owner, life)
            if not claim.granted:
                return
            if claim.taken_over:
                log.warning("%s: who did it for these answers before has not finished; it is done once more", what)
            try:
                async with _renewed(claims, name, claim, owner, life):
                    await work(claim)
            except Exception as error:
                log.error("%s raised %s: %s", what, type(error).__name__, describe(error))
                log.debug("%s raised here:", what, exc_info=error)
                await retried(claims.renew_claim, name, claim.revision, owner, 0)  # free for the next look
                return
            if not await retried(claims.finish_claim, name, claim.revision, owner):
                log.warning("%s was done here, and again by another process that took this one for dead", what)


@asynccontextmanager
async def _renewed(claims: Any, name: str, claim: Claim, owner: str, life: int) -> AsyncIterator[None]:
    """Renews a claim while the block runs."""
    renewing = asyncio.ensure_future(_renew(claims, name, claim, owner, life))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])


async def _renew(claims: Any, name: str, claim: Claim, owner: str, life: int) -> None:
    """Renews a claim until it is cancelled; what fails is tried again at the next time."""
    while True:
        await asyncio.sleep(life / _RENEWALS / 1000)
        try:
            await call(claims.renew_claim, name, claim.revision, owner, life)
        except Exception as error:
            log.warning("renew_claim failed: %s: %s", type(error).__name__, describe(error))


def _leases(batch: Batch) -> list[tuple[str, str, int, str | None]]:
    """What changes whenever somebody takes or ends a model run."""
    return [(run.run_id, run.status, run.lease_fence, run.lease_owner) for run in batch.model_runs]


async def _scores(pipeline: Pipeline, batch_id: str) -> dict[str, float | None]:
    """The overall score of each model, 0-100; None where nothing can be measured."""
    measured = await pipeline.insights(batch_id)
    return {model["model"]: model["summary"]["overallScore"]["value"] for model in measured.models}
