"""The simplest persistence: two functions of the user's. Keys, status and text live in a small SQLite file of ours.

The user's function is called first; only what it took is noted in our file, so what it refused is handed to it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from overheard._handlers import call
from overheard.batch import Batch, Claim, Lease, ModelRun
from overheard.org import Org
from overheard.settings import state_folder
from overheard.stores.sql import SqlStore

if TYPE_CHECKING:
    from overheard._core import Extraction, QuestionRun

TakesRuns = Callable[[Sequence["QuestionRun"]], Any]
TakesExtractions = Callable[[Sequence["Extraction"]], Any]


def state_url() -> str:
    """Our file in the user's state folder, which is made when it is not there."""
    folder = state_folder()
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)  # one by one: `parents=True` would leave those above to the umask
    return f"sqlite:///{folder / 'overheard-state.db'}"


class CallbackStore:
    """A `Store` around two functions, each async or plain."""

    def __init__(
        self,
        state: SqlStore,
        on_question_runs: TakesRuns | None = None,
        on_extractions: TakesExtractions | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            state: Where keys, status and text are kept; best opened with `light=True`.
            on_question_runs: Gets question runs as soon as they exist, in batches; must be idempotent by `run.key`.
            on_extractions: Gets extractions the same way.
        """
        self.state = state
        self.on_question_runs = on_question_runs
        self.on_extractions = on_extractions

    async def __aenter__(self) -> CallbackStore:
        """Opens our file."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes our file."""
        await self.aclose()

    async def open(self) -> None:
        """Opens our file."""
        await self.state.open()

    async def aclose(self) -> None:
        """Closes our file."""
        await self.state.aclose()

    async def load_org(self, org_id: str) -> Org | None:
        """The org, if it was imported into our file."""
        return await self.state.load_org(org_id)

    async def create_batch(self, batch: Batch) -> None:
        """As `SqlStore.create_batch`."""
        await self.state.create_batch(batch)

    async def save_batch(self, batch: Batch) -> None:
        """Upserts the batch in our file."""
        await self.state.save_batch(batch)

    async def save_model_runs(self, model_runs: Sequence[ModelRun]) -> None:
        """Upserts model runs in our file."""
        await self.state.save_model_runs(model_runs)

    async def acquire_lease(self, run_id: str, owner: str, ttl_ms: int) -> Lease:
        """Takes the lease of a model run in our file, or says who has it."""
        return await self.state.acquire_lease(run_id, owner, ttl_ms)

    async def renew_lease(self, run_id: str, owner: str, fence: int, ttl_ms: int) -> bool:
        """Renews a lease; False: it has gone to another owner."""
        return await self.state.renew_lease(run_id, owner, fence, ttl_ms)

    async def release_lease(self, run_id: str, owner: str, fence: int) -> None:
        """Gives a lease back."""
        await self.state.release_lease(run_id, owner, fence)

    async def claim_once(self, name: str, mark: str, owner: str, ttl_ms: int) -> Claim:
        """Claims the work `name` for the state `mark` in our file."""
        return await self.state.claim_once(name, mark, owner, ttl_ms)

    async def renew_claim(self, name: str, revision: int, owner: str, ttl_ms: int, note: str | None = None) -> bool:
        """Renews a claim; False: it is another's by now, or done."""
        return await self.state.renew_claim(name, revision, owner, ttl_ms, note)

    async def finish_claim(self, name: str, revision: int, owner: str) -> bool:
        """Says that the work is done; False: the claim is another's by now."""
        return await self.state.finish_claim(name, revision, owner)

    async def load_batch(
        self, batch_id: str | None = None, *, org_id: str | None = None, batch_key: str | None = None
    ) -> Batch | None:
        """The batch with its model runs."""
        return await self.state.load_batch(batch_id, org_id=org_id, batch_key=batch_key)

    async def load_model_run(self, run_id: str) -> ModelRun | None:
        """The model run, or None."""
        return await self.state.load_model_run(run_id)

    async def save_question_runs(self, runs: Sequence[QuestionRun]) -> None:
        """The user's function first, then our file."""
        if self.on_question_runs is not None:
            await call(self.on_question_runs, runs)
        await self.state.save_question_runs(runs)

    async def existing_keys(self, batch_id: str, after: str | None, limit: int) -> list[Mapping[str, Any]]:
        """A page of what is stored."""
        return await self.state.existing_keys(batch_id, after, limit)

    async def question_runs(self, batch_id: str, after: str | None, limit: int) -> list[QuestionRun]:
        """A page of answered question runs without an extraction."""
        return await self.state.question_runs(batch_id, after, limit)

    async def save_extractions(self, extractions: Sequence[Extraction]) -> None:
        """The user's function first, then our file."""
        if self.on_extractions is not None:
            await call(self.on_extractions, extractions)
        await self.state.save_extractions(extractions)

    async def load_fact(self, name: str) -> str | None:
        """The value, or None."""
        return await self.state.load_fact(name)

    async def save_fact(self, name: str, value: str) -> None:
        """Upserts the value."""
        await self.state.save_fact(name, value)
