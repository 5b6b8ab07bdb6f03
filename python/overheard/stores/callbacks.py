"""The simplest persistence: two functions of the user's. Keys, status and text live in a small SQLite file of ours.

The user's function is called first; only what it took is noted in our file, so what it refused is handed to it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from overheard._handlers import call
from overheard.batch import Batch, ModelRun
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
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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

    async def save_batch(self, batch: Batch) -> None:
        """Upserts the batch in our file."""
        await self.state.save_batch(batch)

    async def save_model_runs(self, model_runs: Sequence[ModelRun]) -> None:
        """Upserts model runs in our file."""
        await self.state.save_model_runs(model_runs)

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
