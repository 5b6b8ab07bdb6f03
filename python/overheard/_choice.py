"""Which batch a start continues, which plan it follows, and who answers for its models. Runs nothing.

The one rule: an interrupted batch of the org is continued; else the key decides; else a new batch is made.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from overheard import _core, _owners
from overheard._batches import Cancellations, new_batch
from overheard._handlers import call
from overheard._labels import labels
from overheard._plan import Plan
from overheard._quiet import QuietText
from overheard._retry import retried
from overheard.batch import Batch, now_ms
from overheard.errors import ConfigError, OverheardError, StoreError
from overheard.org import Org
from overheard.orgfile import demo_org
from overheard.protocols import ProviderProtocol
from overheard.settings import Settings

log = logging.getLogger("overheard")

_PLAN_OPTIONS = frozenset({"models", "locations", "questions", "repeats", "extraction", "max_cost"})


class Choice:
    """Finds and makes batches in a store."""

    def __init__(
        self,
        store: Any,
        settings: Settings,
        providers: Mapping[str, ProviderProtocol],
        cancellations: Cancellations,
    ) -> None:
        """Reads nothing yet.

        Args:
            store: The user's `Store`.
            settings: What the environment and the caller said.
            providers: The user's own, by name.
            cancellations: Which batches of the store were cancelled.
        """
        self.store = store
        self.settings = settings
        self.providers = providers
        self.cancellations = cancellations

    async def chosen(
        self, org: str | Org, *, batch_key: str | None = None, new: bool = False, **options: Any
    ) -> tuple[Batch, Plan]:
        """The batch that a start goes on with, made when there is none, and its plan. Arguments as `RunOptions`.

        Raises:
            ConfigError: Something to mend before anything is sent; the batch of this key was cancelled.
        """
        plan = await self.plan(org, **options)
        org_id = plan.org.id
        if not new:
            found = await self.found(org_id, batch_key)
            if found is not None:
                return await self._with_model_runs(found), self.continued(found, plan, options)
        elif batch_key is not None and (old := await self.loaded(org_id=org_id, batch_key=batch_key)):
            # The key leads to the newest batch, so that the next start without `new` continues this one.
            freed = f"{batch_key} (before {now_ms()})"
            await call(self.store.save_batch, replace(old, batch_key=freed, model_runs=()))
        batch = new_batch(plan, batch_key, self.surfaces(plan))
        batch = replace(batch, config={**batch.config, "settings": self._told()})
        try:
            await self._make(batch)
        except Exception:
            # Another process may have made the batch of this key a moment ago.
            found = await self.loaded(org_id=org_id, batch_key=batch_key) if batch_key else None
            if found is None:
                raise
            return await self._with_model_runs(found), Plan.from_batch(found)
        log.info("Batch %s of %s: %s models, %s cells", batch.batch_id, org_id, batch.batch_size, plan.cells)
        log.info("Created batch %s with %d runs", batch.batch_id, batch.batch_size)
        return batch, plan

    async def _make(self, batch: Batch) -> None:
        """Stores a new batch with its model runs: at once where the store can, so that nobody sees one without."""
        if (at_once := getattr(self.store, "create_batch", None)) is not None:
            await call(at_once, batch)
            return
        await call(self.store.save_batch, replace(batch, model_runs=()))
        # Another start that saw the batch in between has made the same model runs, and may be at work on them.
        stored = await self.loaded(batch.batch_id)
        if stored is None or not stored.model_runs:
            await retried(self.store.save_model_runs, list(batch.model_runs))

    async def found(self, org_id: str, batch_key: str | None) -> Batch | None:
        """The batch that a start of the org goes on with; None: it makes a new one.

        Raises:
            ConfigError: The batch of this key was cancelled.
        """
        found = await self.loaded(org_id=org_id)
        if found is not None and await self.cancellations.is_cancelled(found.batch_id):
            found = None  # who cancelled it, or was still at work on it, was killed before its end was written
        if found is None and batch_key is not None:
            found = await self.loaded(org_id=org_id, batch_key=batch_key)
            if found is not None:
                await self.cancellations.refuse(found.batch_id, field="batch_key")
        return found

    async def _with_model_runs(self, batch: Batch) -> Batch:
        """The batch as it was planned, when its start ended between saving it and saving its model runs."""
        if batch.model_runs or not batch.config:
            return batch
        plan = Plan.from_batch(batch)
        made = new_batch(plan, batch.batch_key, self.surfaces(plan), batch_id=batch.batch_id)
        whole = replace(batch, model_runs=made.model_runs)
        await retried(self.store.save_model_runs, list(whole.model_runs))
        return whole

    def continued(self, batch: Batch, wanted: Plan, options: Mapping[str, Any]) -> Plan:
        """The plan of a batch that is continued: its own, but for the cap, which a start may raise."""
        if not batch.config:
            return wanted
        plan = Plan.from_batch(batch)
        if batch.finished_at_ms is None:
            log.info("Continuing batch %s of %s, which is not finished", batch.batch_id, batch.org_id)
        names = ("models", "locations", "questions", "repeats", "extraction")
        changed = [name for name in names if options.get(name) and getattr(plan, name) != getattr(wanted, name)]
        if plan.org != wanted.org:
            before, after = plan.org.to_dict(), wanted.org.to_dict()
            edited = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            changed.append(f"org (edited since: {', '.join(edited)})")
        if changed:
            log.warning("The batch keeps its own %s; a new batch would take yours", ", ".join(changed))
        if wanted.max_cost_micro_usd is not None:
            plan = replace(plan, max_cost_micro_usd=wanted.max_cost_micro_usd)
        return plan

    def _told(self) -> dict[str, Any]:
        """What the settings say beside the plan, and what decides what rows cost and mean."""
        prices = {model: dict(price) for model, price in self.settings.prices.items()}
        return {"extraction_model": self.settings.extraction_model, "prices": prices}

    def say_what_changed(self, batch: Batch) -> None:
        """Rows keep what they were booked with, the rest follows the settings of now: never without a word."""
        before, now = batch.config.get("settings"), self._told()
        if not isinstance(before, Mapping):
            return  # made by an older version, or by another system
        for name in sorted(now):
            if before.get(name) != now[name]:
                log.warning(
                    "%s: not what it was when batch %s was made; stored rows keep theirs, the rest takes the new",
                    name,
                    batch.batch_id,
                )

    async def plan(self, org: str | Org, **options: Any) -> Plan:
        """The plan of a new batch of the org; options as `Plan.of`.

        Raises:
            ConfigError: Names the option or field to mend.
        """
        unknown = set(options) - _PLAN_OPTIONS
        if unknown:
            raise ConfigError(f"unknown option '{min(unknown)}'; the options are {', '.join(sorted(_PLAN_OPTIONS))}")
        given = {name: value for name, value in options.items() if value is not None}
        return Plan.of(await self.org(org), self.settings, **given)

    def surfaces(self, plan: Plan) -> dict[str, str]:
        """Who answers for each model; a wrong model or a missing key is found here, before anything is written."""
        settings = QuietText(json.dumps(self.settings.to_json_dict()))
        surfaces = {model: self._surface(model, settings) for model in plan.models}
        if plan.extraction in ("llm", "llm-batch"):
            _core.provider_facts(self.settings.extraction_model, settings)
        return surfaces

    def _surface(self, model: str, settings: str) -> str:
        own = {name.lower(): name for name in self.providers}
        if model.lower() in own:
            return own[model.lower()]
        surface: str = json.loads(_core.provider_facts(model, settings))["surface"]
        return surface

    def labels(self, batch: Batch) -> dict[str, str]:
        """What log lines call each model run of a batch, by `run_id`: see `_labels.labels`."""
        settings = QuietText(json.dumps(self.settings.to_json_dict()))
        surfaces = {}
        for run in batch.model_runs:
            try:
                surfaces[run.run_id] = run.surface or self._surface(run.model, settings)
            except OverheardError:
                surfaces[run.run_id] = run.model  # whoever runs it may have the key that is missing here
        return labels(batch.model_runs, surfaces)

    async def org(self, org: str | Org) -> Org:
        """The org as it is now.

        Raises:
            ConfigError: There is none of this id.
        """
        if isinstance(org, Org):
            return org
        found: Org | None = _given("load_org", await retried(self.store.load_org, org), Org)
        if found is None and org == "demo":
            return demo_org()
        if found is None:
            raise ConfigError(
                f"there is no org '{org}' in the store; import it: overheard orgs import FILE", field="org"
            )
        return found

    async def plan_of(self, batch: Batch) -> Plan:
        """The plan a batch was made with; of rows that another system inserted, the one that its org gives."""
        if batch.config:
            return Plan.from_batch(batch)
        # Rows that another system inserted: the org says what is asked, the rows say of whom.
        models = [run.model for run in batch.model_runs]
        return await self.plan(await self.org(batch.org_id), models=models)

    async def loaded(self, batch_id: str | None = None, **wanted: Any) -> Batch | None:
        """What the store's `load_batch` finds, without leases of sessions that can be seen dead."""
        found: Batch | None = _given("load_batch", await retried(self.store.load_batch, batch_id, **wanted), Batch)
        # A store may know no more of a lease than its end; that its owner is dead is seen here.
        return None if found is None else _owners.settled_batch(found)

    async def batch(self, batch_id: str) -> Batch:
        """The batch of this id.

        Raises:
            ConfigError: There is none.
        """
        batch: Batch | None = await self.loaded(batch_id)
        if batch is None:
            raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
        return batch


def _given(callback: str, found: Any, kind: type[Any]) -> Any:
    """What a callback found: nothing, or a `kind`."""
    if found is None or isinstance(found, kind):
        return found
    raise StoreError(f"the callback {callback} returned {type(found).__name__}, expected {kind.__name__} or None")
