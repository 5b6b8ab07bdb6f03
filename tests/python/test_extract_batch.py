"""Extraction by native batch as a user starts it, at both providers: rows as by direct calls, half the price, kill -9
at every point without a second creation; and what `verify` says of a batch that is still at the provider.

Must not import anything private of the package.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from e2e_help import cli, environment, pipeline, quillmark, rows, started, url, wait_until
from overheard.simulator import Simulator
from test_hazards_kill import COMMITTED, STORE, command, resume

MODELS = ("gpt-4.1-mini", "claude-haiku-4-5")
COUNT = 24
TABLES = ("org_evals", "org_competitors", "org_citations")

# The store hangs before it takes the extractions: the journal alone has them.
UNSTORED = """
import asyncio
from overheard.stores import SqlStore
async def never(self, rows):
    open("committed", "w").close()
    await asyncio.Event().wait()
SqlStore.save_extractions = never
"""


def extracted(path: Path) -> dict[str, list[dict[str, Any]]]:
    """By table, the rows of all extractions without what differs between two batches: ids, money, times."""
    found = {}
    for table in TABLES:
        own = {"id", "batch_id", "run_id", "extracted_at_ms", "created_at_ms", "cost_micro_usd"}
        columns = [row["name"] for row in rows(path, f"PRAGMA table_info({table})")]
        kept = [name for name in columns if name not in own and not name.endswith("_tokens")]
        found[table] = sorted((dict(row) for row in rows(path, f"SELECT {', '.join(kept)} FROM {table}")), key=repr)
    return found


def structured(simulator: Simulator, *, batch: bool) -> int:
    """Micro-dollars of calls under a schema in the ledger, those inside batches or the direct ones."""
    charges = simulator.ledger()["charges"]
    return sum(
        charge["micro_usd"] for charge in charges if charge["status"] == "structured" and charge["batch"] is batch
    )


def batches(simulator: Simulator, model: str) -> int:
    """How many batches the provider has."""
    path = "/v1/messages/batches" if model.startswith("claude") else "/v1/batches"
    request = urllib.request.Request(simulator.url + path + "?limit=100", headers={"Authorization": "Bearer x"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return len(json.load(reply)["data"])


async def run(folder: Path, model: str, extraction: str, simulator: Simulator) -> None:
    async with pipeline(simulator, url(folder / "s.db"), env={"OVERHEARD_EXTRACTION_MODEL": model}) as opened:
        summary = await opened.run(quillmark(COUNT), extraction=extraction)
    assert (summary.status, summary.evaluations) == ("complete", COUNT)
    assert summary.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"]
    assert summary.maybe_charged_micro_usd == 0


@cache
def by_direct_calls(model: str) -> dict[str, list[dict[str, Any]]]:
    """What direct calls make of the same answers; made once."""
    with TemporaryDirectory() as folder, Simulator(seed=5, snapshot_ms=100, perfect=True) as simulator:
        (Path(folder) / "orgs.json").write_text(json.dumps([quillmark(COUNT).to_dict()]))
        env = {"OVERHEARD_EXTRACTION_MODEL": model}
        arguments = ("run", "quill", "--orgs-file", "orgs.json", *STORE, "--extraction", "llm")
        done = cli(Path(folder), *arguments, simulator=simulator, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return extracted(Path(folder) / "s.db")


@pytest.mark.parametrize("model", MODELS)
async def test_rows_are_those_of_direct_calls_one_by_one(tmp_path: Path, model: str) -> None:
    with Simulator(seed=5, snapshot_ms=100, perfect=True) as simulator:
        await run(tmp_path, model, "llm-batch", simulator)
        assert batches(simulator, model) == 1
    found, direct = extracted(tmp_path / "s.db"), by_direct_calls(model)
    for table in TABLES:
        assert found[table] == direct[table], table
        assert len(found[table]) >= COUNT, "there is something to compare"
    sentiments = {row["sentiment"] for row in found["org_evals"]}
    assert len(sentiments - {None}) > 1, sentiments


@pytest.mark.parametrize("model", MODELS)
async def test_it_costs_half_on_the_ledger_of_the_provider(tmp_path: Path, model: str) -> None:
    paid = {}
    for extraction in ("llm", "llm-batch"):
        folder = tmp_path / extraction
        folder.mkdir()
        with Simulator(seed=5, snapshot_ms=100, perfect=True) as simulator:
            await run(folder, model, extraction, simulator)
            paid[extraction] = {batch: structured(simulator, batch=batch) for batch in (True, False)}
            assert batches(simulator, model) == (extraction == "llm-batch")
    names = paid["llm-batch"][False]  # name variations are asked directly in both
    whole, half = paid["llm"][False] - names, paid["llm-batch"][True]
    assert paid["llm"][True] == 0
    assert whole > 1_000
    assert abs(2 * half - whole) <= 2 * COUNT, "each of at most 2 requests an answer is rounded once"


def journal(folder: Path) -> str:
    texts = []
    for path in folder.glob("s.db.journal/*.journal"):
        try:
            texts.append(path.read_text("utf-8", "replace"))
        except FileNotFoundError:
            continue
    return "".join(texts)


def hangs(simulator: Simulator) -> bool:
    return bool(simulator.ledger(charges=False)["faults"].get("hang_headers"))


Seen = Callable[[Path, Simulator], bool]
POINTS: dict[str, tuple[str, Seen]] = {
    "the file is uploaded": ("", lambda _, simulator: hangs(simulator)),
    "the batch is made": ("", lambda _, simulator: hangs(simulator)),
    "its id is noted": ("", lambda folder, _: re.search(r'"snapshot_id":"(msg)?batch_', journal(folder)) is not None),
    "its results are noted": (UNSTORED, lambda folder, _: (folder / "committed").exists()),
    "its results are stored": (
        COMMITTED.replace("{method}", "save_extractions"),
        lambda folder, _: (folder / "committed").exists(),
    ),
}


# Anthropic takes the requests with the creation: there is no file.
WHERE = [
    (point, model) for point in POINTS for model in MODELS if "file" not in point or not model.startswith("claude")
]


@pytest.mark.parametrize(("point", "model"), WHERE)
def test_sigkill_makes_no_second_batch_and_loses_no_row(tmp_path: Path, model: str, point: str) -> None:
    provider = "anthropic" if model.startswith("claude") else "openai"
    patch, is_there = POINTS[point]
    with Simulator(seed=5, snapshot_ms=100 if patch else 1_500, perfect=True) as simulator:
        (tmp_path / "orgs.json").write_text(json.dumps([quillmark(COUNT).to_dict()]))
        # The resume of `test_hazards_kill` starts with the environment of the simulator and the folder's .env.
        (tmp_path / ".env").write_text(f"OVERHEARD_EXTRACTION_MODEL={model}\n")
        held = {"the file is uploaded": "files", "the batch is made": "batches"}.get(point)
        if held:
            simulator.inject({"endpoint": f"{provider}.{held}"}, "hang_headers")
        arguments = ("run", "quill", "--orgs-file", "orgs.json", *STORE, "--extraction", "llm-batch")
        with started(command(*arguments, patch=patch), tmp_path, environment(simulator, tmp_path)) as process:
            wait_until(lambda: is_there(tmp_path, simulator), point, seconds=60)
            process.kill()
            process.end()
        if point != "its results are stored":
            assert not rows(tmp_path / "s.db", "SELECT * FROM org_evals")
        summary = resume(tmp_path, simulator)
        assert summary["evaluations"] == COUNT
        assert batches(simulator, model) == 1, "made twice"
        assert summary["total_cost_micro_usd"] == simulator.ledger()["charged_micro_usd"]
        assert summary["maybe_charged_micro_usd"] == 0
    for table, direct in by_direct_calls(model).items():
        for row, wanted in zip(extracted(tmp_path / "s.db")[table], direct, strict=True):
            assert {name: (row[name], wanted[name]) for name in row if row[name] != wanted[name]} == {}, table
    verified = cli(tmp_path, "verify", *STORE)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("model", MODELS)
def test_verify_says_that_a_batch_is_open_and_objects_to_nothing(tmp_path: Path, model: str) -> None:
    with Simulator(seed=5, snapshot_ms=20_000, perfect=True) as simulator:
        (tmp_path / "orgs.json").write_text(json.dumps([quillmark(COUNT, ("gpt-4.1",)).to_dict()]))
        (tmp_path / ".env").write_text(f"OVERHEARD_EXTRACTION_MODEL={model}\n")
        start = ("run", "quill", "--orgs-file", "orgs.json", *STORE, "--extraction")
        surroundings = environment(simulator, tmp_path)
        with started(command(*start, "llm-batch"), tmp_path, surroundings) as process:
            noted = POINTS["its id is noted"][1]
            wait_until(lambda: noted(tmp_path, simulator), "its id is noted", seconds=90)
            process.interrupt()
            process.end()
        verified = cli(tmp_path, "verify", *STORE)
        assert verified.returncode == 0, verified.stdout
        (line,) = [line for line in verified.stdout.splitlines() if " I11 " in line]
        assert f"about {COUNT} answers, is paid for; a start with extraction=llm-batch fetches it" in line
        # The batch keeps its way of extraction, whatever the next start asks for.
        done = cli(tmp_path, *start, "local", simulator=simulator)
        assert f"{COUNT} evaluations" in done.stdout, done.stdout + done.stderr
        assert batches(simulator, model) == 1
        verified = cli(tmp_path, "verify", *STORE)
        assert verified.returncode == 0, verified.stdout
        assert "is paid for" not in verified.stdout
