"""What a user brings: a store, a provider. Types only, no code of ours calls from here.

Every method may be `async def` or a plain function; a plain one runs in a thread of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from overheard.batch import Batch, BatchInsights, Claim, Lease, ModelRun
from overheard.org import Org

if TYPE_CHECKING:
    from overheard._core import Ask, ExistingKey, Extraction, Outcome, QuestionRun

Result = TypeVar("Result")
MaybeAsync: TypeAlias = Awaitable[Result] | Result


@runtime_checkable
class Store(Protocol):
    """The user's persistence.

    Contract (`overheard.testing.store_contract` has one test a clause):

    1. Every write is an idempotent upsert by key; the same call twice leaves what one call leaves.
    2. One call is one transaction: when it raises, nothing of it is kept.
    3. What a call returned from has written survives the process.
    4. `load_batch` finds by id; by org and key; by org alone the newest batch with `finished_at_ms` None. It
       returns the model runs with the batch, and None when there is none.
    5. A page is ordered by the cell key (bytewise), starts after `after`, and is shorter than `limit` only at the end.
    6. `existing_keys` tells, of every stored question run, its status, whether its extraction is stored, and its
       charges and row counts, the extraction's included.
    7. `question_runs` pages through answered question runs whose extraction is not stored, and returns what was
       saved; the raw body may be left out.
    8. `save_extractions` writes evaluation, competitors and citations of a run together or not at all, and replaces
       an earlier extraction.
    9. An extraction with `error` writes its charge and error and no rows; the run still counts as not extracted.
    10. A question run saved again replaces the earlier one and removes its extraction.
    11. An unknown batch has no keys and no question runs.
    """

    def load_org(self, org_id: str) -> MaybeAsync[Org | None]:
        """The org, or None when there is none of this id."""
        ...

    def save_batch(self, batch: Batch) -> MaybeAsync[None]:
        """Upserts the batch by `batch_id`. `batch.model_runs` is empty here: they come through `save_model_runs`."""
        ...

    def save_model_runs(self, model_runs: Sequence[ModelRun]) -> MaybeAsync[None]:
        """Upserts model runs by `run_id`."""
        ...

    def load_batch(
        self, batch_id: str | None = None, *, org_id: str | None = None, batch_key: str | None = None
    ) -> MaybeAsync[Batch | None]:
        """The batch with its model runs: see clause 4."""
        ...

    def save_question_runs(self, runs: Sequence[QuestionRun]) -> MaybeAsync[None]:
        """Upserts question runs by `(batch_id, key)`."""
        ...

    def existing_keys(
        self, batch_id: str, after: str | None, limit: int
    ) -> MaybeAsync[Sequence[ExistingKey | Mapping[str, Any]]]:
        """A page of what is stored: see clauses 5 and 6."""
        ...

    def question_runs(
        self, batch_id: str, after: str | None, limit: int
    ) -> MaybeAsync[Sequence[QuestionRun | Mapping[str, Any]]]:
        """A page of answered question runs without an extraction: see clauses 5 and 7."""
        ...

    def save_extractions(self, extractions: Sequence[Extraction]) -> MaybeAsync[None]:
        """Writes extractions: see clauses 8 and 9."""
        ...


class FactStore(Protocol):
    """Optional: small facts kept across runs (name variations, batch sizes). Without it they are learned again."""

    def load_fact(self, name: str) -> MaybeAsync[str | None]:
        """The value, or None."""
        ...

    def save_fact(self, name: str, value: str) -> MaybeAsync[None]:
        """Upserts the value."""
        ...


class LeaseStore(Protocol):
    """Optional: leases of model runs, so that two processes never work on the same one. All three methods or none.

    Without them the lease columns of the model runs are all there is: they show who works, and stop nobody who looks at
    the same moment.

    Contract, after that of `Store`:

    12. A model run that nobody has, or whose lease has expired, is granted to one asker; `fence` grows by at least one
        with each new owner, and stays when the owner it has asks again.
    13. While it is held, another owner is not granted it, and is told owner, fence and end.
    14. `renew_lease` moves the end while the fence is the given one, also after the end when nobody took it over, and
        is False once another owner has it.
    15. `release_lease` frees it for the next at once, and does nothing when owner or fence are not those of the row.
    16. What a former owner writes is refused: `save_question_runs`, `save_extractions` and `save_model_runs` of a model
        run whose lease this store object was granted, and which has another fence by now, raise `LeaseLost` and keep
        nothing.
    17. The next owner is told `journal_id` and `journal_host` as `save_model_runs` had them last, and until when the
        owner before can have been at work.
    18. `save_model_runs` of who holds the lease leaves owner, end and fence as the methods of the lease left them.
    """

    def acquire_lease(self, run_id: str, owner: str, ttl_ms: int) -> MaybeAsync[Lease]:
        """Takes the lease for `ttl_ms` milliseconds; see clauses 12 and 13."""
        ...

    def renew_lease(self, run_id: str, owner: str, fence: int, ttl_ms: int) -> MaybeAsync[bool]:
        """Makes it last `ttl_ms` milliseconds from now; see clause 14."""
        ...

    def release_lease(self, run_id: str, owner: str, fence: int) -> MaybeAsync[None]:
        """Gives it back; see clause 15."""
        ...


class ModelRunStore(Protocol):
    """Optional: finds a model run that another system inserted, for `Pipeline.run_model(run_id)` without a batch id."""

    def load_model_run(self, run_id: str) -> MaybeAsync[ModelRun | None]:
        """The model run, or None."""
        ...


class ClaimStore(Protocol):
    """Optional: work that follows the end of a batch (`on_batch_finished`, holistic insights) and is done once.

    Without it the work is done once in a process. All three methods or none.

    Contract, after that of `LeaseStore`:

    19. Of all who ask for a name with the same mark at the same time, one is granted the claim; its revision is 1, or
        one more than that of the newest mark before it.
    20. A claim that is done is granted to nobody again under its mark, and says so.
    21. A claim that is not done and whose time is over, or whose owner is provably dead, is granted once more under the
        same revision, with the note of the owner before; never a third time.
    22. `renew_claim` and `finish_claim` are False once another owner has the claim.
    """

    def claim_once(self, name: str, mark: str, owner: str, ttl_ms: int) -> MaybeAsync[Claim]:
        """Claims the work `name` for the state `mark`, for `ttl_ms` milliseconds."""
        ...

    def renew_claim(
        self, name: str, revision: int, owner: str, ttl_ms: int, note: str | None = None
    ) -> MaybeAsync[bool]:
        """Makes it last `ttl_ms` milliseconds from now, and keeps the note unless it is None."""
        ...

    def finish_claim(self, name: str, revision: int, owner: str) -> MaybeAsync[bool]:
        """Says that the work is done."""
        ...


class InsightStore(Protocol):
    """Optional: what `Pipeline.insights` reads and keeps. Without `insight_rows` a store has no insights."""

    def insight_rows(self, batch_id: str, after: str | None, limit: int) -> MaybeAsync[Sequence[Mapping[str, Any]]]:
        """A page of question runs with what was extracted, ordered by cell key (bytewise), starting after `after`.

        Each mapping has `cell_key`, `question_id`, `question`, `model`, `location`, `repeat`, `status`, `served_model`,
        `cost_micro_usd`, `maybe_charged_micro_usd`, `extracted` (bool), `extraction_cost_micro_usd`,
        `extraction_maybe_charged_micro_usd`, `mentioned`, `citation`, `sentiment`, `mention_rank`, `share_of_voice`,
        `competitors` (names in order), `competitor_occurrences` (one number each; None: not known) and `citations`
        (mappings of `domain`, `type`, `position`, `cited`, `class`). What is missing, null or of another type counts
        as not known; `occurrences`, `prominence`, `list_position` and `shares` may be left out.
        """
        ...

    def org_batches(self, org_id: str, since_ms: int | None) -> MaybeAsync[Sequence[str]]:
        """The ids of the org's batches made at or after this moment, newest first; None: all."""
        ...

    def save_insights(self, insights: BatchInsights) -> MaybeAsync[None]:
        """Upserts holistic insights by `(batch_id, revision)`."""
        ...

    def load_insights(self, batch_id: str) -> MaybeAsync[BatchInsights | None]:
        """The newest revision of the batch's holistic insights, or None."""
        ...


class ReplayStore(Protocol):
    """Optional: what `Pipeline.rescore` reads. Without it no answer can be extracted again. Both methods or none.

    Contract, after the clauses 23 to 26 of `InsightStore` in `overheard.testing`:

    27. `answers` pages through all answered question runs, extracted or not, as they were saved; the raw body may be
        left out. Pages as in clause 5.
    28. `extractions` pages through the stored extractions as they were saved, with their competitors and citations;
        one with `error` is none. Pages as in clause 5.
    """

    def answers(
        self, batch_id: str, after: str | None, limit: int
    ) -> MaybeAsync[Sequence[QuestionRun | Mapping[str, Any]]]:
        """A page of answered question runs: see clause 27."""
        ...

    def extractions(
        self, batch_id: str, after: str | None, limit: int
    ) -> MaybeAsync[Sequence[Extraction | Mapping[str, Any]]]:
        """A page of stored extractions: see clause 28."""
        ...


@runtime_checkable
class ProviderProtocol(Protocol):
    """A provider that the user wrote.

    Optional attributes, read once: `max_in_flight` (calls at the same time, default 8) and `price_per_question`
    (dollars as text or Decimal; without it the charge is what each outcome says).

    Contract: `ask` returns one outcome per request, in order. A question that failed is an outcome with status
    `failed`; what `ask` raises fails all requests of the call. Requests never exceed `max_batch_size`.
    """

    supports_batching: bool
    max_batch_size: int

    def ask(self, requests: Sequence[Ask]) -> MaybeAsync[Sequence[Outcome | Mapping[str, Any]]]:
        """Asks; one outcome per request, in order."""
        ...


Price: TypeAlias = str | int | Decimal
"""Dollars: text, whole number or Decimal; never a float."""
