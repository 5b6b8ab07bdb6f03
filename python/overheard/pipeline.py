"""The public face of the pipeline: which batch a start continues, what the engine is told, and what it gave.

Asks no provider and stores no answer itself: the engine does the work through `_driver.drive`, the store keeps it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

from overheard import _core, _driver
from overheard._batches import new_batch, refuse_locked
from overheard._handlers import call, provider_handlers, store_handlers
from overheard._plan import Extraction, Phase, Plan, custom_providers, resolve_extraction, run_spec
from overheard.batch import Batch, BatchStatus, ModelRun, now_ms
from overheard.errors import ConfigError, StoreError
from overheard.org import Location, Org
from overheard.orgfile import demo_org
from overheard.protocols import ProviderProtocol, Store
from overheard.settings import Settings, money, state_folder
from overheard.stores import DEFAULT_STORE, open_store
from overheard.stores.callbacks import CallbackStore, TakesExtractions, TakesRuns, state_url
from overheard.summary import Summary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from overheard._core import Session

log = logging.getLogger("overheard")

Progress = Callable[[Sequence[Mapping[str, Any]]], None]


class RunOptions(TypedDict, total=False):
    """What a start may be told. None, or not given, means what the org says.

    Attributes:
        models: Models to ask.
        locations: Where from: `Location`, or text such as `US`.
        questions: The first so many of the org's questions, or the ids of those to ask.
        repeats: Times each question is asked of each pair; 1.
        extraction: `auto` (a model when its key is set, else rules), `local` or `llm`.
        max_cost: Most the batch may cost over all its starts, in dollars: text, whole number or Decimal.
        batch_key: Get-or-create key: the org's batch of this key is continued.
        new: Force a new batch.
    """

    models: Sequence[str] | None
    locations: Sequence[Location | str] | None
    questions: int | Sequence[str] | None
    repeats: int | None
    extraction: Extraction | None
    max_cost: str | int | Decimal | None
    batch_key: str | None
    new: bool


# Batches at work in this process, whatever pipeline works on them.
_at_work: set[str] = set()
# Model runs at work in this process.
_runs_at_work: set[str] = set()


class Pipeline:
    """Asks an org's questions of its models from its locations, keeps every answer, extracts, and sums up.

    Use as an async context manager; without one, each call opens and closes the store it was given by URL.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        on_question_runs: TakesRuns | None = None,
        on_extractions: TakesExtractions | None = None,
        providers: Mapping[str, ProviderProtocol] | None = None,
        prices: Mapping[str, Mapping[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        simulated: bool = False,
        on_progress: Progress | None = None,
        **limits: Any,
    ) -> None:
        """Checks everything that can be checked; opens nothing.

        Args:
            store: A URL (`sqlite:///overheard.db`), an object that follows `Store`, or None for `OVERHEARD_STORE`.
            on_question_runs: Instead of a store: gets question runs in batches.
            on_extractions: Instead of a store: gets extractions in batches.
            providers: Name to provider of the user's own; a model of that name is asked of it.
            prices: Prices by model in dollars, over the packaged ones.
            env: The variables; None: the process's environment over `.env`.
            simulated: A simulator answers; log lines and summary say so.
            on_progress: Called with one mapping per pair: model, location, total, executed, failed, extracted.
            **limits: See `overheard.settings.LIMITS`.

        Raises:
            ConfigError: Names the argument or variable to mend.
        """
        self.settings = Settings.load(env, prices=prices, simulated=simulated, **limits)
        self.providers = dict(providers or {})
        custom_providers(self.providers)  # a provider that lacks something is told now
        self.on_progress = on_progress
        self._owns_store = not isinstance(store, Store) or isinstance(store, str)
        self.store: Any = self._chosen_store(store, on_question_runs, on_extractions)
        self._facts: dict[str, str] = {}
        self._sessions: set[Session] = set()
        self._stopping = False
        self._open = 0
        self._opening = asyncio.Lock()

    def _chosen_store(
        self, store: str | Store | None, on_question_runs: TakesRuns | None, on_extractions: TakesExtractions | None
    ) -> Any:
        if on_question_runs is None and on_extractions is None:
            if store is None or isinstance(store, str):
                return open_store(store or self.settings.store or DEFAULT_STORE)
            if not isinstance(store, Store):
                missing = [name for name in _STORE_METHODS if not callable(getattr(store, name, None))]
                raise ConfigError(f"store: {type(store).__name__} lacks {', '.join(missing)}", field="store")
            return store
        if store is not None and not isinstance(store, str):
            raise ConfigError("store: give a store, or functions, not both", field="store")
        return CallbackStore(open_store(store or state_url(), light=True), on_question_runs, on_extractions)

    async def __aenter__(self) -> Pipeline:
        """Opens the store.

        Raises:
            StoreError: It cannot be opened or written.
        """
        await self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes a store that was given by URL."""
        await self._leave()

    async def _enter(self) -> None:
        async with self._opening:
            self._open += 1
            if self._open == 1 and self._owns_store:
                try:
                    await self.store.open()
                except BaseException:
                    self._open = 0
                    raise

    async def _leave(self) -> None:
        self._open -= 1
        if self._open == 0 and self._owns_store:
            await self.store.aclose()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        await self._enter()
        try:
            yield
        finally:
            await self._leave()

    # --- starting ---------------------------------------------------------------------------------------------------

    async def run(self, org: str | Org, **options: Unpack[RunOptions]) -> Summary:
        """All phases: name variations, execution, extraction.

        Args:
            org: The id of an org of the store, `demo`, or an `Org`.
            **options: See `RunOptions`.

        Returns:
            The batch's totals.

        Raises:
            ConfigError: Something to mend before anything is sent.
            StoreError: The store did not answer, or another process works on the batch.
        """
        return await self._start("run", org, **options)

    async def execute(self, org: str | Org, **options: Unpack[RunOptions]) -> Summary:
        """Execution alone; the answers wait for `extract`. Arguments, result and errors as `run`."""
        return await self._start("execute", org, **options)

    async def extract(self, batch_id: str, *, extraction: Extraction | None = None) -> Summary:
        """Extraction of the answers a batch has stored and not extracted, alone.

        Args:
            batch_id: The batch.
            extraction: None: as the batch was planned.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            batch = await self._batch(batch_id)
            plan = await self._plan_of(batch)
            if extraction is not None:
                plan = replace(plan, extraction=resolve_extraction(extraction, self.settings))
            return await self._work("extract", batch, plan, batch.model_runs)

    async def create_batch(self, org: str | Org, **options: Unpack[RunOptions]) -> str:
        """Makes the batch with one queued model run per model, and runs nothing. Arguments as `run`.

        Returns:
            The batch's id: of the batch that a start would continue, else of a new one.
        """
        async with self._opened():
            batch, _ = await self._chosen(org, **options)
            return batch.batch_id

    async def run_model(self, run_id: str, *, batch_id: str | None = None) -> Summary:
        """Runs one model of a batch; several processes may each run one.

        Args:
            run_id: A model run of the store, made here or inserted by another system.
            batch_id: Its batch; needed when the store has no `load_model_run`.

        Raises:
            ConfigError: There is no such model run.
        """
        async with self._opened():
            if batch_id is None:
                find = getattr(self.store, "load_model_run", None)
                if find is None:
                    raise ConfigError("run_model: this store has no load_model_run, so give batch_id", field="batch_id")
                found = await call(find, run_id)
                batch_id = None if found is None else found.batch_id
            batch = None if batch_id is None else await self._loaded(batch_id)
            model_runs = [] if batch is None else [run for run in batch.model_runs if run.run_id == run_id]
            if batch is None or not model_runs:
                raise ConfigError(f"there is no model run '{run_id}' in the store", field="run_id")
            return await self._work("run", batch, await self._plan_of(batch), model_runs)

    async def resume(self, batch_id: str, *, unfinished_only: bool = False, max_cost: Any = None) -> Summary:
        """Goes on with a batch: what is open is asked, what failed is asked again, what is stored is skipped.

        Args:
            batch_id: The batch.
            unfinished_only: Do not ask again what failed.
            max_cost: Another cap in dollars, over all starts of the batch; None: the cap it was planned with.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            batch = await self._batch(batch_id)
            plan = await self._plan_of(batch)
            if max_cost is not None:
                plan = replace(plan, max_cost_micro_usd=money("max_cost", max_cost))
            return await self._work("run", batch, plan, batch.model_runs, retry_failed=not unfinished_only)

    async def status(self, batch_id: str) -> BatchStatus:
        """Where a batch stands.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            return BatchStatus.of(await self._batch(batch_id), alive=batch_id in _at_work)

    async def quote(self, org: str | Org, **options: Unpack[RunOptions]) -> dict[str, Any]:
        """What a new batch would send and cost; sends nothing and stores nothing. Arguments as `run`.

        Returns:
            `lines` (one a pair, then extraction and names), `cells`, `expected_micro_usd`, `worst_case_micro_usd`,
            `unknowns`.
        """
        async with self._opened():
            plan = await self._plan(org, **options)
            batch = new_batch(plan, None, {})
            spec = run_spec(
                plan,
                batch,
                batch.model_runs,
                phase="run",
                settings=self.settings.to_json_dict(),
                custom=self.providers,
            )
            quote: dict[str, Any] = json.loads(_core.quote(spec))
            return quote

    @staticmethod
    def at_work() -> list[str]:
        """The ids of the batches this process works on now, whatever pipeline does."""
        return sorted(_at_work)

    def stop(self) -> None:
        """Stops gracefully: nothing new starts, paid work in flight gets its grace. A signal handler may call it."""
        self._stopping = True
        for session in list(self._sessions):
            session.stop()

    # --- which batch ------------------------------------------------------------------------------------------------

    async def _start(self, phase: Phase, org: str | Org, **options: Unpack[RunOptions]) -> Summary:
        async with self._opened():
            batch, plan = await self._chosen(org, **options)
            return await self._work(phase, batch, plan, batch.model_runs)

    async def _chosen(
        self, org: str | Org, *, batch_key: str | None = None, new: bool = False, **options: Any
    ) -> tuple[Batch, Plan]:
        """The one rule: an interrupted batch of the org is continued; else the key decides; else a new batch."""
        plan = await self._plan(org, **options)
        org_id = plan.org.id
        if not new:
            found = await self._loaded(org_id=org_id)
            if found is None and batch_key is not None:
                found = await self._loaded(org_id=org_id, batch_key=batch_key)
            if found is not None:
                return await self._with_model_runs(found), self._continued(found, plan, options)
        elif batch_key is not None and (old := await self._loaded(org_id=org_id, batch_key=batch_key)):
            # The key leads to the newest batch, so that the next start without `new` continues this one.
            freed = f"{batch_key} (before {now_ms()})"
            await call(self.store.save_batch, replace(old, batch_key=freed, model_runs=()))
        batch = new_batch(plan, batch_key, self._surfaces(plan))
        try:
            await call(self.store.save_batch, replace(batch, model_runs=()))
        except Exception:
            # Another process may have made the batch of this key a moment ago.
            found = await self._loaded(org_id=org_id, batch_key=batch_key) if batch_key else None
            if found is None:
                raise
            return found, Plan.from_batch(found)
        await call(self.store.save_model_runs, list(batch.model_runs))
        log.info("Batch %s of %s: %s models, %s cells", batch.batch_id, org_id, batch.batch_size, plan.cells)
        return batch, plan

    async def _with_model_runs(self, batch: Batch) -> Batch:
        """The batch as it was planned, when its start ended between saving it and saving its model runs."""
        if batch.model_runs or not batch.config:
            return batch
        plan = Plan.from_batch(batch)
        made = new_batch(plan, batch.batch_key, self._surfaces(plan)).model_runs
        whole = replace(batch, model_runs=tuple(replace(run, batch_id=batch.batch_id) for run in made))
        await call(self.store.save_model_runs, list(whole.model_runs))
        return whole

    def _continued(self, batch: Batch, wanted: Plan, options: Mapping[str, Any]) -> Plan:
        """The plan of a batch that is continued: its own, but for the cap, which a start may raise."""
        if not batch.config:
            return wanted
        plan = Plan.from_batch(batch)
        if batch.finished_at_ms is None:
            log.info("Continuing batch %s of %s, which is not finished", batch.batch_id, batch.org_id)
        names = ("models", "locations", "questions", "repeats", "extraction")
        changed = [name for name in names if options.get(name) and getattr(plan, name) != getattr(wanted, name)]
        if changed:
            log.warning("The batch keeps its own %s; a new batch would take yours", ", ".join(changed))
        if wanted.max_cost_micro_usd is not None:
            plan = replace(plan, max_cost_micro_usd=wanted.max_cost_micro_usd)
        return plan

    async def _plan(self, org: str | Org, **options: Any) -> Plan:
        unknown = set(options) - _PLAN_OPTIONS
        if unknown:
            raise ConfigError(f"unknown option '{min(unknown)}'; the options are {', '.join(sorted(_PLAN_OPTIONS))}")
        given = {name: value for name, value in options.items() if value is not None}
        return Plan.of(await self._org(org), self.settings, **given)

    def _surfaces(self, plan: Plan) -> dict[str, str]:
        """Who answers for each model; a wrong model or a missing key is found here, before anything is written."""
        settings = json.dumps(self.settings.to_json_dict())
        own = {name.lower(): name for name in self.providers}
        surfaces = {model: own[model.lower()] for model in plan.models if model.lower() in own}
        for model in plan.models:
            if model not in surfaces:
                surfaces[model] = json.loads(_core.provider_facts(model, settings))["surface"]
        if plan.extraction == "llm":
            _core.provider_facts(self.settings.extraction_model, settings)
        return surfaces

    async def _org(self, org: str | Org) -> Org:
        if isinstance(org, Org):
            return org
        found: Org | None = _given("load_org", await call(self.store.load_org, org), Org)
        if found is None and org == "demo":
            return demo_org()
        if found is None:
            raise ConfigError(
                f"there is no org '{org}' in the store; import it: overheard orgs import FILE", field="org"
            )
        return found

    async def _plan_of(self, batch: Batch) -> Plan:
        if batch.config:
            return Plan.from_batch(batch)
        # Rows that another system inserted: the org says what is asked, the rows say of whom.
        models = [run.model for run in batch.model_runs]
        return await self._plan(await self._org(batch.org_id), models=models)

    async def _loaded(self, batch_id: str | None = None, **wanted: Any) -> Batch | None:
        found: Batch | None = _given("load_batch", await call(self.store.load_batch, batch_id, **wanted), Batch)
        return found

    async def _batch(self, batch_id: str) -> Batch:
        batch: Batch | None = await self._loaded(batch_id)
        if batch is None:
            raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
        return batch

    # --- the engine -------------------------------------------------------------------------------------------------

    async def _work(
        self, phase: Phase, batch: Batch, plan: Plan, model_runs: Sequence[ModelRun], *, retry_failed: bool = False
    ) -> Summary:
        if not batch.config:
            batch = replace(batch, config=plan.to_config(), created_at_ms=batch.created_at_ms or now_ms())
        refuse_locked(batch, model_runs, _at_work)
        spec = run_spec(
            plan,
            batch,
            model_runs,
            phase=phase,
            settings=self.settings.to_json_dict(journal=self._journal()),
            custom=self.providers,
            retry_failed=retry_failed,
        )
        nothing_again = not retry_failed or not any(run.failed for run in batch.model_runs)
        quiet = batch.finished_at_ms is not None and nothing_again
        handlers = store_handlers(self.store, batch, self._facts, quiet=quiet) | provider_handlers(self.providers)
        mine: list[Session] = []

        def started(session: Session) -> None:
            mine.append(session)
            self._sessions.add(session)
            if self._stopping:
                session.stop()

        working = {run.run_id for run in model_runs}
        if working & _runs_at_work:
            raise StoreError(f"batch {batch.batch_id} is locked: this process works on it already")
        held = {batch.batch_id} - _at_work
        _at_work.update(held)
        _runs_at_work.update(working)
        try:
            result = await _driver.drive("run", spec, handlers, on_progress=self.on_progress, on_session=started)
        finally:
            self._sessions.difference_update(mine)
            if not self._sessions:
                self._stopping = False  # the stop was for what ran; a later start is a new one
            _at_work.difference_update(held)
            _runs_at_work.difference_update(working)
        data = json.loads(result) if isinstance(result, str) else dict(result)
        summary = Summary.from_dict(data, simulated=self.settings.simulated)
        summary = await self._finished(batch, summary, quiet=quiet)
        await self._note(summary)
        return summary

    async def _finished(self, before: Batch, summary: Summary, *, quiet: bool) -> Summary:
        """Ends the batch when every cell of every model run is terminal; another process may still run one."""
        batch = await self._batch(before.batch_id)
        status = BatchStatus.of(batch, alive=batch.batch_id in _at_work)
        if not quiet and batch.finished_at_ms is None and batch.all_terminal and not summary.interrupted:
            await call(self.store.save_batch, replace(batch, finished_at_ms=now_ms(), model_runs=()))
        return replace(summary, status=status.status)

    async def _note(self, summary: Summary) -> None:
        """Keeps what the summary said, so that `verify` can hold the rows against it."""
        if not (hasattr(self.store, "load_fact") and hasattr(self.store, "save_fact")):
            return
        name = f"summary:{summary.batch_id}"
        said = json.dumps({"total_cost_micro_usd": summary.total_cost_micro_usd, "status": summary.status})
        if await call(self.store.load_fact, name) != said:
            await call(self.store.save_fact, name, said)

    def _journal(self) -> str:
        if self.settings.journal:
            return self.settings.journal
        database = getattr(getattr(self.store, "state", self.store), "database", None)
        path = getattr(database, "path", None)
        return f"{path}.journal" if path is not None else str(state_folder() / "journal")


_STORE_METHODS = (
    "load_org",
    "save_batch",
    "save_model_runs",
    "load_batch",
    "save_question_runs",
    "existing_keys",
    "question_runs",
    "save_extractions",
)
_PLAN_OPTIONS = frozenset({"models", "locations", "questions", "repeats", "extraction", "max_cost"})


def _given(callback: str, found: Any, kind: type[Any]) -> Any:
    """What a callback found: nothing, or a `kind`."""
    if found is None or isinstance(found, kind):
        return found
    raise StoreError(f"the callback {callback} returned {type(found).__name__}, expected {kind.__name__} or None")
