"""What the simulator says of itself: reproducible answers, the truth of them, extraction with stated mistakes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from overheard.simulator import Simulator

QUESTIONS = [f"Best documentation software for team {number}?" for number in range(12)]
EVALUATION = {
    "type": "object",
    "properties": {
        "is_mention_verified": {"type": "boolean"},
        "sentiment": {"type": ["string", "null"], "enum": ["positive", "neutral", "negative", None]},
        "mention_text": {"type": ["string", "null"]},
    },
    "required": ["is_mention_verified", "sentiment", "mention_text"],
    "additionalProperties": False,
}
COMPETITORS = {
    "type": "object",
    "properties": {"competitors": {"type": "array", "items": {"type": "string"}}},
    "required": ["competitors"],
    "additionalProperties": False,
}


def post(simulator: Simulator, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    request = urllib.request.Request(simulator.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as reply:
        return dict(json.load(reply))


def ask(simulator: Simulator, question: str, country: str = "US") -> str:
    tool = {"type": "web_search", "user_location": {"type": "approximate", "country": country}}
    reply = post(simulator, "/v1/responses", {"model": "gpt-4.1", "input": question, "tools": [tool]})
    parts = reply["output"][-1]["content"]
    return "".join(part.get("text", "") for part in parts)


def extract(simulator: Simulator, text: str, schema: dict[str, Any], org: str = "Quillmark") -> Any:
    messages = [
        {"role": "system", "content": f"You judge how a text speaks of the organisation {org}."},
        {
            "role": "user",
            "content": f"Answer below, between the fences.\n<answer 7f>\n{text}\n</answer 7f>\nReply as JSON.",
        },
    ]
    schema_format = {"type": "json_schema", "json_schema": {"name": "judge", "strict": True, "schema": schema}}
    body = {"model": "gpt-4.1-mini", "messages": messages, "response_format": schema_format}
    return post(simulator, "/v1/chat/completions", body)["choices"][0]["message"]["content"]


def test_answers_do_not_depend_on_the_order_of_requests() -> None:
    with Simulator(seed=21) as one, Simulator(seed=21) as two, Simulator(seed=22) as other:
        forward = [ask(one, question) for question in QUESTIONS]
        again = [ask(one, question) for question in QUESTIONS]
        with ThreadPoolExecutor(6) as pool:
            backward = list(pool.map(lambda question: ask(two, question), reversed(QUESTIONS)))
        assert forward == backward[::-1]
        assert forward != again, "asked again, a model answers anew"
        assert forward != [ask(other, question) for question in QUESTIONS]
        assert [ask(one, question, "DE") for question in QUESTIONS] != forward
        assert [answer["occurrence"] for answer in one.truth()["answers"][: 2 * len(QUESTIONS)]] == [1] * 12 + [2] * 12


def test_the_truth_is_what_was_served() -> None:
    with Simulator(seed=3) as simulator:
        served = {question: ask(simulator, question) for question in QUESTIONS}
        brands = 0
        for answer in simulator.truth()["answers"]:
            assert answer["text"] == served[answer["prompt"]] or answer["status"] == "refusal"
            last = 0
            for brand in answer["brands"]:
                brands += 1
                assert brand["sentiment"] in {"positive", "neutral", "negative"}
                for quote in brand["quotes"]:
                    assert quote in answer["text"]
                    assert brand["written"] in quote
                position = answer["text"].index(brand["quotes"][0])
                assert position >= last
                last = position
            for citation in answer["citations"]:
                assert citation["url"] in answer["text"]
                assert "utm_" not in citation["canonical_url"]
                assert "//www." not in citation["canonical_url"]
        assert brands > 20


def test_a_perfect_extraction_is_the_truth() -> None:
    with Simulator(seed=4, perfect=True) as simulator:
        mentioned = 0
        for question in QUESTIONS:
            text = ask(simulator, question)
            answer = simulator.truth()["answers"][-1]
            brands = {brand["name"]: brand for brand in answer["brands"]}
            verdict = json.loads(extract(simulator, text, EVALUATION))
            assert verdict["is_mention_verified"] == ("Quillmark" in brands)
            if "Quillmark" in brands:
                mentioned += 1
                assert verdict["sentiment"] == brands["Quillmark"]["sentiment"]
                assert verdict["mention_text"] in text
            else:
                assert verdict["sentiment"] is None
                assert verdict["mention_text"] is None
            others = json.loads(extract(simulator, text, COMPETITORS))["competitors"]
            assert others == [brand["written"] for name, brand in brands.items() if name != "Quillmark"]
            made = simulator.truth()["extractions"][-2:]
            assert [one["answer_id"] for one in made] == [answer["id"]] * 2
            assert {one["target"] for one in made} == {"Quillmark"}
            assert not any(one["missed_names"] or one["invented_names"] or one["broken_json"] for one in made)
        assert 0 < mentioned < len(QUESTIONS)


def test_a_text_that_was_never_served_is_read_too() -> None:
    with Simulator(perfect=True) as simulator:
        text = "Notaro is praised by all.\nBe careful with Quillmark, it crashes.\nOur friends are able to use Draftly."
        assert json.loads(extract(simulator, text, COMPETITORS))["competitors"] == ["Notaro", "Draftly"]
        verdict = json.loads(extract(simulator, text, EVALUATION))
        assert verdict == {
            "is_mention_verified": True,
            "sentiment": "negative",
            "mention_text": "Be careful with Quillmark, it crashes.",
        }
        (one, two) = simulator.truth()["extractions"]
        assert one["answer_id"] is two["answer_id"] is None


def test_name_variations() -> None:
    schema = {
        **COMPETITORS,
        "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        "required": ["names"],
    }
    with Simulator(perfect=True) as simulator:
        format_ = {"type": "json_schema", "json_schema": {"name": "names", "strict": True, "schema": schema}}
        for data, expected in [
            ("Organisation: Quillmark", {"Quillmark", "QuillMark"}),
            ("Organisation: Mossgate Foundry", {"Mossgate Foundry", "MossgateFoundry"}),
            ('The company: ["Mossgate Foundry", "MF"]', {"Mossgate Foundry"}),
            ('{"name": "Mossgate Foundry", "websites": []}', {"Mossgate Foundry"}),
            ('{"name": "Notaro"}', {"Notaro", "notaro.example"}),
        ]:
            system = {"role": "system", "content": "Ways to write the name (QuillMark, Quill-Mark)."}
            messages = [system, {"role": "user", "content": data}]
            body = {"model": "gpt-4.1-mini", "messages": messages, "response_format": format_}
            reply = post(simulator, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
            names = json.loads(reply)["names"]
            assert set(names) >= expected
            assert ("QuillMark" in names) == ("QuillMark" in expected)


def test_mistakes_are_made_at_their_rates_and_told() -> None:
    rates = {
        "structured_miss": 0.3,
        "structured_invented_name": 0.3,
        "structured_invented_quote": 0.3,
        "structured_broken_json": 0.2,
    }
    with Simulator(seed=9, perfect=True, rates=rates) as simulator:
        texts = [ask(simulator, question) for question in QUESTIONS for _ in range(4)]
        replies = [extract(simulator, text, schema) for text in texts for schema in (EVALUATION, COMPETITORS)]
        truth = simulator.truth()
        answers = {answer["id"]: answer for answer in truth["answers"]}
        seen = {"missed_names": 0, "invented_names": 0, "invented_quotes": 0, "broken_json": 0, "missed_mention": 0}
        for reply, told in zip(replies, truth["extractions"], strict=True):
            assert told["returned"] == reply
            text = answers[told["answer_id"]]["text"]
            for name in seen:
                seen[name] += bool(told[name])
            if told["broken_json"]:
                with pytest.raises(ValueError, match=r"."):
                    json.loads(reply)
                continue
            value = json.loads(reply)
            brands = answers[told["answer_id"]]["brands"]
            if "competitors" in value:
                true = [brand["written"] for brand in brands if brand["name"] != "Quillmark"]
                expected = [name for name in true if name not in told["missed_names"]] + told["invented_names"]
                assert value["competitors"] == expected
                assert not any(name in text for name in told["invented_names"])
            else:
                there = any(brand["name"] == "Quillmark" for brand in brands)
                assert value["is_mention_verified"] == (there and not told["missed_mention"])
                if value["mention_text"]:
                    assert (value["mention_text"] in text) != bool(told["invented_quotes"])
        assert all(seen.values()), seen


def test_record_off_keeps_counters_only() -> None:
    with Simulator(record=False) as simulator:
        for question in QUESTIONS:
            ask(simulator, question)
        ledger = simulator.ledger()
        assert ledger["charges"] == []
        assert ledger["charge_count"] == len(QUESTIONS)
        assert ledger["charged_micro_usd"] > 0
        assert simulator.truth()["answers"] == []


def test_the_handle() -> None:
    simulator = Simulator(rates={"refusal": 0.5})
    with urllib.request.urlopen(f"{simulator.url}/_sim/ledger?charges=0") as reply:
        told = json.load(reply)
    assert told["simulated"] is True
    assert "charges" not in told
    environment = simulator.environment()
    assert environment["OPENAI_BASE_URL"] == f"{simulator.url}/v1"
    assert environment["ANTHROPIC_BASE_URL"] == environment["BRIGHTDATA_BASE_URL"] == simulator.url
    with pytest.raises(OSError, match="cannot listen"):
        Simulator(port=int(simulator.url.rsplit(":", 1)[1]))
    simulator.stop()
    simulator.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        simulator.ledger()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{environment['ANTHROPIC_BASE_URL']}/_sim/ledger", timeout=5)
    with pytest.raises(ValueError, match="unknown rate 'refusals'"):
        Simulator(rates={"refusals": 0.5})
    with pytest.raises(ValueError, match="not between 0 and 1"):
        Simulator(rates={"refusal": 1.5})
