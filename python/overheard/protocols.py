"""What a user brings: a store, a provider. Types only, no code of ours calls from here.

Every method may be `async def` or a plain function; a plain one runs in a thread of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from overheard.batch import Batch, ModelRun
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


class ModelRunStore(Protocol):
    """Optional: finds a model run that another system inserted, for `Pipeline.run_model(run_id)` without a batch id."""

    def load_model_run(self, run_id: str) -> MaybeAsync[ModelRun | None]:
        """The model run, or None."""
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
