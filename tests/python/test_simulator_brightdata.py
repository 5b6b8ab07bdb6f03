"""Bright Data's flows against the simulator, by plain HTTP."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from overheard.simulator import Simulator

DATASETS = {
    "chatgpt": ("gd_m7aof0k82r803d5bjm", "https://chatgpt.com/"),
    "perplexity": ("gd_m7dhdot1vw9a7gc1n", "https://www.perplexity.ai"),
    "gemini": ("gd_mbz66arm2mf9cu856y", "https://gemini.google.com/"),
}


class Client:
    """Bright Data's API, as little as possible."""

    def __init__(self, simulator: Simulator) -> None:
        self.base = f"{simulator.url}/datasets/v3"

    def call(self, method: str, path: str, body: object = None, key: str = "k") -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Authorization": f"Bearer {key}"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                status, text = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode()

    def trigger(self, engine: str, inputs: object, more: str = "&include_errors=true") -> tuple[int, Any]:
        return self.call("POST", f"/trigger?dataset_id={DATASETS[engine][0]}{more}", inputs)

    def ready(self, snapshot: str) -> dict[str, Any]:
        while True:
            status, progress = self.call("GET", f"/progress/{snapshot}")
            assert status == 200
            if progress["status"] in {"ready", "failed", "canceled"}:
                return dict(progress)

    def rows(self, snapshot: str, more: str = "?format=json") -> list[dict[str, Any]]:
        while True:
            status, rows = self.call("GET", f"/snapshot/{snapshot}{more}")
            if (
                status == 200
                and isinstance(rows, list)
                and not (rows and "status" in rows[0] and "prompt" not in rows[0])
            ):
                return rows


def canonical(url: str) -> str:
    """Without tracking, fragment, `www.` and trailing slash; written here once more, independently."""
    plain = re.sub(r"([?&])utm_source=[a-z.]+$", "", url.split("#")[0])
    return plain.replace("https://www.", "https://").rstrip("/")


def inputs(engine: str, count: int, country: str = "US") -> list[dict[str, Any]]:
    url = DATASETS[engine][1]
    return [
        {"url": url, "prompt": f"Best documentation tool, take {number}?", "country": country, "index": number + 1}
        for number in range(count)
    ]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=5, perfect=True, snapshot_ms=40) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Client:
    return Client(simulator)


@pytest.mark.parametrize("engine", list(DATASETS))
@pytest.mark.parametrize("wrapped", [False, True])
def test_trigger_poll_download(simulator: Simulator, client: Client, engine: str, wrapped: bool) -> None:
    asked = inputs(engine, 20)
    status, reply = client.trigger(engine, {"input": asked} if wrapped else asked)
    assert status == 200
    snapshot = reply["snapshot_id"]
    progress = client.ready(snapshot)
    assert progress["records"] == 20
    assert progress["errors"] == 0
    rows = client.rows(snapshot)
    assert sorted(row["index"] for row in rows) == list(range(1, 21))
    assert [row["index"] for row in rows] != list(range(1, 21)), "rows come out of order"
    truth = {answer["prompt"]: answer for answer in simulator.truth()["answers"]}
    for row in rows:
        answer = truth[row["prompt"]]
        assert row["answer_text_markdown"] == answer["text"]
        assert row["input"]["index"] == row["index"]
        served = [citation["url"] for citation in row["citations"] or []]
        served += [link["url"] for link in row.get("links_attached", [])]
        served += re.findall(r"\]\((https://[^)]+)\)", row["answer_text_markdown"])
        assert {canonical(url) for url in served} == {citation["canonical_url"] for citation in answer["citations"]}
        cited = {citation["canonical_url"]: citation["cited"] for citation in reversed(answer["citations"])}
        for citation in row["citations"] or []:
            assert citation.get("cited", cited[canonical(citation["url"])]) == cited[canonical(citation["url"])]
    ledger = simulator.ledger()
    assert ledger["records"] == 20
    assert ledger["charged_micro_usd"] == 20 * 1500
    assert ledger["charges"][0]["inputs"] == [one["prompt"] for one in asked]
    assert ledger["requests"]["brightdata.trigger"] == 1


def test_engines_differ(client: Client) -> None:
    shapes = {}
    for engine in DATASETS:
        snapshot = client.trigger(engine, inputs(engine, 4))[1]["snapshot_id"]
        client.ready(snapshot)
        shapes[engine] = client.rows(snapshot)
    assert all("web_search_triggered" in row for row in shapes["chatgpt"] + shapes["gemini"])
    assert all("web_search_triggered" not in row for row in shapes["perplexity"])
    positions = {type(c["position"]) for row in shapes["perplexity"] for c in row["citations"]}
    assert positions == {str}
    assert all(c["domain"].startswith("https://") for row in shapes["perplexity"] for c in row["citations"])
    urls = [c["url"] for row in shapes["chatgpt"] for c in row["citations"] or []]
    assert any("utm_source=chatgpt.com" in url for url in urls)
    assert any("[1]" in row["answer_text_markdown"] for row in shapes["perplexity"])


def test_error_rows_hold_only_their_input_and_cost_nothing(simulator: Simulator, client: Client) -> None:
    simulator.inject({"endpoint": "brightdata.trigger"}, "auth_wall_all")
    snapshot = client.trigger("chatgpt", inputs("chatgpt", 3))[1]["snapshot_id"]
    assert client.ready(snapshot)["errors"] == 3
    for row in client.rows(snapshot):
        assert set(row) <= {"timestamp", "input", "error", "error_code"}
        assert row["error"] == "Auth wall: sign-up prompt detected"
        assert row["input"]["index"] in {1, 2, 3}
    simulator.inject({"endpoint": "brightdata.trigger"}, "error_rows:2")
    snapshot = client.trigger("chatgpt", inputs("chatgpt", 5), "")[1]["snapshot_id"]
    client.ready(snapshot)
    assert len(client.rows(snapshot)) == 3, "without include_errors failed inputs give no row"
    ledger = simulator.ledger()
    assert ledger["records"] == 3
    statuses = Counter(answer["status"] for answer in simulator.truth()["answers"])
    assert statuses == {"error_row": 3, "missing_row": 2, "answer": 3}


def test_seeded_rates_make_imperfect_days() -> None:
    rates = {"error_row": 0.2, "auth_wall": 0.1, "missing_row": 0.1, "refusal": 0.1}
    with Simulator(seed=2, perfect=True, snapshot_ms=0, rates=rates) as simulator:
        client = Client(simulator)
        snapshot = client.trigger("gemini", inputs("gemini", 200))[1]["snapshot_id"]
        progress = client.ready(snapshot)
        rows = client.rows(snapshot)
        ledger = simulator.ledger()
        assert 20 < progress["errors"] < 100
        assert progress["records"] + progress["errors"] == len(rows) < 200
        assert ledger["records"] == progress["records"]
        assert sum("error" in row and "prompt" not in row for row in rows) == progress["errors"]


def test_ready_may_be_too_early(simulator: Simulator, client: Client) -> None:
    for fault, status in [("ready_then_building:2", 202), ("ready_then_200:2", 200)]:
        simulator.inject({"endpoint": "brightdata.trigger"}, fault)
        snapshot = client.trigger("gemini", inputs("gemini", 1))[1]["snapshot_id"]
        client.ready(snapshot)
        for _ in range(2):
            code, body = client.call("GET", f"/snapshot/{snapshot}?format=json")
            assert code == status
            assert body["status"] == "building"
        code, body = client.call("GET", f"/snapshot/{snapshot}?format=json")
        assert code == 200
        assert isinstance(body, list)


def test_bad_inputs_are_named_and_nothing_is_charged(simulator: Simulator, client: Client) -> None:
    good = inputs("chatgpt", 4)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"prompt": "x" * 4097}, "input[2].prompt"),
        ({"prompt": ""}, "input[2].prompt"),
        ({"country": "us"}, "input[2].country"),
        ({"url": "https://elsewhere.example"}, "input[2].url"),
        ({"surprise": 1}, "input[2].surprise"),
    ]
    for change, named in cases:
        bad = [one if number != 2 else {**one, **change} for number, one in enumerate(good)]
        status, body = client.trigger("chatgpt", bad)
        assert status == 400
        (only,) = body["validation_errors"]
        assert only.startswith(named + ":")
    assert client.trigger("gemini", [{**inputs("gemini", 1)[0], "web_search": True}])[0] == 400
    assert client.call("POST", "/trigger?dataset_id=gd_nothing", good) == (404, "dataset does not exist")
    assert client.call("POST", "/trigger", good)[0] == 400
    assert client.trigger("chatgpt", []) == (400, "No data to trigger")
    assert client.trigger("chatgpt", inputs("chatgpt", 1, "KP"))[1] == {
        "error": "country is not available for this scraper"
    }
    assert client.call("GET", "/progress/s_nothing") == (404, "Snapshot does not exist")
    assert client.call("GET", "/snapshots?dataset_id=x", key="")[0] == 401
    assert simulator.ledger()["charged_micro_usd"] == 0


def test_list_inputs_parts_and_forms(client: Client) -> None:
    asked = inputs("perplexity", 3)
    first = client.trigger("perplexity", asked)[1]["snapshot_id"]
    client.ready(first)
    dataset = DATASETS["perplexity"][0]
    status, listed = client.call("GET", f"/snapshots?dataset_id={dataset}&status=ready&limit=10")
    assert status == 200
    assert [line["id"] for line in listed] == [first]
    assert listed[0]["dataset_size"] == 3
    created = listed[0]["created"]
    assert client.call("GET", f"/snapshots?dataset_id={dataset}&from_date={created}")[1] == listed
    assert client.call("GET", f"/snapshots?dataset_id={dataset}&from_date=2099-01-01")[1] == []
    assert client.call("GET", f"/snapshots?dataset_id={dataset}&limit=5001")[0] == 400
    assert client.call("GET", f"/snapshot/{first}/input")[1] == asked
    assert client.call("GET", f"/snapshot/{first}/parts?batch_size=1000")[1] == {"parts": 1}
    assert len(client.rows(first, "?format=json&batch_size=1000&part=1")) == 3
    assert client.rows(first, "?format=json&batch_size=1000&part=2") == []
    status, lines = client.call("GET", f"/snapshot/{first}?format=ndjson")
    assert status == 200
    assert len(lines.splitlines()) == 3


def test_custom_output_fields(client: Client) -> None:
    fields = "prompt|answer_text_markdown|index|input"
    more = f"&include_errors=true&custom_output_fields={fields}"
    snapshot = client.trigger("chatgpt", inputs("chatgpt", 2), more)[1]["snapshot_id"]
    client.ready(snapshot)
    assert all(set(row) == set(fields.split("|")) for row in client.rows(snapshot))


def test_a_cancel_charges_only_what_was_finished() -> None:
    with Simulator(perfect=True, snapshot_ms=600_000) as simulator:
        client = Client(simulator)
        snapshot = client.trigger("gemini", inputs("gemini", 5))[1]["snapshot_id"]
        assert client.call("GET", f"/snapshot/{snapshot}")[0] == 202
        assert client.call("POST", f"/snapshot/{snapshot}/cancel") == (200, "OK")
        assert client.call("POST", f"/snapshot/{snapshot}/cancel") == (400, "Snapshot is not running")
        assert client.ready(snapshot)["status"] == "canceled"
        assert {row["error_code"] for row in client.rows(snapshot)} == {"aborted_page"}
        assert simulator.ledger()["records"] == 0


def test_too_many_running_jobs_and_the_ban() -> None:
    with Simulator(perfect=True, snapshot_ms=600_000, running_small=2, running_large=1) as simulator:
        client = Client(simulator)
        for _ in range(2):
            assert client.trigger("gemini", inputs("gemini", 20))[0] == 200
        status, text = client.trigger("gemini", inputs("gemini", 20))
        assert status == 429
        assert text.endswith("Running jobs: 2>=2")
        assert client.trigger("gemini", inputs("gemini", 21))[0] == 200, "the large class has a limit of its own"
        statuses = [client.trigger("gemini", inputs("gemini", 21))[0] for _ in range(26)]
        assert statuses == [429] * 24 + [403] * 2


def test_scrape_waits_for_its_rows(client: Client) -> None:
    status, rows = client.call("POST", f"/scrape?dataset_id={DATASETS['chatgpt'][0]}&format=json", inputs("chatgpt", 2))
    assert status == 200
    assert len(rows) == 2
