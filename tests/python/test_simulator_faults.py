"""Bad days on request: every fault does what its line in the table says, and charges what it says."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from overheard.simulator import Simulator

CHATGPT = "gd_m7aof0k82r803d5bjm"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=5, perfect=True, snapshot_ms=0) as running:
        yield running


def call(simulator: Simulator, method: str, path: str, body: object = None) -> tuple[int, Any, bytes]:
    """One call on a connection of its own: status, headers, body as read."""
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Authorization": "Bearer k"})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def ask(simulator: Simulator, prompt: str = "Best CRM?") -> tuple[int, Any, bytes]:
    return call(simulator, "POST", "/v1/responses", {"model": "gpt-4.1", "input": prompt})


def trigger(simulator: Simulator, count: int = 4) -> Any:
    rows = [
        {"url": "https://chatgpt.com/", "prompt": f"Best CRM {n}?", "country": "US", "index": n} for n in range(count)
    ]
    path = f"/datasets/v3/trigger?dataset_id={CHATGPT}&include_errors=true"
    return json.loads(call(simulator, "POST", path, rows)[2])


def rows(simulator: Simulator, snapshot: str) -> Any:
    return json.loads(call(simulator, "GET", f"/datasets/v3/snapshot/{snapshot}?format=json")[2])


def charged(simulator: Simulator) -> int:
    return int(simulator.ledger()["charge_count"])


def test_matching() -> None:
    with Simulator(perfect=True) as simulator:
        simulator.inject({"endpoint": "openai.responses", "prompt_contains": 'Müller "x"', "nth": 2}, "status:503", 1)
        statuses = [ask(simulator, text)[0] for text in ("a", 'Müller "x" 1', 'Müller "x" 2', 'Müller "x" 3')]
        assert statuses == [200, 200, 503, 200]
        simulator.inject({"endpoint": "openai"}, "status:500", None)
        assert [ask(simulator)[0] for _ in range(3)] == [500] * 3
        assert call(simulator, "GET", "/datasets/v3/snapshots?dataset_id=x")[0] == 200
        simulator.clear_faults()
        assert ask(simulator)[0] == 200
        assert simulator.ledger()["faults"] == {"status": 4}


def test_rules_are_checked(simulator: Simulator) -> None:
    for match, fault, words in [
        ({}, "nonsense", "unknown fault 'nonsense'"),
        ({}, "status", "needs a code"),
        ({"endpoints": "x"}, "status:500", "unknown field 'endpoints' in match"),
    ]:
        with pytest.raises(ValueError, match=words):
            simulator.inject(match, fault)
    body = json.dumps({"match": {}, "fault": "status:500", "times": 1}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{simulator.url}/_sim/faults", body)) as reply:
        assert json.load(reply) == {"ok": True}
    assert ask(simulator)[0] == 500
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"{simulator.url}/_sim/faults", b"[]"))
    caught.value.close()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate_limited:3", 429, "rate_limit_exceeded"),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("quota:credit_balance_exhausted", 429, "credit_balance_exhausted"),
        ("spend_limit", 429, "organization_spend_limit_exceeded"),
        ("overloaded", 503, "slow_down"),
    ],
)
def test_errors_in_place_of_the_work(simulator: Simulator, fault: str, status: int, code: str) -> None:
    simulator.inject(None, fault, headers={"x-should-retry": "false"})
    found, headers, body = ask(simulator)
    assert found == status
    assert json.loads(body)["error"]["code"] == code
    assert headers["x-should-retry"] == "false"
    assert headers["retry-after"] == ("3" if fault == "rate_limited:3" else None)
    assert charged(simulator) == 0


def test_closing_with_and_without_a_charge(simulator: Simulator) -> None:
    for fault, count in [("close_before_reply", 0), ("charge_then_close", 1)]:
        simulator.inject(None, fault)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(simulator)
        assert charged(simulator) == count
    simulator.inject(None, "charge_then_500")
    assert ask(simulator)[0] == 500
    assert charged(simulator) == 2


def test_a_connection_that_is_closed_after_a_whole_reply(simulator: Simulator) -> None:
    simulator.inject(None, "close_after_reply")
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    body = json.dumps({"model": "gpt-4.1", "input": "x"})
    connection.request("POST", "/v1/responses", body, {"Authorization": "Bearer k"})
    reply = connection.getresponse()
    assert not reply.will_close
    assert json.loads(reply.read())["status"] == "completed"
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()


def test_silence(simulator: Simulator) -> None:
    for fault, count in [("hang_uncharged", 0), ("hang_headers", 1)]:
        simulator.inject(None, fault)
        connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=0.3)
        connection.request(
            "POST", "/v1/responses", json.dumps({"model": "gpt-4.1", "input": "x"}), {"Authorization": "Bearer k"}
        )
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        assert charged(simulator) == count


def test_broken_bodies(simulator: Simulator) -> None:
    simulator.inject(None, "truncated_body")
    with pytest.raises(http.client.IncompleteRead):
        ask(simulator)
    simulator.inject(None, "bad_chunk")
    with pytest.raises(http.client.IncompleteRead):
        ask(simulator)
    simulator.inject(None, "stall_body")
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=0.3)
    connection.request(
        "POST", "/v1/responses", json.dumps({"model": "gpt-4.1", "input": "x"}), {"Authorization": "Bearer k"}
    )
    reply = connection.getresponse()
    with pytest.raises(TimeoutError):
        reply.read()
    connection.close()
    simulator.inject(None, "slow_body:1")
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    body = json.dumps({"model": "gpt-4.1", "input": "x"})
    connection.request("POST", "/v1/responses", body, {"Authorization": "Bearer k"})
    reply = connection.getresponse()
    assert [len(reply.read1(1_000)) for _ in range(5)] == [1] * 5
    connection.close()
    for fault, start in [
        ("not_json", b"Service"),
        ("html_200", b"<!doctype"),
        ("empty_200", b""),
        ("deep_json", b"[[[["),
    ]:
        simulator.inject(None, fault)
        status, _, body = ask(simulator)
        assert status == 200
        assert body[:9].startswith(start)
        with pytest.raises((ValueError, RecursionError)):
            json.loads(body)
    simulator.inject(None, "error_200")
    status, _, body = ask(simulator)
    assert status == 200
    assert json.loads(body)["error"]["type"] == "server_error"
    simulator.inject(None, "bad_utf8")
    with pytest.raises(UnicodeDecodeError):
        ask(simulator)[2].decode()
    simulator.inject(None, "odd_json")
    assert json.loads(ask(simulator)[2])["too_large"] == float("inf")
    assert charged(simulator) == simulator.ledger()["requests"]["openai.responses"]


def test_large_bodies(simulator: Simulator) -> None:
    simulator.inject(None, "huge_body:3")
    assert len(json.loads(ask(simulator)[2])["padding"]) > 3_000_000
    simulator.inject(None, "gzip_bomb:8")
    _, headers, body = ask(simulator)
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 60_000
    content = zlib.decompress(body[10:-8], -zlib.MAX_WBITS)
    assert len(content) > 8_000_000
    assert not content.strip()
    simulator.inject(None, "endless_body")
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=5)
    connection.request(
        "POST", "/v1/responses", json.dumps({"model": "gpt-4.1", "input": "x"}), {"Authorization": "Bearer k"}
    )
    assert len(connection.getresponse().read(5_000_000)) == 5_000_000
    connection.close()
    simulator.inject(None, "header_flood")
    with pytest.raises(http.client.HTTPException, match="more than 100 headers"):
        ask(simulator)
    simulator.inject(None, "big_header")
    with pytest.raises(http.client.LineTooLong):
        ask(simulator)


def test_framing_that_contradicts_itself(simulator: Simulator) -> None:
    for fault, words in [("two_lengths", b"content-length"), ("length_and_chunked", b"transfer-encoding")]:
        simulator.inject(None, fault)
        address = urlsplit(simulator.url)
        body = json.dumps({"model": "gpt-4.1", "input": "x"}).encode()
        head = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: "
        with socket.create_connection((address.hostname, address.port), timeout=5) as raw:
            raw.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            reply = b""
            while part := raw.recv(65536):
                reply += part
        top = reply.partition(b"\r\n\r\n")[0].lower()
        assert words in top
        assert top.count(b"content-length") == (2 if fault == "two_lengths" else 1)


def test_redirects_are_offered(simulator: Simulator) -> None:
    simulator.inject(None, "redirect:308", headers={"location": "http://127.0.0.1:9/elsewhere"})
    status, headers, _ = ask(simulator)
    assert status == 308
    assert headers["location"] == "http://127.0.0.1:9/elsewhere"


def test_triggers_without_a_usable_id(simulator: Simulator) -> None:
    first = trigger(simulator)["snapshot_id"]
    for fault, check in [
        ("no_snapshot_id", lambda reply: "snapshot_id" not in reply),
        ("snapshot_id_number", lambda reply: reply["snapshot_id"] == 12_345),
    ]:
        simulator.inject({"endpoint": "brightdata.trigger"}, fault)
        assert check(trigger(simulator))
    listed = json.loads(call(simulator, "GET", f"/datasets/v3/snapshots?dataset_id={CHATGPT}")[2])
    assert len(listed) == 3
    assert simulator.ledger()["records"] == 12
    simulator.inject({"endpoint": "brightdata.trigger"}, "same_snapshot_id")
    assert trigger(simulator)["snapshot_id"] == listed[0]["id"] != first
    assert simulator.ledger()["records"] == 12


def test_snapshots_that_end_badly(simulator: Simulator) -> None:
    for fault, status in [
        ("snapshot_failed:Account is suspended", "failed"),
        ("snapshot_canceled", "canceled"),
        ("snapshot_forever_running", "running"),
    ]:
        simulator.inject({"endpoint": "brightdata.trigger"}, fault)
        snapshot = trigger(simulator)["snapshot_id"]
        progress = json.loads(call(simulator, "GET", f"/datasets/v3/progress/{snapshot}")[2])
        assert progress["status"] == status
        if status == "failed":
            assert progress["error_message"] == "Account is suspended"
        assert call(simulator, "GET", f"/datasets/v3/snapshot/{snapshot}")[0] == (202 if status == "running" else 400)
    assert simulator.ledger()["records"] == 0
    snapshot = trigger(simulator)["snapshot_id"]
    simulator.inject({"endpoint": "brightdata.progress"}, "snapshot_unknown_word:pondering")
    assert b'"pondering"' in call(simulator, "GET", f"/datasets/v3/progress/{snapshot}")[2]
    simulator.inject({"endpoint": "brightdata.progress", "prompt_contains": "Best CRM 2"}, "snapshot_gone")
    assert call(simulator, "GET", f"/datasets/v3/progress/{snapshot}")[0] == 404
    for endpoint in ("progress", "snapshot"):
        simulator.inject({"endpoint": f"brightdata.{endpoint}"}, "snapshot_expired")
        status, _, body = call(simulator, "GET", f"/datasets/v3/{endpoint}/{snapshot}")
        assert (status, body) == (400, b"Snapshot is expired")


def test_inputs_that_are_forgotten_or_in_another_order(simulator: Simulator) -> None:
    path = f"/datasets/v3/snapshot/{trigger(simulator)['snapshot_id']}/input"
    as_sent = json.loads(call(simulator, "GET", path)[2])
    simulator.inject({"endpoint": "brightdata.input"}, "inputs_reordered")
    assert json.loads(call(simulator, "GET", path)[2]) == as_sent[::-1]
    simulator.inject({"endpoint": "brightdata.input"}, "inputs_expired")
    assert call(simulator, "GET", path)[0] == 400
    assert json.loads(call(simulator, "GET", path)[2]) == as_sent


def test_the_customers_own_limit(simulator: Simulator) -> None:
    simulator.inject(None, "usage_limit", 3)
    status, _, body = ask(simulator)
    assert (status, json.loads(body)["error"]["code"]) == (429, "organization_usage_limit_exceeded")
    message = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Best CRM?"}]}
    status, _, body = call(simulator, "POST", "/v1/messages", message)
    assert status == 400
    assert json.loads(body)["error"]["message"].startswith("You have reached your specified API usage limits.")
    assert call(simulator, "GET", f"/datasets/v3/snapshots?dataset_id={CHATGPT}")[0] == 402


def test_an_answer_cut_for_a_reason(simulator: Simulator) -> None:
    simulator.inject(None, "incomplete:content_filter")
    told = json.loads(ask(simulator)[2])
    assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})


def test_an_echo_in_another_unicode_form(simulator: Simulator) -> None:
    path = f"/datasets/v3/trigger?dataset_id={CHATGPT}&include_errors=true"
    asked = [{"url": "https://chatgpt.com/", "prompt": "Caf\u00e9?", "index": 1}]
    simulator.inject({"endpoint": "brightdata.trigger"}, "decomposed_echo")
    (row,) = rows(simulator, json.loads(call(simulator, "POST", path, asked)[2])["snapshot_id"])
    assert (row["prompt"], row["input"]["prompt"], row["index"]) == ("Cafe\u0301?", "Cafe\u0301?", None)
    assert "index" not in row["input"]


@pytest.mark.parametrize(
    ("fault", "records", "check"),
    [
        ("drop_rows:2", 2, lambda rows: len(rows) == 2),
        ("duplicate_rows:2", 4, lambda rows: len(rows) == 6),
        ("foreign_rows", 4, lambda rows: sum("nobody asked" in row["prompt"] for row in rows) == 1),
        ("error_rows:1", 3, lambda rows: sum("prompt" not in row for row in rows) == 1),
        ("no_index", 4, lambda rows: all(row["index"] is None for row in rows)),
        ("string_index", 4, lambda rows: {row["index"] for row in rows} == {"0", "1", "2", "3"}),
        ("changed_echo", 4, lambda rows: all(row["prompt"].isupper() for row in rows)),
        ("empty_answer", 4, lambda rows: all(row["answer_text_markdown"] == "" for row in rows)),
        ("sse_only", 4, lambda rows: all("answer_text" not in row and row["response_raw"] for row in rows)),
        ("null_citations", 4, lambda rows: all(row["citations"] is None for row in rows)),
        ("junk_citations", 4, lambda rows: any({"title": "no url"} in (row["citations"] or []) for row in rows)),
        ("data_wrapper", 4, lambda rows: len(rows["data"]) == 4),
        ("refusal", 4, lambda rows: all(len(row["answer_text"]) < 100 for row in rows)),
    ],
)
def test_rows(simulator: Simulator, fault: str, records: int, check: Any) -> None:
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    snapshot = trigger(simulator)["snapshot_id"]
    assert check(rows(simulator, snapshot))
    ledger = simulator.ledger()
    assert ledger["records"] == records
    assert ledger["charged_micro_usd"] == records * 1500


def test_other_forms_of_a_download(simulator: Simulator) -> None:
    snapshot = trigger(simulator)["snapshot_id"]
    simulator.inject({"endpoint": "brightdata.snapshot"}, "ndjson")
    lines = call(simulator, "GET", f"/datasets/v3/snapshot/{snapshot}?format=json")[2].splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == [0, 1, 2, 3]
    simulator.inject({"endpoint": "brightdata.snapshot"}, "drop_rows:all")
    assert rows(simulator, snapshot) == []
    assert len(rows(simulator, snapshot)) == 4
    simulator.inject({"endpoint": "brightdata.list"}, "lagging_list:60")
    path = f"/datasets/v3/snapshots?dataset_id={CHATGPT}"
    assert json.loads(call(simulator, "GET", path)[2]) == []
    assert len(json.loads(call(simulator, "GET", path)[2])) == 1
    simulator.inject({"endpoint": "brightdata.trigger"}, "single_object")
    alone = trigger(simulator, 1)["snapshot_id"]
    assert rows(simulator, alone)["index"] == 0


def test_content_of_direct_answers(simulator: Simulator) -> None:
    expected = {
        "empty_answer": lambda reply: reply["output"][-1]["content"][0]["text"] == "",
        "odd_text": lambda reply: "\u0000" in reply["output"][-1]["content"][0]["text"],
        "incomplete": lambda reply: reply["status"] == "incomplete",
        "failed_200": lambda reply: reply["status"] == "failed" and reply["error"]["code"] == "server_error",
        "no_usage": lambda reply: reply["usage"] is None,
        "absurd_usage": lambda reply: reply["usage"]["input_tokens"] < 0,
        "other_model": lambda reply: reply["model"] == "gpt-4.1-2025-04-14",
    }
    for fault, check in expected.items():
        simulator.inject(None, fault)
        body = {"model": "gpt-5-mini", "input": "Best CRM?"}
        assert check(json.loads(call(simulator, "POST", "/v1/responses", body)[2])), fault
    assert charged(simulator) == len(expected) - 1, "a failed response is free"


def test_the_speed_limit_is_a_429_with_a_hint() -> None:
    with Simulator(perfect=True, requests_per_second=2) as simulator:
        replies = [ask(simulator) for _ in range(6)]
        refused = [headers for status, headers, _ in replies if status == 429]
        assert refused
        assert all(int(headers["retry-after-ms"]) > 0 for headers in refused)
        assert charged(simulator) == 6 - len(refused)
