"""What a start was told, checked, and what the engine is told: from options to a plan, to a batch's config, to a spec.

No I/O. The spec's fields are those of `src/pipeline/spec.rs`, which refuses any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from overheard._quiet import QuietText
from overheard.batch import Batch, ModelRun
from overheard.errors import ConfigError
from overheard.org import Location, Org, Question
from overheard.protocols import ProviderProtocol
from overheard.settings import Settings, money

Extraction = Literal["auto", "local", "llm", "llm-batch"]
Phase = Literal["run", "execute", "extract"]

_MOST_REPEATS = 65_535  # the engine counts repeats in 16 bits
_DEFAULT_IN_FLIGHT = 8  # calls of a user's provider at the same time, when it does not say


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The matrix of a batch and how it is extracted.

    Attributes:
        org: As it is when the batch is made: a later change of the org does not change the batch.
        models: Models to ask.
        locations: Where from; empty: from anywhere.
        questions: What to ask.
        repeats: Times each question is asked of each pair.
        extraction: `local` or `llm`.
        max_cost_micro_usd: Most the batch may cost over all its starts; None: no cap.
    """

    org: Org
    models: tuple[str, ...]
    locations: tuple[Location, ...]
    questions: tuple[Question, ...]
    repeats: int
    extraction: Literal["local", "llm", "llm-batch"]
    max_cost_micro_usd: int | None

    @classmethod
    def of(
        cls,
        org: Org,
        settings: Settings,
        *,
        models: Sequence[str] | None = None,
        locations: Sequence[Location | str] | None = None,
        questions: int | Sequence[str] | None = None,
        repeats: int = 1,
        extraction: Extraction = "auto",
        max_cost: str | int | Decimal | None = None,
    ) -> Plan:
        """The plan of a new batch; None means what the org says.

        Raises:
            ConfigError: Names the option or field to mend.
        """
        if isinstance(models, str):
            raise ConfigError("models: must be a list of models, not one text", field="models")
        if isinstance(locations, str):
            raise ConfigError("locations: must be a list of locations, not one text", field="locations")
        chosen_models = tuple(dict.fromkeys(org.models if models is None else models))
        if not chosen_models:
            raise ConfigError(f"org '{org.id}' names no models: add models to the org or to the start", field="models")
        if not all(isinstance(model, str) and model.strip() for model in chosen_models):
            raise ConfigError("models: a model name must not be empty", field="models")
        given = org.locations if locations is None else locations
        places = (entry if isinstance(entry, Location) else Location.parse(entry) for entry in given)
        if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= _MOST_REPEATS:
            raise ConfigError(f"repeats: must be from 1 to {_MOST_REPEATS}", field="repeats")
        return cls(
            org=org,
            models=chosen_models,
            locations=tuple(dict.fromkeys(places)),
            questions=_chosen_questions(org, questions),
            repeats=repeats,
            extraction=resolve_extraction(extraction, settings),
            max_cost_micro_usd=None if max_cost is None else money("max_cost", max_cost),
        )

    @classmethod
    def from_batch(cls, batch: Batch) -> Plan:
        """The plan a batch was made with, and the models of rows that another system inserted since.

        Raises:
            ConfigError: The batch was not made by this package.
        """
        try:
            config = batch.config
            org = Org.from_dict(config["org"])
            texts = {question.id: question for question in org.question_list}
            return cls(
                org=org,
                models=tuple(dict.fromkeys([*config["models"], *(run.model for run in batch.model_runs)])),
                locations=tuple(Location(**entry) for entry in config["locations"]),
                questions=tuple(texts[entry] for entry in config["questions"]),
                repeats=config["repeats"],
                extraction=config["extraction"],
                max_cost_micro_usd=config["max_cost_micro_usd"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"batch {batch.batch_id} keeps no plan of ours", field="config") from error

    def to_config(self) -> dict[str, Any]:
        """What the batch keeps of the plan."""
        return {
            "org": self.org.to_dict(),
            "models": list(self.models),
            "locations": [location.to_dict() for location in self.locations],
            "questions": [question.id for question in self.questions],
            "repeats": self.repeats,
            "extraction": self.extraction,
            "max_cost_micro_usd": self.max_cost_micro_usd,
        }

    @property
    def cells(self) -> int:
        """Cells of the whole matrix."""
        return len(self.models) * max(1, len(self.locations)) * len(self.questions) * self.repeats


def resolve_extraction(extraction: Extraction, settings: Settings) -> Literal["local", "llm", "llm-batch"]:
    """What `auto` means here: `llm` when the extraction model's key is set, else `local`.

    Raises:
        ConfigError: Unknown word, or a way this version does not have.
    """
    if extraction == "auto":
        return "llm" if settings.keys.get(_extraction_account(settings)) else "local"
    if extraction not in ("local", "llm", "llm-batch"):
        raise ConfigError(f"extraction: '{extraction}' is none of auto, local, llm, llm-batch", field="extraction")
    return extraction


def _extraction_account(settings: Settings) -> str:
    model = settings.extraction_model.lower()
    account, separator, _ = model.partition(":")
    if separator and account in settings.keys:
        return account
    return "anthropic" if any(word in model for word in ("claude", "sonnet", "opus", "haiku")) else "openai"


def _chosen_questions(org: Org, wanted: int | Sequence[str] | None) -> tuple[Question, ...]:
    questions = org.question_list
    if not questions:
        raise ConfigError(f"org '{org.id}' has no questions", field="questions")
    if wanted is None:
        return questions
    if isinstance(wanted, (bool, str)):
        raise ConfigError("questions: must be a number, or a list of question ids", field="questions")
    if isinstance(wanted, int):
        if wanted < 1:
            raise ConfigError("questions: must be at least 1", field="questions")
        return questions[:wanted]
    by_id = {question.id: question for question in questions}
    if missing := [entry for entry in wanted if entry not in by_id]:
        raise ConfigError(f"questions: org '{org.id}' has no question '{missing[0]}'", field="questions")
    return tuple(by_id[entry] for entry in dict.fromkeys(wanted))


def run_spec(
    plan: Plan,
    batch: Batch,
    model_runs: Iterable[ModelRun],
    *,
    phase: Phase,
    settings: Mapping[str, Any],
    custom: Mapping[str, ProviderProtocol],
    retry_failed: bool = False,
    owner: str | None = None,
    labels: Mapping[str, str] | None = None,
    holistic: tuple[int, int] = (0, 0),
) -> str:
    """The JSON of a run, as `RunSpec` of the engine reads it. Holds the keys: hand it to the engine only.

    `owner` takes the leases of the model runs; None: none is taken.
    `labels`: what log lines call a model run, by `run_id`.
    `holistic`: what the batch's holistic insights were charged, and may have been charged, so far; micro-dollars.
    """
    model_runs = list(model_runs)
    return QuietText(
        json.dumps(
            {
                "phase": phase,
                "batch_id": batch.batch_id,
                "batch_key": batch.batch_key,
                "created_at_ms": batch.created_at_ms or None,
                "org": plan.org.to_dict(),
                "models": [_model_spec(run, (labels or {}).get(run.run_id)) for run in model_runs],
                "batch_size": batch.batch_size,
                "locations": [location.to_dict() for location in plan.locations],
                "questions": [question.to_dict() for question in plan.questions],
                "repeats": plan.repeats,
                "extraction": plan.extraction,
                "overhead_micro_usd": batch.overhead_micro_usd,
                "batch_overhead_micro_usd": batch.all_overhead_micro_usd + holistic[0],
                "batch_overhead_maybe_charged_micro_usd": sum(
                    run.overhead_maybe_charged_micro_usd for run in batch.model_runs
                )
                + holistic[1],
                "retry_failed": retry_failed,
                "owner": owner,
                "ended": batch.finished_at_ms is not None,
                "max_cost_micro_usd": plan.max_cost_micro_usd,
                "budget_share": _budget_share(batch, model_runs),
                "custom_providers": custom_providers(custom),
                "settings": settings,
            }
        )
    )


def _budget_share(batch: Batch, model_runs: Sequence[ModelRun]) -> tuple[int, int]:
    """This start's share of what `max_cost` leaves: its model runs, of those that are open.

    Other processes may run the others at the same time, and see nothing of what this one spends until it is stored;
    with shares they cannot exceed the cap together.
    """
    mine = {run.run_id for run in model_runs}
    others = sum(run.status in ("queued", "running") and run.run_id not in mine for run in batch.model_runs)
    return max(1, len(mine)), max(1, len(mine)) + others


def _model_spec(run: ModelRun, label: str | None) -> dict[str, Any]:
    return {
        "model": run.model,
        "run_id": run.run_id,
        "overhead_micro_usd": run.overhead_micro_usd,
        "overhead_maybe_charged_micro_usd": run.overhead_maybe_charged_micro_usd,
        "row": run.to_dict(),
        "label": label,
    }


def custom_providers(custom: Mapping[str, ProviderProtocol]) -> list[dict[str, Any]]:
    """The user's providers, as the engine is told of them.

    Raises:
        ConfigError: A provider lacks what the protocol asks for.
    """
    entries = []
    for name, provider in custom.items():
        if not callable(getattr(provider, "ask", None)):
            raise ConfigError(f"providers: '{name}' has no method ask(requests)", field="providers")
        batching = getattr(provider, "supports_batching", False)
        size = getattr(provider, "max_batch_size", 1) if batching else 1
        in_flight = getattr(provider, "max_in_flight", _DEFAULT_IN_FLIGHT)
        for what, value in (("max_batch_size", size), ("max_in_flight", in_flight)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"providers: '{name}': {what} must be a whole number from 1", field="providers")
        price = getattr(provider, "price_per_question", None)
        entries.append(
            {
                "name": name,
                "max_batch_size": size,
                "max_in_flight": in_flight,
                "micro_usd_per_question": None
                if price is None
                else money(f"providers: '{name}': price_per_question", price),
            }
        )
    return entries
