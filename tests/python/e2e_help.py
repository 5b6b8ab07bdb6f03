"""What the end-to-end tests share: orgs, stores of a user's own, and how a store is held against the simulator.

Must not import anything private of the package: these tests see what a user sees, plus the simulator's books.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from overheard import Batch, Org, Pipeline, Summary
from overheard.simulator import Simulator

FAST: dict[str, Any] = {
    "first_poll_ms": 20,
    "min_poll_ms": 10,
    "retry_base_ms": 5,
    "retry_throttle_base_ms": 10,
    "host_timeout_ms": 5_000,
    "breaker_ms": 20,
}
"""Limits under which nothing waits for the clock of a real provider."""

ENGINES = {"chatgpt": "chatgpt", "perplexity": "perplexity", "gemini": "gemini"}
SCRAPED = tuple(ENGINES)
SUBJECTS = ("documentation", "writing", "editor", "wiki", "handbook", "manual", "markdown", "note")
FOLDER = Path(__file__).parents[2]


# --- orgs ---


def questions(count: int) -> list[dict[str, str]]:
    """Short questions of the simulator's writing category, each different, with ids in their order."""
    return [
        {"id": f"q{number:03}", "text": f"Which {SUBJECTS[number % 8]} software suits a team of {number + 2}?"}
        for number in range(count)
    ]


def quillmark(
    count: int = 4, models: Sequence[str] = ("chatgpt",), locations: Sequence[str] = ("US",), **fields: Any
) -> Org:
    """An org of the simulator's world, whose name stands in many of its answers."""
    return Org.from_dict(
        {
            "id": "quill",
            "name": "Quillmark",
            "websites": ["https://www.quillmark.example"],
            "aliases": ["QuillMark"],
            "competitors": ["Notaro", "Draftly"],
            "questions": questions(count),
            "models": list(models),
            "locations": list(locations),
            **fields,
        }
    )


def pipeline(simulator: Simulator, store: Any = None, **settings: Any) -> Pipeline:
    """A pipeline whose every provider is the simulator; without holistic insights unless `holistic` is given."""
    environment = simulator.environment() | settings.pop("env", {})
    journal = settings.pop("journal", None)
    if journal is not None:
        environment["OVERHEARD_JOURNAL"] = str(journal)
    return Pipeline(store, env=environment, **(FAST | {"holistic": "off"} | settings))


async def run(simulator: Simulator, store: Any, org: Org, **options: Any) -> Summary:
    """One whole start on a pipeline of its own."""
    async with pipeline(simulator, store) as opened:
        return await opened.run(org, **options)


# --- reading a journal and a store ---


def journal_text(folder: Path) -> str:
    """Everything that the journals below a folder have on the disk now."""
    texts = []
    for path in folder.rglob("*.journal"):
        with suppress(FileNotFoundError, IsADirectoryError):  # ended and removed meanwhile; a folder of them
            texts.append(path.read_text("utf-8", "replace"))
    return "".join(texts)


def ids_noted(folder: Path) -> int:
    """Snapshots whose id is on the disk: a process killed before that must look for them, or wait out the grace."""
    return journal_text(folder).count('"kind":"submitted"')


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def rows(path: Path, query: str, *values: Any) -> list[dict[str, Any]]:
    """Rows of an SQLite store, read with Python's own driver."""
    connection = sqlite3.connect(path)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]
    finally:
        connection.close()


def damage(path: Path, *statements: str) -> None:
    """Edits an SQLite store by hand; foreign keys are not enforced."""
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            changed = connection.execute(statement)
            assert changed.rowcount != 0, f"nothing was damaged by {statement}"
        connection.commit()
    finally:
        connection.close()


def dump(path: Path) -> str:
    """The results of a store as text: every table but the facts we remember for speed."""
    connection = sqlite3.connect(path)
    try:
        lines = [line for line in connection.iterdump() if not re.match(r'INSERT INTO "?facts"?', line)]
        return "\n".join(lines)
    finally:
        connection.close()


def stored_cost(path: Path) -> int:
    """Micro-dollars of all rows of a store: answers, extractions, what is of no question run, holistic insights."""
    (row,) = rows(
        path,
        "SELECT (SELECT coalesce(sum(cost_micro_usd), 0) FROM question_runs)"
        " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM extractions)"
        " + (SELECT coalesce(sum(overhead_micro_usd), 0) FROM batches)"
        " + (SELECT coalesce(sum(overhead_micro_usd), 0) FROM geo_runs)"
        " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM geo_batch_insights) AS cost",
    )
    return int(row["cost"])


def cells(org: Org, repeats: int = 1) -> set[str]:
    """Every cell key that a full run of the org must have."""
    places = [str(place) for place in org.location_list] or ["anywhere"]
    return {
        f"{question.id}|{model}|{place}|{repeat}"
        for question in org.question_list
        for model in org.models
        for place in places
        for repeat in range(1, repeats + 1)
    }


def stored_cells(path: Path) -> list[str]:
    return [row["cell_key"] for row in rows(path, "SELECT cell_key FROM question_runs ORDER BY cell_key")]


def assert_every_cell_once(path: Path, org: Org, repeats: int = 1) -> None:
    found = stored_cells(path)
    assert len(found) == len(set(found)), f"twice: {[key for key, count in Counter(found).items() if count > 1]}"
    assert set(found) == cells(org, repeats)


def assert_paid_as_charged(path: Path, simulator: Simulator, summary: Summary | None = None) -> None:
    """Rows, summary and the simulator's ledger agree to the micro-dollar, and in records."""
    ledger = simulator.ledger()
    assert sum(charge["micro_usd"] for charge in ledger["charges"]) == ledger["charged_micro_usd"]
    (row,) = rows(path, "SELECT coalesce(sum(records), 0) AS records FROM question_runs")
    stored, charged = (stored_cost(path), int(row["records"])), (ledger["charged_micro_usd"], ledger["records"])
    assert stored == charged, f"(micro-dollars, records): stored {stored}, charged {charged}"
    if summary is not None:
        said = summary.total_cost_micro_usd
        assert said == charged[0], f"the summary says {said}, charged were {charged[0]}"


def requests(simulator: Simulator) -> dict[str, int]:
    """Requests by endpoint, the simulator's own control calls left out."""
    return {name: count for name, count in simulator.ledger(charges=False)["requests"].items() if "_sim" not in name}


def asked(simulator: Simulator) -> Counter[tuple[str, str]]:
    """How often each (model, question) was charged, extraction and names left out."""
    return Counter(
        (charge["model"], text)
        for charge in simulator.ledger()["charges"]
        if charge["status"] != "structured"
        for text in charge["inputs"]
    )


class Truth:
    """What the simulator served and what its extraction calls got wrong, read once."""

    def __init__(self, simulator: Simulator) -> None:
        told = simulator.truth()
        self.answers: dict[str, dict[str, Any]] = {answer["id"]: answer for answer in told["answers"]}
        self.extractions: list[dict[str, Any]] = told["extractions"]

    def served(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What was served for the cell of a stored question run, in the order it was served."""
        engine = ENGINES.get(row["model"])
        country = "" if row["location"] == "anywhere" else row["location"].split("/")[0]
        return [
            answer
            for answer in self.answers.values()
            if answer["prompt"] == row["question"]
            and (answer["engine"] == engine if engine else answer["model"] == row["model"])
            and (answer["country"] or "") == country
        ]

    def answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The answer that was stored, as it was served."""
        text = (row["answer_text"] or "").strip()
        found = [answer for answer in self.served(row) if answer["text"].strip() == text]
        assert found, f"{row['cell_key']}: what is stored was never served"
        return found[0]

    def said(self, answer_id: str, schema: str) -> dict[str, Any] | None:
        """What the extraction model said last of an answer under a schema."""
        said = [entry for entry in self.extractions if entry["answer_id"] == answer_id and entry["schema"] == schema]
        return said[-1] if said else None


def registrable(link: str) -> str:
    """The registrable domain, where every domain lies one label below `.example`."""
    return ".".join((urlsplit(link).hostname or "").split(".")[-2:])


# --- waiting ---


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Polls until `condition` is true and gives its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


async def eventually(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """`wait_until` without blocking the loop."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)


# --- a user's own stores ---


class Shelf:
    """What both of a user's stores keep: dictionaries, and the eight methods, plain."""

    def __init__(self) -> None:
        self.orgs: dict[str, Org] = {}
        self.batches: dict[str, Batch] = {}
        self.model_runs: dict[str, Any] = {}
        self.runs: dict[tuple[str, str], Any] = {}
        self.extractions: dict[tuple[str, str], Any] = {}
        self.calls: Counter[str] = Counter()
        self.threads: set[int] = set()

    def _enter(self, name: str) -> None:
        self.calls[name] += 1
        self.threads.add(threading.get_ident())

    def load_org(self, org_id: str) -> Org | None:
        self._enter("load_org")
        return self.orgs.get(org_id)

    def save_batch(self, batch: Batch) -> None:
        self._enter("save_batch")
        self.batches[batch.batch_id] = batch

    def save_model_runs(self, model_runs: Sequence[Any]) -> None:
        self._enter("save_model_runs")
        for model_run in model_runs:
            self.model_runs[model_run.run_id] = model_run

    def load_batch(
        self, batch_id: str | None = None, *, org_id: str | None = None, batch_key: str | None = None
    ) -> Batch | None:
        self._enter("load_batch")
        for batch in reversed(list(self.batches.values())):
            if batch_id is not None:
                fits = batch.batch_id == batch_id
            elif batch_key is not None:
                fits = (batch.org_id, batch.batch_key) == (org_id, batch_key)
            else:
                fits = batch.org_id == org_id and batch.finished_at_ms is None
            if fits:
                runs = [entry for entry in self.model_runs.values() if entry.batch_id == batch.batch_id]
                return replace(batch, model_runs=tuple(runs))
        return None

    def save_question_runs(self, runs: Sequence[Any]) -> None:
        self._enter("save_question_runs")
        for entry in runs:
            self.runs[entry.batch_id, entry.key] = entry
            self.extractions.pop((entry.batch_id, entry.key), None)

    def existing_keys(self, batch_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
        self._enter("existing_keys")
        page = []
        for key in self._page([key for batch, key in self.runs if batch == batch_id], after, limit):
            kept, extraction = self.runs[batch_id, key], self.extractions.get((batch_id, key))
            done = extraction is not None and extraction.error is None
            page.append(
                {
                    "key": key,
                    "status": kept.status,
                    "extracted": done,
                    "cost_micro_usd": (kept.cost_micro_usd or 0) + ((extraction and extraction.cost_micro_usd) or 0),
                    "maybe_charged_micro_usd": kept.outcome.maybe_charged_micro_usd,
                    "citations": len(extraction.citations) if done else 0,
                    "competitors": len(extraction.competitors) if done else 0,
                    "error_kind": kept.outcome.error.kind if kept.outcome.error else None,
                }
            )
        return page

    def question_runs(self, batch_id: str, after: str | None, limit: int) -> list[Any]:
        self._enter("question_runs")
        waiting = [
            key
            for (batch, key), kept in self.runs.items()
            if batch == batch_id and kept.status == "answered" and not self._extracted(batch, key)
        ]
        return [self.runs[batch_id, key] for key in self._page(waiting, after, limit)]

    def save_extractions(self, extractions: Sequence[Any]) -> None:
        self._enter("save_extractions")
        for entry in extractions:
            self.extractions[entry.batch_id, entry.key] = entry

    def _extracted(self, batch_id: str, key: str) -> bool:
        entry = self.extractions.get((batch_id, key))
        return entry is not None and entry.error is None

    @staticmethod
    def _page(keys: list[str], after: str | None, limit: int) -> list[str]:
        ordered = sorted(keys, key=str.encode)
        return [key for key in ordered if after is None or key.encode() > after.encode()][:limit]

    @property
    def cost(self) -> int:
        """Micro-dollars of everything kept."""
        answers = sum(entry.cost_micro_usd or 0 for entry in self.runs.values())
        extracted = sum(entry.cost_micro_usd or 0 for entry in self.extractions.values())
        overhead = sum(entry.overhead_micro_usd for entry in self.model_runs.values())
        return answers + extracted + overhead + sum(batch.overhead_micro_usd for batch in self.batches.values())


STORE_METHODS = (
    "load_org",
    "save_batch",
    "save_model_runs",
    "load_batch",
    "save_question_runs",
    "existing_keys",
    "question_runs",
    "save_extractions",
)


def awaited(shelf: type[Shelf]) -> type[Shelf]:
    """The same class with every method `async def`."""

    def wrapped(name: str) -> Callable[..., Any]:
        plain = getattr(shelf, name)

        async def method(self: Shelf, *args: Any, **keywords: Any) -> Any:
            await asyncio.sleep(0)
            return plain(self, *args, **keywords)

        method.__name__ = name
        return method

    return type(f"Async{shelf.__name__}", (shelf,), {name: wrapped(name) for name in STORE_METHODS})


MyStore = awaited(Shelf)


# --- the command line ---


def environment(simulator: Simulator | None, folder: Path, **more: str) -> dict[str, str]:
    """Variables of a process of ours: nothing of the developer's own, providers at the simulator."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    variables = kept | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1"}
    if simulator is not None:
        variables |= simulator.environment()
    return variables | more


QUICK = """
from overheard.cli import batches, main, starts
from overheard.pipeline import Pipeline
class Quick(Pipeline):
    def __init__(self, *args, **settings):
        quick = dict(first_poll_ms=20, min_poll_ms=10, retry_base_ms=5, retry_throttle_base_ms=10)
        super().__init__(*args, **{**quick, **settings})
starts.Pipeline = batches.Pipeline = Quick
main()
"""
"""The command line as it is, but that it does not wait ten seconds before it first looks at a snapshot."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", QUICK, *arguments]


def cli(
    folder: Path, *arguments: str, simulator: Simulator | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `overheard …` to its end in `folder`."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(simulator, folder, **(env or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_json(output: str) -> dict[str, Any]:
    """The JSON object on the last line."""
    data: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return data


class Started:
    """A process that is still at work, with what it printed so far."""

    def __init__(self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            list(arguments),
            cwd=folder,
            env=dict(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self.process.kill()

    def end(self, seconds: float = 30.0) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def started(arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Started]:
    """A process that is killed when the test is over."""
    process = Started(arguments, folder, variables)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.kill()
        process.end()


def plain_brand(name: str) -> str:
    """A brand as an extraction shows it: without its legal form."""
    return re.sub(r"(,? (&|and) Co|,? Inc|,? Ltd| GmbH)\.?$", "", name, flags=re.IGNORECASE)
