"""The official Anthropic client against the simulator, with strict response validation."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from fractions import Fraction

import anthropic
import pytest
from overheard.simulator import Simulator

MODEL = "claude-sonnet-4-6"
SEARCH = {
    "type": "web_search_20250305",
    "name": "web_search",
    "max_uses": 3,
    "user_location": {"type": "approximate", "country": "FR"},
}
QUESTION = "Which CRM suits a bakery?"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=11, perfect=True, snapshot_ms=60) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=simulator.url, api_key="k", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def ask(client: anthropic.Anthropic, question: str = QUESTION, **more: object) -> anthropic.types.Message:
    messages = more.pop("messages", [{"role": "user", "content": question}])
    return client.messages.create(model=MODEL, max_tokens=4000, messages=messages, **more)


def joined(*messages: anthropic.types.Message) -> str:
    return "".join(block.text for message in messages for block in message.content if block.type == "text")


def test_the_answer_is_cut_into_blocks_with_citations(simulator: Simulator, client: anthropic.Anthropic) -> None:
    message = ask(client, tools=[SEARCH])
    assert message.stop_reason == "end_turn"
    (answer,) = simulator.truth()["answers"]
    assert joined(message) == answer["text"]
    assert answer["country"] == "FR"
    cited = [citation.url for b in message.content if b.type == "text" for citation in b.citations or []]
    assert cited
    assert cited == [c["url"] for c in answer["citations"] if c["cited"] and c["url"] in cited]
    results = [block for block in message.content if block.type == "web_search_tool_result"]
    assert message.usage.server_tool_use.web_search_requests == len(results)
    found = {result.url for block in results for result in block.content}
    assert found >= set(cited)
    assert {c["url"] for c in answer["citations"]} >= found


def test_the_ledger_charges_exactly(simulator: Simulator, client: anthropic.Anthropic) -> None:
    for number in range(10):
        message = ask(client, f"{QUESTION} {number}", tools=[SEARCH])
        usage = message.usage
        searches = usage.server_tool_use.web_search_requests
        exact = usage.input_tokens * 3 + usage.output_tokens * 15 + searches * 10_000
        charge = simulator.ledger()["charges"][-1]
        assert charge["micro_usd"] == exact
        assert charge["id"] == message.id


def test_a_paused_turn_continues_when_it_is_sent_back(simulator: Simulator, client: anthropic.Anthropic) -> None:
    simulator.inject({"nth": 1}, "pause")
    first = ask(client, tools=[SEARCH])
    assert first.stop_reason == "pause_turn"
    assert joined(first) == ""
    content = [block.model_dump() for block in first.content]
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": content}]
    second = ask(client, messages=messages, tools=[SEARCH])
    assert second.stop_reason == "end_turn"
    ledger = simulator.ledger()
    assert [charge["status"] for charge in ledger["charges"]] == ["paused", "answer"]
    with Simulator(seed=11, perfect=True) as again, anthropic.Anthropic(base_url=again.url, api_key="k") as other:
        whole = ask(other, tools=[SEARCH])
    assert joined(first, second) == joined(whole)
    parts = [m.usage.server_tool_use.web_search_requests for m in (first, second, whole)]
    assert parts[0] + parts[1] == parts[2]


def test_a_turn_can_be_paused_for_ever(simulator: Simulator, client: anthropic.Anthropic) -> None:
    simulator.inject(None, "pause", None)
    content: list[dict[str, object]] = []
    for _ in range(5):
        messages: list[dict[str, object]] = [{"role": "user", "content": QUESTION}]
        if content:
            messages.append({"role": "assistant", "content": content})
        message = ask(client, messages=messages, tools=[SEARCH])
        assert message.stop_reason == "pause_turn"
        content = content + [block.model_dump() for block in message.content]
    assert len(simulator.ledger()["charges"]) == 5


def test_a_search_error_stands_inside_a_200(simulator: Simulator, client: anthropic.Anthropic) -> None:
    simulator.inject(None, "search_error:max_uses_exceeded", None)
    for number in range(4):
        message = ask(client, f"{QUESTION} {number}", tools=[SEARCH])
        results = [block.content for block in message.content if block.type == "web_search_tool_result"]
        errors = [content for content in results if not isinstance(content, list)]
        assert [content.error_code for content in errors] == ["max_uses_exceeded"]
        assert message.usage.server_tool_use.web_search_requests == len(results) - 1
        assert joined(message)


def test_refusal_thinking_and_truncation(simulator: Simulator, client: anthropic.Anthropic) -> None:
    simulator.inject({"nth": 1}, "refusal")
    assert ask(client).stop_reason == "refusal"
    thinking = ask(client, thinking={"type": "enabled", "budget_tokens": 1024})
    assert thinking.content[0].type == "thinking"
    cut = client.messages.create(model=MODEL, max_tokens=40, messages=[{"role": "user", "content": QUESTION}])
    assert cut.stop_reason == "max_tokens"
    assert len(joined(cut)) <= 160


def test_structured_outputs_and_forced_tools(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"mentioned": {"type": "boolean"}, "note": {"type": "string"}},
        "required": ["mentioned"],
        "additionalProperties": False,
    }
    message = ask(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert set(json.loads(joined(message))) == {"mentioned", "note"}
    open_schema = {**schema, "additionalProperties": True}
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        ask(client, output_config={"format": {"type": "json_schema", "schema": open_schema}})
    tool = {"name": "report", "input_schema": schema}
    forced = ask(client, tools=[tool], tool_choice={"type": "tool", "name": "report"})
    assert forced.stop_reason == "tool_use"
    assert forced.content[0].input["mentioned"] is False


def test_errors_have_the_provider_s_classes(simulator: Simulator, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="claude-does-not-exist"):
        client.messages.create(model="claude-does-not-exist", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.BadRequestError, match="stream"):
        ask(client, stream=True)
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        ask(client, messages=[])
    with pytest.raises(anthropic.BadRequestError, match="allowed_domains"):
        ask(client, tools=[{**SEARCH, "allowed_domains": ["a.example"], "blocked_domains": ["b.example"]}])
    for fault, error in [
        ("status:401", anthropic.AuthenticationError),
        ("status:403", anthropic.PermissionDeniedError),
        ("rate_limited:7", anthropic.RateLimitError),
        ("spend_limit", anthropic.RateLimitError),
        ("insufficient_quota", anthropic.APIStatusError),
        ("status:500", anthropic.InternalServerError),
        ("overloaded", anthropic.InternalServerError),
        ("close_before_reply", anthropic.APIConnectionError),
    ]:
        simulator.inject({"endpoint": "anthropic"}, fault)
        with pytest.raises(error) as caught:
            ask(client)
        if fault == "overloaded":
            assert caught.value.status_code == 529
            assert caught.value.body["error"]["type"] == "overloaded_error"
        if fault == "insufficient_quota":
            assert caught.value.status_code == 402
    assert simulator.ledger()["charged_micro_usd"] == 0


def test_no_key_is_a_401(simulator: Simulator) -> None:
    request = urllib.request.Request(f"{simulator.url}/v1/messages", b"{}", {"anthropic-version": "2023-06-01"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 401
    body = json.load(caught.value)
    assert body["error"]["type"] == "authentication_error"
    assert body["request_id"] == caught.value.headers["request-id"]
    caught.value.close()


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert counted.input_tokens > 0


def test_a_message_batch_runs_to_its_end(simulator: Simulator, client: anthropic.Anthropic) -> None:
    params = {
        "model": MODEL,
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [SEARCH],
    }
    requests = [{"custom_id": f"q{number}", "params": params} for number in range(4)]
    requests.append({"custom_id": "bad", "params": {**params, "model": "claude-nope"}})
    batch = client.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress"
    while batch.processing_status != "ended":
        batch = client.messages.batches.retrieve(batch.id)
    assert batch.request_counts.succeeded == 4
    assert batch.request_counts.errored == 1
    results = {entry.custom_id: entry.result for entry in client.messages.batches.results(batch.id)}
    assert results.pop("bad").error.error.type == "not_found_error"
    assert {result.type for result in results.values()} == {"succeeded"}
    charges = simulator.ledger()["charges"]
    assert len(charges) == 4
    for charge in charges:
        # Tokens at half price, the search fee whole.
        exact = Fraction(charge["input_tokens"] * 3 + charge["output_tokens"] * 15, 2) + charge["searches"] * 10_000
        assert charge["micro_usd"] == int(exact + Fraction(1, 2))
    assert [entry.id for entry in client.messages.batches.list()] == [batch.id]
    assert client.messages.batches.delete(batch.id).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_a_message_batch_can_be_cancelled() -> None:
    with (
        Simulator(perfect=True, snapshot_ms=600_000) as slow,
        anthropic.Anthropic(base_url=slow.url, api_key="k", _strict_response_validation=True) as client,
    ):
        params = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": QUESTION}]}
        batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
        while (batch := client.messages.batches.retrieve(batch.id)).processing_status != "ended":
            pass
        assert batch.request_counts.canceled == 1
        (result,) = client.messages.batches.results(batch.id)
        assert result.result.type == "canceled"
        assert slow.ledger()["charged_micro_usd"] == 0
