"""Asking a model without a store: one question, or a list of any length. Routing, limits and retry are the engine's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from overheard import _core, _driver
from overheard._handlers import provider_handlers
from overheard._plan import custom_providers
from overheard._quiet import Quiet, QuietText
from overheard.errors import ConfigError, InternalError, UnsupportedError
from overheard.org import Location
from overheard.protocols import ProviderProtocol
from overheard.settings import Settings

if TYPE_CHECKING:
    from overheard._core import Outcome


class Provider:
    """The provider that answers for one model. Make it with `for_model`; it holds no connection and needs no closing.

    Attributes:
        model: The model, as it was named.
        name: The company API that answers: `openai`, `anthropic`, `brightdata` or a custom name.
        surface: `chatgpt`, `perplexity`, `gemini`, `openai`, `anthropic` or a custom name.
        max_batch_size: Questions per submission at most; 1: no batching.
    """

    def __init__(
        self, model: str, settings: Settings, custom: Mapping[str, ProviderProtocol], facts: Mapping[str, Any]
    ) -> None:
        """See `for_model`."""
        self.model = model
        self.name: str = facts["provider"]
        self.surface: str = facts["surface"]
        self.max_batch_size: int = facts["max_batch_size"]
        self._settings = settings
        self._custom = custom

    @classmethod
    def for_model(
        cls,
        model: str,
        *,
        providers: Mapping[str, ProviderProtocol] | None = None,
        prices: Mapping[str, Mapping[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        **limits: Any,
    ) -> Provider:
        """The provider of a model.

        Args:
            model: `chatgpt`, `perplexity`, `gemini`, `gpt-4.1`, `claude-sonnet-4-5`, …, or a name in `providers`.
            providers: Name to provider of the user's own.
            prices: Prices by model in dollars, over the packaged ones.
            env: The variables; None: the process's environment over `.env`.
            **limits: See `overheard.settings.LIMITS`.

        Raises:
            ConfigError: Unknown model or price, a missing key (names its variable), an unknown limit.
        """
        if not isinstance(model, str) or not model.strip():
            raise ConfigError("model: must not be empty", field="model")
        env = None if env is None else Quiet(env)  # a traceback that shows locals must not show the keys
        settings = Settings.load(env, prices=prices, **limits)
        own = dict(providers or {})
        for entry in custom_providers(own):
            if entry["name"].lower() == model.lower():
                facts = {"provider": entry["name"], "surface": entry["name"], "max_batch_size": entry["max_batch_size"]}
                return cls(model, settings, own, facts)
        facts = json.loads(_core.provider_facts(model, QuietText(json.dumps(settings.to_json_dict()))))
        return cls(model, settings, own, facts)

    @property
    def supports_batching(self) -> bool:
        """True when the provider takes many questions in one submission."""
        return self.max_batch_size > 1

    def __repr__(self) -> str:
        """Names the model and the provider; no key."""
        return f"Provider(model={self.model!r}, name={self.name!r}, max_batch_size={self.max_batch_size})"

    async def run_question(
        self, question: str, *, location: Location | str | None = None, web_search: bool = True
    ) -> Outcome:
        """Asks one question.

        Args:
            question: The text, sent as it is.
            location: Where from; None: no location is sent.
            web_search: Let the model search the web, where the provider leaves the choice.

        Returns:
            The outcome: `answered`, `refused` or `no_answer`.

        Raises:
            OverheardError: What went wrong; the class says what, the attributes say where.
        """
        outcomes = await self.run_question_batch([question], location=location, web_search=web_search)
        (outcome,) = outcomes
        if outcome.status == "failed":
            raise outcome.error or InternalError("a failed outcome carries no error")
        return outcome

    async def run_question_web_search(self, question: str, *, location: Location | str | None = None) -> Outcome:
        """`run_question` with web search."""
        return await self.run_question(question, location=location, web_search=True)

    async def run_question_batch(
        self,
        questions: Sequence[str],
        *,
        location: Location | str | None = None,
        web_search: bool = True,
        native: bool = False,
    ) -> list[Outcome]:
        """Asks any number of questions, in submissions where the provider takes them, else many requests at once.

        Args:
            questions: The texts, sent as they are.
            location: Where from; None: no location is sent.
            web_search: Let the model search the web, where the provider leaves the choice.
            native: Insist on the provider's own batching.

        Returns:
            One outcome per question, in order; one that failed carries its error.

        Raises:
            ConfigError: The call as a whole is wrong; never for a single question's answer.
            UnsupportedError: `native` on a provider without batching.
        """
        if isinstance(questions, str):
            raise ConfigError("questions: must be a list of questions, not one text", field="questions")
        if native and not self.supports_batching:
            raise UnsupportedError(
                "Provider does not support batching",
                provider=self.name,
                model=self.model,
                hint=f"check the model: {self.name} takes one question a request; leave native out",
            )
        place = Location.parse(location) if isinstance(location, str) else location
        if not questions:
            return []
        spec = {
            "model": self.model,
            "questions": list(questions),
            "location": None if place is None else place.to_dict(),
            "web_search": web_search,
            "custom_providers": custom_providers(self._custom),
            "settings": self._settings.to_json_dict(),
        }
        outcomes: list[Outcome] = await _driver.drive(
            "ask", QuietText(json.dumps(spec)), provider_handlers(self._custom)
        )
        return outcomes
