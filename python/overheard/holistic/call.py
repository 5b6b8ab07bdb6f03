"""The one paid call: who would answer and at what price, and the call itself through the engine. Judges no reply.

The engine sends it under the account's limits, retries it, asks for one repair and keeps its bill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overheard import _core, _driver
from overheard._quiet import QuietText
from overheard.errors import OverheardError, from_fields
from overheard.settings import Settings

if TYPE_CHECKING:
    from overheard._core import Session


@dataclass(frozen=True)
class Quote:
    """Who would answer, and what it can cost, in micro-dollars.

    Attributes:
        provider: The account that pays.
        model: The extraction model of the settings.
        worst_case_micro_usd: One request at most.
        most_micro_usd: All requests at most: a repair, and each sent a second time because its reply was lost.
    """

    provider: str
    model: str
    worst_case_micro_usd: int
    most_micro_usd: int


@dataclass(frozen=True)
class Answer:
    """What came of the call.

    Attributes:
        reply: The JSON object, which follows the schema; None: the call failed.
        model: The model that was asked.
        cost_micro_usd: The charge; None: unpriced.
        maybe_charged_micro_usd: What requests whose reply was lost may have been charged.
        attempts: Requests sent.
        error: Why it failed; None: it did not.
    """

    reply: Any
    model: str
    cost_micro_usd: int | None
    maybe_charged_micro_usd: int
    attempts: int
    error: OverheardError | None


def quote(settings: Settings, request: Mapping[str, Any]) -> Quote:
    """The price of a call; sends nothing.

    Raises:
        ConfigError: The model's key is missing, or its price is not known.
        UnsupportedError: The extraction model has no structured output.
    """
    return Quote(**json.loads(_core.quote_structured(_spec(settings, request, None))))


async def ask(
    settings: Settings,
    request: Mapping[str, Any],
    max_cost_micro_usd: int | None,
    on_session: Callable[[Session], None] | None = None,
) -> Answer:
    """Makes the call. What fails after something was sent stands in the answer beside its bill.

    Args:
        settings: Their extraction model is asked.
        request: As `prompt.request` makes it.
        max_cost_micro_usd: Most it may cost with all its requests; None: no cap.
        on_session: Called with the session, whose `stop()` ends it gracefully.

    Raises:
        OverheardError: As `quote`, before anything is sent; `InternalError`: the engine ended without a word.
    """
    spec = _spec(settings, request, max_cost_micro_usd)
    told = await _driver.drive("structured", spec, {}, on_session=on_session)
    return Answer(
        reply=None if told["json"] is None else _read(told["json"]),
        model=told["model"],
        cost_micro_usd=told["cost_micro_usd"],
        maybe_charged_micro_usd=told["maybe_charged_micro_usd"],
        attempts=told["attempts"],
        error=None if told["error"] is None else from_fields(told["error"]),
    )


def _spec(settings: Settings, request: Mapping[str, Any], max_cost_micro_usd: int | None) -> QuietText:
    whole = {**request, "max_cost_micro_usd": max_cost_micro_usd, "settings": settings.to_json_dict()}
    return QuietText(json.dumps(whole))


def _read(text: str) -> Any:
    """The engine has read it before; a number that Python cannot take makes it no reply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
