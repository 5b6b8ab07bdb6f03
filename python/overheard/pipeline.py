"""The public face of the pipeline. Asks no provider and stores no answer itself.

Which batch a start continues is `_choice`'s, the start itself `_work`'s, what follows the end of a batch `_finish`'s.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from overheard import _core, _driver, _loops, _work
from overheard._batches import Cancellations, new_batch
from overheard._choice import Choice
from overheard._finish import Finish, Holistic, OnBatchFinished
from overheard._handlers import call, store_handlers
from overheard._plan import Extraction, Phase, Plan, custom_providers, resolve_extraction, run_spec
from overheard._quiet import Quiet, QuietText
from overheard._retry import retried
from overheard.batch import Batch, BatchStatus, ModelRun, now_ms
from overheard.errors import ConfigError, OverheardError
from overheard.holistic.money import holistic_spent
from overheard.importing import Imported, imported
from overheard.insights import Insights, Since, measure
from overheard.org import Location, Org
from overheard.protocols import ProviderProtocol, Store
from overheard.rescore import AnswerChange, Rescore, replayed
from overheard.settings import Settings, money
from overheard.stores import DEFAULT_STORE, open_store
from overheard.stores.callbacks import CallbackStore, TakesExtractions, TakesRuns, state_url
from overheard.summary import Summary

if TYPE_CHECKING:
    from typing_extensions import Unpack

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
        on_batch_finished: OnBatchFinished | None = None,
        holistic: Holistic = "auto",
        schema: str | None = None,
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
            on_batch_finished: Called with the `BatchStatus` when nothing of a batch is queued or at work and a model
                run completed: once for each set of answers, by the process that sees it first. Async or plain. When it
                raises, or its process dies, it is called once more by a later look.
            holistic: Who writes the comparison of the models at the end of a batch: `auto` (a model when there is a
                key and money, else rules), `model`, `rules`, or `off`.
            schema: PostgreSQL's schema for the tables; see `open_store`.
            **limits: See `overheard.settings.LIMITS`.

        Raises:
            ConfigError: Names the argument or variable to mend.
        """
        env = None if env is None else Quiet(env)  # a traceback that shows locals must not show the keys
        self.settings = Settings.load(env, prices=prices, simulated=simulated, **limits)
        self.providers = dict(providers or {})
        custom_providers(self.providers)  # a provider that lacks something is told now
        if holistic not in ("auto", "model", "rules", "off"):
            raise ConfigError(f"holistic: '{holistic}' is none of auto, model, rules, off", field="holistic")
        self.on_progress = on_progress
        self._owns_store = not isinstance(store, Store) or isinstance(store, str)
        self.store: Any = self._chosen_store(store, schema, on_question_runs, on_extractions)
        self._facts: dict[str, str] = {}
        self._cancellations = Cancellations(self.store, self._facts)
        self._choice = Choice(self.store, self.settings, self.providers, self._cancellations)
        self._finish = Finish(self, self._choice.loaded, on_batch_finished, holistic)
        self._worker = _work.Worker(
            self.store,
            self.settings,
            self.providers,
            choice=self._choice,
            cancellations=self._cancellations,
            finish=self._finish,
            facts=self._facts,
        )
        self._open = 0
        self._opening = asyncio.Lock()

    def _chosen_store(
        self,
        store: str | Store | None,
        schema: str | None,
        on_question_runs: TakesRuns | None,
        on_extractions: TakesExtractions | None,
    ) -> Any:
        if schema is not None and not (store is None or isinstance(store, str)):
            raise ConfigError("schema: give it to the store that you made", field="schema")
        if on_question_runs is None and on_extractions is None:
            if store is None or isinstance(store, str):
                return open_store(store or self.settings.store or DEFAULT_STORE, schema=schema)
            if not isinstance(store, Store):
                missing = [name for name in _STORE_METHODS if not callable(getattr(store, name, None))]
                raise ConfigError(f"store: {type(store).__name__} lacks {', '.join(missing)}", field="store")
            return store
        if store is not None and not isinstance(store, str):
            raise ConfigError("store: give a store, or functions, not both", field="store")
        return CallbackStore(
            open_store(store or state_url(), light=True, schema=schema), on_question_runs, on_extractions
        )

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
        _loops.running_loop()  # told before anything is opened
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
            BatchLocked: Another process works on a model run of the batch.
            LeaseLost: Another process took a model run over while this one was halted.
            StoreError: The store did not answer.
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
            batch = await self._choice.batch(batch_id)
            plan = await self._choice.plan_of(batch)
            if extraction is not None:
                plan = replace(plan, extraction=resolve_extraction(extraction, self.settings))
            return await self._work("extract", batch, plan, batch.model_runs)

    async def create_batch(self, org: str | Org, **options: Unpack[RunOptions]) -> str:
        """Makes the batch with one queued model run per model, and runs nothing. Arguments as `run`.

        Returns:
            The batch's id: of the batch that a start would continue, else of a new one.
        """
        async with self._opened():
            batch, _ = await self._choice.chosen(org, **options)
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
            batch = None if batch_id is None else await self._choice.loaded(batch_id)
            model_runs = [] if batch is None else [run for run in batch.model_runs if run.run_id == run_id]
            if batch is None or not model_runs:
                raise ConfigError(f"there is no model run '{run_id}' in the store", field="run_id")
            return await self._work("run", batch, await self._choice.plan_of(batch), model_runs)

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
            batch = await self._choice.batch(batch_id)
            if await self._cancellations.is_cancelled(batch_id):
                batch = replace(batch, finished_at_ms=None)
                await retried(self.store.save_batch, replace(batch, model_runs=()))
                await self._cancellations.note(batch_id, cancelled=False)
            plan = await self._choice.plan_of(batch)
            if max_cost is not None:
                plan = replace(plan, max_cost_micro_usd=money("max_cost", max_cost))
            return await self._work("run", batch, plan, batch.model_runs, retry_failed=not unfinished_only)

    async def rescore(
        self,
        batch_id: str,
        org: str | Org | None = None,
        *,
        models: Sequence[str] | None = None,
        dry_run: bool = False,
        extraction: Literal["local", "llm"] = "local",
        max_cost: str | int | Decimal | None = None,
        on_change: Callable[[AnswerChange], None] | None = None,
    ) -> Rescore:
        """Extracts a batch's stored answers again, by the rules and the org's entry of now. Asks no engine.

        Mention, rank, shares, citations, configured competitors and merges are made anew. Where a model made the
        earlier extraction, its sentiment, its quotes and the competitors it found are kept while the answer is still a
        mention, and its word on a mention of which the rules are unsure. Money stays as it is in the books. What is
        current is skipped; each page is one transaction, so that a rescore that was stopped goes on where it was. The
        batch keeps the entry it was extracted with: its insights and later starts use it.

        Args:
            batch_id: The batch.
            org: The entry: an org's id, an `Org`, or None for the org as it is in the store now.
            models: Only answers of these models; then the batch keeps the entry it had.
            dry_run: Say what would change; write nothing.
            extraction: `local`: by rules, free. `llm`: the extraction model is asked about every answer again, paid.
            max_cost: With `llm`, and needed there: most this may cost, in dollars.
            on_change: Called with each changed answer, in the order of the cell keys.

        Raises:
            BatchLocked: Somebody works on a model run of the batch; says who.
            ConfigError: There is no such batch, org or model; the store keeps no extractions.
        """
        if extraction == "llm" and dry_run:
            raise ConfigError("dry_run: what a model would say is not known without asking it", field="dry_run")
        async with self._opened():
            batch = await self._choice.batch(batch_id)
            told = await replayed(
                self.store,
                self.settings,
                batch,
                await self._entry(org, batch),
                models=models,
                dry_run=dry_run,
                extraction=extraction,
                max_cost=max_cost,
                on_change=on_change,
            )
            if told.rescored and not dry_run:
                await self._finish.keep_scores(await self._choice.batch(batch_id))
            return told

    async def _entry(self, org: str | Org | None, batch: Batch) -> Org:
        """The org's entry of now; of an org that is not in the store any more, the one the batch was made with."""
        if org is not None:
            return await self._choice.org(org)
        try:
            return await self._choice.org(batch.org_id)
        except ConfigError:
            if not batch.config.get("org"):
                raise
            return Org.from_dict(batch.config["org"])

    async def import_runs(
        self,
        rows: Iterable[Mapping[str, Any] | tuple[int, bytes]],
        org: str | Org,
        *,
        batch_key: str | None = None,
        extract: bool = True,
        name: str = "rows",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Imported:
        """Takes in answers that were collected elsewhere, as a batch whose model runs are completed. Asks nobody.

        Everything is checked before anything is written. The same rows twice change nothing; under one `batch_key` a
        later import adds to the batch, and replaces what it has another answer for.

        Args:
            rows: One mapping an answer: `question`, `model`, and if known `location` (text such as `US`, or a mapping),
                `answer`, `citations` (URLs, or mappings as `Citation`), `time` (ISO 8601), `id` (the question's),
                `repeat` (counted in the order given when it is not told), `status` (`answered`, `refused`, `no_answer`,
                `failed`), `served_model`, `cost` (kept in the raw body; nothing counts as paid by us). Or numbered
                lines of JSON: `overheard.importing.read_lines`.
            org: Whose answers they are: an org's id, or an `Org`.
            batch_key: Get-or-create key of the batch; None: made of the rows, so that the same rows are one batch.
            extract: Extract by rules. Else `extract` does it later, with a model if you like.
            name: What errors call the source.
            on_progress: Called with the rows stored so far and all rows.

        Raises:
            ConfigError: Wrong rows, each with its number and field, up to a hundred; there is no such org.
        """
        settings = QuietText(json.dumps(self.settings.to_json_dict()))

        def surface_of(model: str) -> str:
            try:
                surface: str = json.loads(_core.provider_facts(model, settings))["surface"]
            except OverheardError:
                return ""  # no model of ours, or no key for it
            return surface

        async with self._opened():
            told = await imported(
                self.store,
                rows,
                await self._choice.org(org),
                name=name,
                batch_key=batch_key,
                extract=extract,
                surface_of=surface_of,
                on_progress=on_progress,
            )
            if told.stored or told.extracted:
                await self._finish.keep_scores(await self._choice.batch(told.batch_id))
            return told

    async def status(self, batch_id: str) -> BatchStatus:
        """Where a batch stands.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            return await self._status(batch_id)

    async def watch(self, batch_id: str, *, every: float = 1.0) -> AsyncIterator[BatchStatus]:
        """Where a batch stands: at once, then whenever that changes, whatever process works on it.

            async for status in pipeline.watch(batch_id):
                print(status.message)

        Ends after a status that is `finished`, or with one of a cancelled batch on which nobody works any more. It sees
        to what follows the end of a batch, when who should have done it died before.

        Args:
            batch_id: The batch.
            every: Seconds between two looks at the store.

        Raises:
            ConfigError: There is no such batch; `every` is not above zero.
        """
        if not every > 0:
            raise ConfigError("every: must be a number of seconds above zero", field="every")
        async with self._opened():
            last = None
            while True:
                batch = await self._choice.batch(batch_id)
                status = self._status_of(batch)
                over = status.finished or (self._is_idle(batch) and await self._cancellations.is_cancelled(batch_id))
                if status.finished:
                    await self._finish.look(batch, status, announced=True, extracted=True)
                if status != last:
                    yield status
                if over:
                    return
                last = status
                await asyncio.sleep(every)

    async def cancel(self, batch_id: str) -> BatchStatus:
        """Cancels a batch: nothing new is asked of it, and no start continues it; `resume` may.

        What this process has in flight for it gets its grace; other processes see it when they renew their leases, at
        latest after a sixth of `lease_ms`. A batch that has ended stays as it is.

        Returns:
            Where it stands now; sessions may still be ending.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            batch = await self._choice.batch(batch_id)
            if batch.finished_at_ms is None or not self._is_idle(batch):
                await self._cancellations.note(batch_id, cancelled=True)
                _work.stop_batch(batch_id)
                ended = replace(batch, finished_at_ms=now_ms(), created_at_ms=batch.created_at_ms or now_ms())
                await retried(self.store.save_batch, replace(ended, model_runs=()))
                log.info("Batch %s is cancelled; go on with it: overheard resume %s", batch_id, batch_id)
            return await self._status(batch_id)

    async def _status(self, batch_id: str) -> BatchStatus:
        return self._status_of(await self._choice.batch(batch_id))

    def _status_of(self, batch: Batch) -> BatchStatus:
        return BatchStatus.of(batch, alive=_work.is_at_work(batch.batch_id))

    def _is_idle(self, batch: Batch) -> bool:
        """Nobody works on it, in this process or in another."""
        return not _work.is_at_work(batch.batch_id) and not any(run.is_leased(now_ms()) for run in batch.model_runs)

    async def insights(
        self, batch_or_org: str | Org, *, since: Since | None = None, against: str | None = None
    ) -> Insights:
        """What the completed model runs of a batch add up to; arguments and errors: `overheard.insights.measure`."""
        async with self._opened():
            choice = self._choice
            reading = partial(measure, load_org=choice.org, load_batch=choice.loaded, at_work=_work.at_work())
            return await reading(self.store, batch_or_org, since=since, against=against)

    async def quote(self, org: str | Org, **options: Unpack[RunOptions]) -> dict[str, Any]:
        """What a start would send and cost; sends nothing and stores nothing. Arguments as `run`.

        What the batch that the start would go on with has stored is not counted.

        Returns:
            `lines` (one a pair, then names and extraction), `accounts` (the same by the account that pays), `cells` to
            ask and `stored` ones, `expected_micro_usd`, `worst_case_micro_usd`, `spent_micro_usd` (so far),
            `max_cost_micro_usd` (None: no cap), `uncovered` (pairs whose first call it does not cover), `unknowns`.
        """
        async with self._opened():
            batch_key, new = options.pop("batch_key", None), options.pop("new", False)
            plan = await self._choice.plan(org, **options)
            found = None if new else await self._choice.found(plan.org.id, batch_key)
            if found is not None and found.model_runs:
                return await self._quoted(found, self._choice.continued(found, plan, options))
            batch = new_batch(plan, None, {})
            quote: dict[str, Any] = json.loads(_core.quote(self._quote_spec(batch, plan, (0, 0))))
            return quote

    async def quote_resume(
        self, batch_id: str, *, unfinished_only: bool = False, max_cost: Any = None
    ) -> dict[str, Any]:
        """What `resume` would send and cost; arguments as `resume`, result as `quote`.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened():
            batch = await self._choice.batch(batch_id)
            plan = await self._choice.plan_of(batch)
            if max_cost is not None:
                plan = replace(plan, max_cost_micro_usd=money("max_cost", max_cost))
            return await self._quoted(batch, plan, retry_failed=not unfinished_only)

    async def _quoted(self, batch: Batch, plan: Plan, *, retry_failed: bool = False) -> dict[str, Any]:
        holistic = await holistic_spent(self.store, batch.batch_id)
        spec = self._quote_spec(batch, plan, holistic, retry_failed=retry_failed)
        quote: dict[str, Any] = await _driver.drive("quote", spec, store_handlers(self.store, batch, self._facts))
        return dict(quote)

    def _quote_spec(self, batch: Batch, plan: Plan, holistic: tuple[int, int], *, retry_failed: bool = False) -> str:
        return run_spec(
            plan,
            batch,
            batch.model_runs,
            phase="run",
            settings=self.settings.to_json_dict(),
            custom=self.providers,
            retry_failed=retry_failed,
            holistic=holistic,
        )

    @staticmethod
    def at_work() -> list[str]:
        """The ids of the batches this process works on now, whatever pipeline does."""
        return _work.at_work()

    def stop(self) -> None:
        """Stops gracefully: nothing new starts, paid work in flight gets its grace. A signal handler may call it."""
        self._worker.stop()

    # --- parts ------------------------------------------------------------------------------------------------------

    async def _start(self, phase: Phase, org: str | Org, **options: Unpack[RunOptions]) -> Summary:
        async with self._opened():
            batch, plan = await self._choice.chosen(org, **options)
            return await self._work(phase, batch, plan, batch.model_runs)

    async def _work(
        self, phase: Phase, batch: Batch, plan: Plan, model_runs: Sequence[ModelRun], *, retry_failed: bool = False
    ) -> Summary:
        return await self._worker.work(
            phase, batch, plan, model_runs, retry_failed=retry_failed, on_progress=self.on_progress
        )

    def _journal(self) -> str:
        return self._worker.journal()


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
