"""The paid call of holistic insights against the simulator: what the provider saw, what it charged, what came back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from e2e_help import FAST, eventually, requests
from holistic_help import measured
from overheard.errors import BudgetExceeded, ConfigError, DecodeError, UnsupportedError
from overheard.holistic import Table, check
from overheard.holistic.call import Answer, ask, quote
from overheard.holistic.prompt import SCHEMA_NAME, request
from overheard.settings import Settings
from overheard.simulator import Simulator

REQUEST = request(Table.of(measured()))
MODELS = ("gpt-4.1-mini", "claude-sonnet-4-5")
PAID = ("openai.responses", "anthropic.messages")

every_model = pytest.mark.parametrize("model", MODELS)


def settings(simulator: Simulator, model: str = "gpt-4.1-mini", **limits: Any) -> Settings:
    return Settings.load(simulator.environment() | {"OVERHEARD_EXTRACTION_MODEL": model}, **(FAST | limits))


def charged(simulator: Simulator) -> int:
    return int(simulator.ledger()["charged_micro_usd"])


def calls(simulator: Simulator) -> int:
    return sum(requests(simulator).get(endpoint, 0) for endpoint in PAID)


@every_model
async def test_the_table_goes_out_under_the_schema_and_what_comes_back_holds(perfect: Simulator, model: str) -> None:
    answer = await ask(settings(perfect, model), REQUEST, None)
    assert answer.error is None
    assert (answer.cost_micro_usd, answer.maybe_charged_micro_usd) == (charged(perfect), 0)
    assert (calls(perfect), answer.attempts) == (1, 1)
    (seen,) = perfect.truth()["extractions"]
    assert sorted(seen["properties"]) == ["actions", "agreements", "disagreements"]
    assert seen["schema"] in (SCHEMA_NAME, "output_format")
    checked = check(answer.reply, Table.of(measured()))
    assert sum(checked.dropped.values()) == 0, checked.dropped
    assert checked.agreements
    assert checked.disagreements
    assert checked.actions
    price = quote(settings(perfect, model), REQUEST)
    assert price.model == answer.model == model
    assert 0 < charged(perfect) <= price.worst_case_micro_usd < price.most_micro_usd


@every_model
async def test_false_statements_are_all_dropped_or_true_after_all(perfect: Simulator, model: str) -> None:
    perfect.inject({}, "false_statements", times=None)
    answer = await ask(settings(perfect, model), REQUEST, None)
    (seen,) = perfect.truth()["extractions"]
    table = Table.of(measured())
    checked = check(answer.reply, table)
    said = [*answer.reply["agreements"], *answer.reply["disagreements"]]
    assert len(seen["false_statements"]) >= len(said) > 0
    assert sum(checked.dropped.values()) > 0
    # A reversed relation may be true by chance; what stays is true of the table whoever said it.
    for kept in (*checked.agreements, *checked.disagreements):
        assert all(table.figures[cited.metric].value == cited.value for cited in kept.metrics)
    assert not any("37 points" in kept.action for kept in checked.actions)


@every_model
@pytest.mark.parametrize("fault", ["broken_json", "invalid_schema"])
async def test_a_reply_that_breaks_the_schema_is_asked_once_more(perfect: Simulator, model: str, fault: str) -> None:
    perfect.inject({}, fault)
    answer = await ask(settings(perfect, model), REQUEST, None)
    assert answer.error is None
    assert (calls(perfect), answer.attempts) == (2, 2)
    assert answer.cost_micro_usd == charged(perfect)  # of both


@every_model
async def test_two_replies_that_break_the_schema_are_an_error_with_its_bill(perfect: Simulator, model: str) -> None:
    perfect.inject({}, "invalid_schema", times=None)
    answer = await ask(settings(perfect, model), REQUEST, None)
    assert isinstance(answer.error, DecodeError)
    assert answer.reply is None
    assert (calls(perfect), answer.cost_micro_usd) == (2, charged(perfect))


async def test_the_cap_stands_before_the_call_and_before_the_repair(perfect: Simulator) -> None:
    told = settings(perfect)
    worst = quote(told, REQUEST).worst_case_micro_usd
    answer = await ask(told, REQUEST, worst - 1)
    assert isinstance(answer.error, BudgetExceeded)
    assert (calls(perfect), charged(perfect), answer.cost_micro_usd) == (0, 0, 0)
    perfect.inject({}, "invalid_schema", times=None)
    answer = await ask(told, REQUEST, worst)  # the repair does not fit any more
    assert isinstance(answer.error, BudgetExceeded)
    assert (calls(perfect), answer.cost_micro_usd) == (1, charged(perfect))
    assert 0 < charged(perfect) <= worst


@every_model
async def test_a_lost_reply_is_sent_once_more_and_told_as_maybe_charged(perfect: Simulator, model: str) -> None:
    perfect.inject({}, "charge_then_close")
    answer = await ask(settings(perfect, model), REQUEST, None)
    assert answer.error is None
    assert (calls(perfect), answer.attempts) == (2, 2)
    (first, second) = perfect.ledger()["charges"]
    assert answer.cost_micro_usd == second["micro_usd"]
    assert answer.maybe_charged_micro_usd >= first["micro_usd"] > 0


async def test_a_refused_key_is_told_and_costs_nothing(perfect: Simulator) -> None:
    perfect.inject({}, "status:401", times=None)
    answer = await ask(settings(perfect), REQUEST, None)
    assert answer.error is not None
    assert answer.error.kind == "auth"
    assert (answer.cost_micro_usd, answer.maybe_charged_micro_usd, charged(perfect)) == (0, 0, 0)


async def test_what_cannot_be_asked_is_refused_before_anything_is_sent(perfect: Simulator) -> None:
    without = {name: value for name, value in perfect.environment().items() if name != "OPENAI_API_KEY"}
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        quote(Settings.load(without, **FAST), REQUEST)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await ask(Settings.load(without, **FAST), REQUEST, None)
    with pytest.raises(UnsupportedError, match="structured output"):
        quote(settings(perfect, "chatgpt"), REQUEST)
    with pytest.raises(ConfigError, match="schema_name"):
        quote(settings(perfect), REQUEST | {"schema_name": "no good name"})
    assert calls(perfect) == 0


async def test_a_stop_gives_up_what_is_in_flight_after_its_grace_and_books_it(perfect: Simulator) -> None:
    perfect.inject({}, "hang_headers", times=None)
    sessions: list[Any] = []
    asked: asyncio.Task[Answer] = asyncio.create_task(
        ask(settings(perfect, grace_ms=10), REQUEST, None, sessions.append)
    )
    await eventually(lambda: charged(perfect) > 0, "the call reached the provider")
    sessions[0].stop()
    answer = await asked
    assert answer.error is not None
    assert answer.error.kind in ("outcome_unknown", "cancelled")
    assert answer.maybe_charged_micro_usd >= charged(perfect)
    assert calls(perfect) == 1
