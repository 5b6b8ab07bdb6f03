"""`import-runs`: answers collected elsewhere, checked line by line, stored once, measured like our own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from e2e_help import dump, rows, url
from overheard import Org, Pipeline, open_store
from overheard.errors import ConfigError
from overheard.verify import verify

ACME = Org("acme", "Acme", ["https://acme.example"], competitors=["Bolt"])
FULL = {
    "question": "Best tools?",
    "id": "q1",
    "model": "chatgpt",
    "location": "US",
    "repeat": 2,
    "answer": "1. Bolt\n2. Acme",
    "citations": ["https://acme.example/a", {"url": "https://news.example/b", "title": "B", "cited": False}],
    "time": "2026-01-31T09:00:00+01:00",
    "status": "answered",
    "served_model": "gpt-5",
    "cost": "0.0125",
}


def importer(path: Path) -> Pipeline:
    return Pipeline(url(path), env={}, holistic="off")


async def holds(path: Path) -> None:
    async with open_store(url(path)) as store:
        assert [check.line() for check in await verify(store) if not check.passed] == []


async def test_every_field_of_a_line_is_stored_and_nothing_counts_as_paid(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    told = await importer(path).import_runs([FULL], ACME)
    assert (told.lines, told.stored, told.unchanged, told.extracted, told.status) == (1, 1, 0, 1, "complete")
    async with open_store(url(path)) as store:
        (run,) = await store.answers(told.batch_id, None, 10)
        (extraction,) = await store.extractions(told.batch_id, None, 10)
        status = (await store.load_batch(told.batch_id)).model_runs[0].status
    assert run.key == "q1|chatgpt|US|2"
    assert (run.question, run.text, run.outcome.served_model) == ("Best tools?", "1. Bolt\n2. Acme", "gpt-5")
    assert [(entry.url, entry.title, entry.cited) for entry in run.outcome.citations] == [
        ("https://acme.example/a", None, None),
        ("https://news.example/b", "B", False),
    ]
    assert run.finished_at == datetime(2026, 1, 31, 8, tzinfo=timezone.utc)
    assert (run.cost_micro_usd, run.outcome.maybe_charged_micro_usd) == (0, 0)
    assert status == "completed"
    assert (extraction.evaluation.mention_rank, extraction.method) == (2, "local")
    (body,) = rows(path, "SELECT raw_body FROM question_runs")
    assert json.loads(body["raw_body"])["cost"] == "0.0125", "what others paid is kept with the line"
    await holds(path)


async def test_the_same_answers_twice_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    lines = [{"question": f"{n}?", "model": m, "answer": f"Acme {n}"} for n in range(250) for m in ("chatgpt", "own")]
    first = await importer(path).import_runs(iter(lines), ACME)
    before = dump(path)
    again = await importer(path).import_runs(lines, ACME)
    assert dump(path) == before
    assert again.batch_id == first.batch_id
    assert (again.stored, again.unchanged, again.extracted) == (0, 500, 0)
    other = await importer(path).import_runs(lines[1:], ACME)
    assert other.batch_id != first.batch_id
    await holds(path)


async def test_a_key_adds_to_its_import_and_replaces_what_has_another_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    line = {"question": "a?", "model": "chatgpt", "answer": "Bolt"}
    first = await importer(path).import_runs([line, {**line, "question": "b?"}], ACME, batch_key="january")
    changed = [{**line, "answer": "Acme"}, {**line, "question": "b?"}, {**line, "model": "gemini"}]
    later = await importer(path).import_runs(changed, ACME, batch_key="january")
    assert later.batch_id == first.batch_id
    assert (later.stored, later.unchanged, later.extracted) == (2, 1, 2)
    assert dict(later.models) == {"chatgpt": 2, "gemini": 1}
    insights = await importer(path).insights(first.batch_id)
    assert insights.summary["visibility"]["numerator"] == 1
    await holds(path)


async def test_statuses_places_and_repeats_follow_from_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    base = {"question": "a?", "model": "chatgpt"}
    lines = [
        {**base, "answer": "Acme"},
        {**base, "answer": "Bolt"},
        {**base, "answer": None},
        {**base, "answer": "I cannot say.", "status": "refused", "location": {"country": "DE", "city": "Berlin"}},
        {**base, "status": "failed", "location": "US/California"},
    ]
    told = await importer(path).import_runs(lines, ACME)
    found = rows(path, "SELECT location, repeat, status FROM question_runs ORDER BY location, repeat")
    assert [tuple(row.values()) for row in found] == [
        ("DE//Berlin", 1, "refused"),
        ("US/California", 1, "failed"),
        ("anywhere", 1, "answered"),
        ("anywhere", 2, "answered"),
        ("anywhere", 3, "no_answer"),
    ]
    assert told.extracted == 2, "only what is answered is extracted"
    nothing = await importer(path).import_runs([{**base, "status": "refused"}], ACME, batch_key="none")
    assert nothing.status == "partial"
    await holds(path)


async def test_every_wrong_line_is_named_and_then_nothing_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    good = {"question": "a?", "model": "chatgpt", "answer": "x"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"model": "chatgpt", "answer": "x"}, "question: is missing or empty"),
        ({**good, "model": " "}, "model: is missing or empty"),
        ({**good, "anwser": "x"}, "anwser: unknown field; the fields are question, model"),
        ({**good, "answer": 7}, "answer: must be text"),
        ({**good, "answer": "", "status": "answered"}, "answer: an answered question has one"),
        ({**good, "status": "ok"}, "status: 'ok' is none of"),
        ({**good, "location": "us"}, "location: country: "),
        ({**good, "location": {"land": "US"}}, "location: "),
        ({**good, "citations": "https://a.example"}, "citations: must be a list"),
        ({**good, "citations": [{"title": "x"}]}, "citations[0]: must be a URL"),
        ({**good, "citations": [{"url": "https://a.example", "rank": 1}]}, "citations[0].rank: unknown field"),
        ({**good, "time": "yesterday"}, "time: 'yesterday' is no time"),
        ({**good, "repeat": 0}, "repeat: must be a whole number"),
        ({**good, "cost": "free"}, "cost: "),
        ({**good, "id": "z", "question": "another?"}, "id: 'z' is another question in line 1"),
        ({**good, "id": "z", "question": "a?", "repeat": 1}, "stand in line 1"),
    ]
    lines = [{**good, "id": "z"}, *(line for line, _ in wrong)]
    with pytest.raises(ConfigError) as caught:
        await importer(path).import_runs(lines, ACME, name="f.jsonl")
    told = str(caught.value).splitlines()
    assert len(told) == len(wrong)
    for number, (line, (_, what)) in enumerate(zip(told, wrong, strict=True), 2):
        assert line.startswith(f"f.jsonl:{number}: "), line
        assert what in line
    assert rows(path, "SELECT count(*) AS n FROM batches") == [{"n": 0}]
    with pytest.raises(ConfigError, match="holds no answer"):
        await importer(path).import_runs([], ACME)


async def test_many_wrong_lines_are_told_in_a_hundred(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await importer(tmp_path / "s.db").import_runs([{"model": "m"}] * 1_000, ACME)
    told = str(caught.value).splitlines()
    assert (len(told), told[-1]) == (101, "rows: and 900 more")


async def test_strange_text_is_stored_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    line = {"question": "\ud800?", "model": "m|odel%", "answer": "Acme \0 \udc00 \u202e\x1b[31m" + "x" * 1_000_000}
    told = await importer(path).import_runs([line, {**line, "question": "b?"}], ACME)
    assert (told.extracted, dict(told.models)) == (2, {"m|odel%": 2})
    await holds(path)


async def test_nothing_is_ever_asked_for_an_import(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened = importer(path)
    line = {"question": "a?", "model": "chatgpt", "answer": "Acme"}
    told = await opened.import_runs([line, {**line, "question": "b?", "model": "gemini"}], ACME, batch_key="k")
    with pytest.raises(ConfigError, match="was imported: nothing is asked"):
        await opened.resume(told.batch_id)
    assert (await opened.status(told.batch_id)).complete
    assert (await opened.extract(told.batch_id, extraction="local")).requests_made == 0
    await holds(path)


async def test_an_import_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    lines = [{"question": f"{n}?", "model": "chatgpt", "answer": "Acme"} for n in range(500)]
    opened = importer(path)

    def progress(stored: int, _: int) -> None:
        if stored >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await opened.import_runs(lines, ACME, on_progress=progress)
    assert not (await opened.status((await batch_ids(path))[0])).complete
    told = await opened.import_runs(lines, ACME)
    assert (told.unchanged, told.stored, told.extracted, told.status) == (200, 300, 500, "complete")
    await holds(path)


async def batch_ids(path: Path) -> list[str]:
    async with open_store(url(path)) as store:
        return await store.batch_ids()


# --- the command ---


def overheard(path: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "overheard", *arguments, "--store", url(path)]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


def test_the_command_reads_a_file_or_stdin_and_the_rest_works_on_it(tmp_path: Path) -> None:
    path, orgs, file = tmp_path / "s.db", tmp_path / "orgs.yaml", tmp_path / "f.jsonl"
    orgs.write_text("id: acme\nname: Acme\n")
    assert overheard(path, "orgs", "import", str(orgs)).returncode == 0
    file.write_text("\n".join(json.dumps({**FULL, "repeat": n}) for n in (1, 2)) + "\n\n")
    first = overheard(path, "import-runs", str(file))
    assert first.returncode == 0, first.stderr
    assert b"2 answers read, 2 stored, 0 there already, 2 extracted" in first.stdout
    again = overheard(path, "import-runs", "-", "--org", "acme", "--json", given=file.read_bytes())
    told = json.loads(again.stdout.splitlines()[-1])
    assert (told["stored"], told["unchanged"]) == (0, 2)
    for command in (
        ["verify"],
        ["insights", told["batch_id"]],
        ["export", told["batch_id"], "-o", "-", "--format", "json"],
    ):
        assert overheard(path, *command).returncode == 0, command
    bad = overheard(
        path, "import-runs", "-", given=b'{"question": \n\xff\n{"question": "a?", "model": "m", "answr": 1}'
    )
    assert bad.returncode == 1
    errors = bad.stderr.decode().splitlines()
    assert errors[0].startswith("Error: stdin:1: is not JSON")
    assert errors[1].startswith("stdin:2: is not UTF-8")
    assert errors[2].startswith("stdin:3: answr: unknown field")
    missing = overheard(path, "import-runs", str(tmp_path / "none.jsonl"))
    assert b"none.jsonl: No such file" in missing.stderr
