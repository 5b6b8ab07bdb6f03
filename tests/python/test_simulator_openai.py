"""The official OpenAI client against the simulator, with strict response validation."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction

import openai
import pytest
from overheard.simulator import Simulator

SEARCH = {"type": "web_search", "user_location": {"type": "approximate", "country": "DE", "city": "Berlin"}}
QUESTION = "Which documentation tool should a small team choose, and is Quillmark any good?"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, perfect=True, snapshot_ms=60) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    base, key = f"{simulator.url}/v1", "sk-simulated"
    with openai.OpenAI(base_url=base, api_key=key, max_retries=0, _strict_response_validation=True) as made:
        yield made


def test_a_web_search_answer_has_annotations_in_characters(simulator: Simulator, client: openai.OpenAI) -> None:
    annotated = 0
    for number in range(8):
        response = client.responses.create(
            model="gpt-5",
            input=f"{QUESTION} ({number})",
            tools=[SEARCH],
            include=["web_search_call.action.sources"],
        )
        assert response.status == "completed"
        message = response.output[-1]
        (part,) = message.content
        for annotation in part.annotations:
            marked = part.text[annotation.start_index : annotation.end_index]
            assert marked.startswith("([")
            assert marked.endswith(f"]({annotation.url}))")
            annotated += 1
        actions = [item.action for item in response.output if item.type == "web_search_call"]
        searches = [action for action in actions if action.type == "search"]
        assert searches
        assert all(action.sources is not None for action in searches)
        assert {action.type for action in actions} <= {"search", "open_page", "find_in_page"}
        assert response.tools[0].user_location.country == "DE"
        assert response.model == "gpt-5-2025-08-07"
    assert annotated > 8


def test_sources_come_only_with_the_include(client: openai.OpenAI) -> None:
    response = client.responses.create(model="gpt-4.1", input=QUESTION, tools=[SEARCH])
    searches = [item for item in response.output if item.type == "web_search_call"]
    assert searches
    assert all(item.action.sources is None for item in searches)
    assert not [item for item in response.output if item.type == "reasoning"]


def test_a_plain_answer_searches_nothing(simulator: Simulator, client: openai.OpenAI) -> None:
    response = client.responses.create(model="gpt-4.1-mini", instructions="Be brief.", input=QUESTION)
    assert [item.type for item in response.output] == ["message"]
    (answer,) = simulator.truth()["answers"]
    assert answer["text"] == response.output_text
    assert answer["prompt"] == QUESTION
    assert answer["id"]


def test_the_ledger_charges_exactly(simulator: Simulator, client: openai.OpenAI) -> None:
    prices = {"gpt-5": ("1.25", "0.125", "10", "0.01"), "gpt-4.1-mini": ("0.4", "0.1", "1.6", "0.025")}
    total = 0
    for model, (plain, cached, produced, search) in prices.items():
        for number in range(10):
            response = client.responses.create(model=model, input=f"best CRM {number}", tools=[SEARCH])
            usage = response.usage
            assert usage is not None
            hits = usage.input_tokens_details.cached_tokens
            searches = sum(i.type == "web_search_call" and i.action.type == "search" for i in response.output)
            exact = (
                (usage.input_tokens - hits) * Fraction(plain)
                + hits * Fraction(cached)
                + usage.output_tokens * Fraction(produced)
                + searches * Fraction(search) * 1_000_000
            )
            charge = simulator.ledger()["charges"][-1]
            assert charge["micro_usd"] == int(exact + Fraction(1, 2))
            assert charge["id"] == response.id
            total += charge["micro_usd"]
    ledger = simulator.ledger()
    assert ledger["charged_micro_usd"] == total
    assert ledger["requests"] == {"openai.responses": 20}
    assert ledger["records"] == 0


def test_chat_completions_and_their_token_parameters(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": QUESTION}]
    completion = client.chat.completions.create(model="gpt-4.1", messages=messages, max_tokens=60)
    assert completion.choices[0].finish_reason == "length"
    completion = client.chat.completions.create(model="gpt-5-mini", messages=messages, max_completion_tokens=4000)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens_details.reasoning_tokens > 0
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-5-mini", messages=messages, max_tokens=100)
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError, match="Web search options not supported"):
        client.chat.completions.create(model="gpt-4.1", messages=messages, web_search_options={})
    searched = client.chat.completions.create(model="gpt-5-search-api", messages=messages, web_search_options={})
    text = searched.choices[0].message.content
    for annotation in searched.choices[0].message.annotations:
        citation = annotation.url_citation
        assert citation.url in text[citation.start_index : citation.end_index]


def test_truncation_is_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(model="gpt-4.1", input=QUESTION, max_output_tokens=50)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert len(response.output_text) <= 200


def test_a_refusal_is_a_content_part(simulator: Simulator, client: openai.OpenAI) -> None:
    simulator.inject(None, "refusal", 2)
    response = client.responses.create(model="gpt-5", input=QUESTION, tools=[SEARCH])
    assert response.output[-1].content[0].type == "refusal"
    assert response.output_text == ""
    completion = client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": QUESTION}])
    assert completion.choices[0].message.refusal
    assert completion.choices[0].message.content is None
    assert [answer["status"] for answer in simulator.truth()["answers"]] == ["refusal", "refusal"]


def test_errors_have_the_provider_s_classes(simulator: Simulator, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="gpt-99", input="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.responses.create(model="gpt-4.1", input="x", stream=True)
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}], stream=True)
    with pytest.raises(openai.BadRequestError, match="Tool choice 'web_search' not found"):
        client.responses.create(model="gpt-4.1", input="x", tool_choice={"type": "web_search"})
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.responses.create(model="gpt-5", input="x", temperature=0.2)
    for fault, error in [
        ("status:401", openai.AuthenticationError),
        ("status:403", openai.PermissionDeniedError),
        ("rate_limited:7", openai.RateLimitError),
        ("insufficient_quota", openai.RateLimitError),
        ("status:500", openai.InternalServerError),
        ("overloaded", openai.InternalServerError),
        ("close_before_reply", openai.APIConnectionError),
    ]:
        simulator.inject({"endpoint": "openai.responses"}, fault)
        with pytest.raises(error) as caught:
            client.responses.create(model="gpt-4.1", input="x")
        if fault == "insufficient_quota":
            assert caught.value.code == "insufficient_quota"
        if fault == "rate_limited:7":
            assert caught.value.response.headers["retry-after"] == "7"
            assert caught.value.request_id
    assert simulator.ledger()["charged_micro_usd"] == 0


def test_no_key_is_a_401(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.responses.create(model="gpt-4.1", input="x", extra_headers={"Authorization": ""})


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "gpt-4.1-mini" in names
    assert not [name for name in names if name.startswith("claude")]
    assert client.models.retrieve("gpt-5").id == "gpt-5"


def test_files(client: openai.OpenAI) -> None:
    made = client.files.create(file=("notes.jsonl", io.BytesIO(b'{"a": 1}\n')), purpose="batch")
    assert made.bytes == 9
    assert client.files.retrieve(made.id).filename == "notes.jsonl"
    assert client.files.content(made.id).read() == b'{"a": 1}\n'
    assert [file.id for file in client.files.list()] == [made.id]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def run_batch(client: openai.OpenAI, lines: list[dict[str, object]], endpoint: str) -> openai.types.Batch:
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    assert batch.status == "validating"
    while batch.status not in {"completed", "failed", "cancelled"}:
        batch = client.batches.retrieve(batch.id)
    return batch


def line(number: int, url: str, **body: object) -> dict[str, object]:
    return {"custom_id": f"q{number}", "method": "POST", "url": url, "body": body}


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/chat/completions"])
def test_a_batch_runs_to_its_end_at_half_the_token_price(
    simulator: Simulator, client: openai.OpenAI, endpoint: str
) -> None:
    body = "input" if endpoint.endswith("responses") else "messages"
    value = [{"role": "user", "content": QUESTION}]
    lines = [line(number, endpoint, model="gpt-4.1-mini", **{body: value}) for number in range(5)]
    lines.append(line(5, endpoint, model="gpt-4.1-mini"))
    batch = run_batch(client, lines, endpoint)
    assert batch.status == "completed"
    assert batch.request_counts.completed == 5
    assert batch.request_counts.failed == 1
    output = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
    assert {record["custom_id"] for record in output} == {f"q{number}" for number in range(5)}
    (failed,) = [json.loads(text) for text in client.files.content(batch.error_file_id).text.splitlines()]
    assert failed["response"]["status_code"] == 400
    charges = simulator.ledger()["charges"]
    assert len(charges) == 5
    for charge in charges:
        assert charge["batch"]
        exact = Fraction(charge["input_tokens"] * 4, 10) / 2 + Fraction(charge["output_tokens"] * 16, 10) / 2
        assert charge["micro_usd"] == int(exact + Fraction(1, 2))
    assert batch.usage.output_tokens == sum(charge["output_tokens"] for charge in charges)
    assert client.batches.list().data[0].id == batch.id


def test_a_bad_batch_fails_and_a_running_one_can_be_cancelled(simulator: Simulator, client: openai.OpenAI) -> None:
    twice = [line(1, "/v1/responses", model="gpt-4.1", input="x")] * 2
    failed = run_batch(client, twice, "/v1/responses")
    assert failed.status == "failed"
    assert failed.errors.data[0].code == "duplicate_custom_id"
    with (
        Simulator(perfect=True, snapshot_ms=600_000) as slow,
        openai.OpenAI(base_url=f"{slow.url}/v1", api_key="k", _strict_response_validation=True) as patient,
    ):
        file = patient.files.create(file=("in.jsonl", json.dumps(twice[0]).encode()), purpose="batch")
        batch = patient.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
        assert patient.batches.cancel(batch.id).status == "cancelling"
        while (batch := patient.batches.retrieve(batch.id)).status != "cancelled":
            pass
        assert batch.output_file_id is None
        assert slow.ledger()["charged_micro_usd"] == 0


def test_structured_outputs_follow_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "is_mention_verified": {"type": "boolean"},
            "names": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["is_mention_verified", "names"],
        "additionalProperties": False,
    }
    text_format = {"type": "json_schema", "name": "check", "strict": True, "schema": schema}
    response = client.responses.create(model="gpt-4.1-mini", input="Org: Quillmark", text={"format": text_format})
    assert set(json.loads(response.output_text)) == {"is_mention_verified", "names"}
    for broken in (
        {**schema, "additionalProperties": True},
        {**schema, "required": ["names"]},
        {"type": "array", "items": schema},
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="gpt-4.1-mini", input="x", text={"format": {**text_format, "schema": broken}})
        assert caught.value.code == "invalid_json_schema"
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(
                model="gpt-4.1-mini",
                messages=[{"role": "user", "content": "x"}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "check", "strict": True, "schema": broken},
                },
            )
