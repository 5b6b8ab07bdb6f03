"""Extraction without a store: answers in, extractions out. The rules and the calls are the engine's; keeps no answer.

from overheard import Extractor, Org

extractor = Extractor(Org("acme", "Acme", ["https://acme.example"], competitors=["Bolt"]))
for extraction in extractor.extract(["1. Bolt is cheap.\\n2. Acme is good."]):
    print(extraction.evaluation.mention_rank, extraction.evidence["mention_rank"])
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from overheard import _core, _driver
from overheard._quiet import Quiet, QuietText
from overheard.errors import ConfigError
from overheard.org import Org
from overheard.settings import Settings, money

if TYPE_CHECKING:
    from overheard._core import Extraction, Outcome, QuestionRun

    Answer: TypeAlias = str | Outcome | QuestionRun | None

_CHUNK_ANSWERS = 256
_CHUNK_CHARACTERS = 2_000_000  # some 10 ms of rules: how long a Ctrl-C waits, but for one larger answer


class Extractor:
    """Looks for one org in answers. Holds no connection and needs no closing; one may be used from several threads.

    Attributes:
        org: The org looked for.
        model: The extraction model of `extract_async`; None: rules only.
        max_cost_micro_usd: Most that all calls of this object together may cost; None: no cap.
        cost_micro_usd: What they were charged so far, micro-dollars.
        maybe_charged_micro_usd: What requests whose reply was lost may have been charged beside it.
        unpriced: Extractions whose charge is not known.
    """

    def __init__(
        self,
        org: Org | Mapping[str, Any],
        model: str | None = None,
        *,
        names: Iterable[str] = (),
        max_cost: str | int | Decimal | None = None,
        prices: Mapping[str, Mapping[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        **limits: Any,
    ) -> None:
        """Compiles the rules and checks the rest; sends nothing.

        Args:
            org: The org, or a mapping of its fields. It needs no questions, models or locations.
            model: A model with structured output (`gpt-4.1-mini`, `claude-haiku-4-5`) for `extract_async`; its key
                comes from the environment.
            names: Further forms of the org's name, beside those that follow from name, aliases and websites.
            max_cost: Most that `extract_async` may cost over all its calls, in dollars: text, whole number or Decimal.
            prices: Prices by model in dollars, over the packaged ones.
            env: The variables; None: the process's environment over `.env`.
            **limits: See `overheard.settings.LIMITS`.

        Raises:
            ConfigError: Names the argument, field or variable to mend.
            UnsupportedError: The model has no structured output.
        """
        if isinstance(names, str):
            raise ConfigError("names: must be a list of names, not one text", field="names")
        self.org = org if isinstance(org, Org) else Org.from_dict(org)
        self.model = model
        self.max_cost_micro_usd = None if max_cost is None else money("max_cost", max_cost)
        self.cost_micro_usd = self.maybe_charged_micro_usd = self.unpriced = 0
        env = None if env is None else Quiet(env)  # a traceback that shows locals must not show the keys
        self._settings = Settings.load(env, prices=prices, **limits)
        self._rules = _core.LocalExtractor(json.dumps(self.org.to_dict()), [str(name) for name in names])
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        if model is not None:
            if not isinstance(model, str) or not model.strip():
                raise ConfigError("model: must not be empty", field="model")
            self._settings = replace(self._settings, values={**self._settings.values, "extraction_model": model})
            _core.quote_structured(self._spec(_NO_CALL))  # a missing key or price is told now

    def __repr__(self) -> str:
        """Names the org, the model and what the rules are; no key."""
        return f"Extractor(org={self.org.id!r}, model={self.model!r}, fingerprint={self.fingerprint!r})"

    @property
    def fingerprint(self) -> str:
        """Of what the org's entry and the names tell the rules: 16 hexadecimal digits, as `Extraction.fingerprint`."""
        return self._rules.fingerprint

    @property
    def version(self) -> str:
        """The extractor's version, as `Extraction.extractor_version`."""
        return self._rules.version

    @property
    def names(self) -> list[str]:
        """All forms of the org's name that are looked for, beside its domains and what the matcher bridges."""
        return self._rules.names

    def extract(self, answers: Iterable[Answer]) -> list[Extraction]:
        """Extracts by rules, also when there is a model: free, in microseconds, with the interpreter let go.

        Args:
            answers: Texts, outcomes or question runs, in any mixture; None is an answer that is not there. Only
                `answered` outcomes have a text to look at. A text or an outcome gets the key
                `answer-<number>|<model>|anywhere|1`, numbered from 1 in the order given, with the outcome's
                `served_model`, or `text`. A lone surrogate of a text counts as one character, U+FFFD.

        Returns:
            One extraction an answer, in order; spans count characters, as `text[start:end]` does.

        Raises:
            TypeError: An answer is something else, named by its number; a single text instead of a list.
        """
        extractions: list[Extraction] = []
        for runs in self._chunks(answers):
            extractions += self._rules.extract(runs)
        return extractions

    async def extract_async(self, answers: Iterable[Answer]) -> list[Extraction]:
        """Extracts with the model; without one as `extract`, in a thread.

        Many calls at once under the account's limits, one after another for calls of the same object, so that
        `max_cost` holds for all together. Cancelling it ends it at once; what was in flight then is in no bill.

        Args:
            answers: As `extract`. The model is asked only about answers that have a text.

        Returns:
            One extraction an answer, in order. One that failed, or that the model was not asked about (`max_cost`, a
            wrong key), says so in its `error`, with the rules' part where the model was not asked.

        Raises:
            ConfigError: Before anything is sent.
            TypeError: As `extract`.
        """
        if self.model is None:
            extractions: list[Extraction] = []
            for runs in self._chunks(answers):
                extractions += await asyncio.to_thread(self._rules.extract, runs)
            return extractions
        runs = list(chain.from_iterable(self._chunks(answers)))
        if not runs:
            return []
        async with self._lock():
            spec = {
                "org": self.org.to_dict(),
                "names": self._rules.names,
                "max_cost_micro_usd": self._left(),
                "settings": self._settings.to_json_dict(),
            }
            extractions = await _driver.drive("extract", QuietText(json.dumps(spec)), {}, records=runs)
            for extraction in extractions:
                self.cost_micro_usd += extraction.cost_micro_usd or 0
                self.maybe_charged_micro_usd += extraction.maybe_charged_micro_usd
                self.unpriced += extraction.cost_micro_usd is None
            return extractions

    # --- parts ------------------------------------------------------------------------------------------------------

    def _chunks(self, answers: Iterable[Answer]) -> Iterator[list[QuestionRun]]:
        """Question runs, so many at once that a Ctrl-C is heard between two lists."""
        if isinstance(answers, str):
            raise TypeError("answers: expected a list of answers, not one text")
        taken: list[Answer] = []
        characters, first = 0, 1
        for answer in answers:
            taken.append(answer)
            characters += len(answer if isinstance(answer, str) else getattr(answer, "text", None) or "")
            if len(taken) >= _CHUNK_ANSWERS or characters >= _CHUNK_CHARACTERS:
                yield self._rules.runs(taken, first)
                first += len(taken)
                taken, characters = [], 0
        if taken:
            yield self._rules.runs(taken, first)

    def _left(self) -> int | None:
        if self.max_cost_micro_usd is None:
            return None
        return max(0, self.max_cost_micro_usd - self.cost_micro_usd - self.maybe_charged_micro_usd)

    def _lock(self) -> asyncio.Lock:
        """One of this event loop: a lock that another loop has used is of no use here."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        return self._turn[1]

    def _spec(self, call: Mapping[str, Any]) -> str:
        return QuietText(json.dumps({**call, "settings": self._settings.to_json_dict()}))


_NO_CALL: Mapping[str, Any] = {
    "schema_name": "none",
    "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    "system": "",
    "user": "",
}


def rules_of(org: Org, names: Sequence[str] = ()) -> _core.LocalExtractor:
    """The compiled rules for an org, for what works on a store."""
    return _core.LocalExtractor(json.dumps(org.to_dict()), list(names))
