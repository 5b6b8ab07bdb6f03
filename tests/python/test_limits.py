"""Bright Data's 429 guard over several processes of a host, and speed limits, by what the simulator counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import FAST, asked, assert_every_cell_once, assert_paid_as_charged, pipeline, quillmark, requests, url
from overheard.simulator import Simulator

# One start in a process of its own.
CHILD = """
import asyncio, json, sys
from overheard import Org, Pipeline

async def main() -> None:
    store, org, variables, limits = json.loads(sys.argv[1])
    async with Pipeline(store, env=variables, **limits) as pipeline:
        summary = await pipeline.run(Org.from_dict(org), extraction="local")
    kinds = [error["kind"] for error in summary.processing_errors]
    counts = {"answered": summary.answered, "failed": summary.failed}
    print(json.dumps({"status": summary.status, "kinds": kinds, **counts}))

asyncio.run(main())
"""

SCRAPED = ("chatgpt", "perplexity", "gemini")
# A silence of five minutes is longer than these starts wait, so they end and say until when.
IMPATIENT = FAST | {"retry_max_park_ms": 60_000}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=33, snapshot_ms=30, perfect=True) as running:
        yield running


def start(simulator: Simulator, path: Path, models: tuple[str, ...]) -> subprocess.Popen[str]:
    org = {
        "id": "quill",
        "name": "Quillmark",
        "questions": [{"id": f"q{number}", "text": f"Which wiki suits {number} people?"} for number in range(40)],
        "models": list(models),
        "locations": ["US"],
    }
    told = json.dumps([url(path), org, simulator.environment(), IMPATIENT])
    return subprocess.Popen([sys.executable, "-c", CHILD, told], stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


def refused(simulator: Simulator) -> int:
    """Answers 429 of Bright Data in the worst five minutes, as the simulator counted them."""
    return int(simulator.ledger(charges=False)["most_429_in_five_minutes"].get("brightdata", 0))


def test_f35_three_processes_and_the_next_one_share_eight_answers_429(tmp_path: Path, simulator: Simulator) -> None:
    simulator.inject({"endpoint": "brightdata"}, "rate_limited", None)
    processes = [start(simulator, tmp_path / f"{number}.db", (*SCRAPED, "gpt-4.1")) for number in range(3)]
    for said in [ended(process) for process in processes]:
        assert (said["status"], said["answered"], said["failed"]) == ("partial", 40, 0), "the other provider completes"
        assert "unavailable" in said["kinds"]
    # Each of them alone would have been refused eight times.
    assert refused(simulator) == 8
    before = sum(count for name, count in requests(simulator).items() if name.startswith("brightdata"))
    assert before == 8
    said = ended(start(simulator, tmp_path / "next.db", SCRAPED))
    assert (said["status"], said["answered"]) == ("partial", 0)
    after = sum(count for name, count in requests(simulator).items() if name.startswith("brightdata"))
    assert after == before, "a restart forgets nothing"
    assert simulator.ledger()["records"] == 0


async def test_f35_another_account_is_not_held_up(tmp_path: Path, simulator: Simulator) -> None:
    simulator.inject({"endpoint": "brightdata"}, "rate_limited", None)
    org = quillmark(4)
    async with pipeline(simulator, url(tmp_path / "a.db"), retry_max_park_ms=60_000) as opened:
        assert (await opened.run(org, extraction="local")).status == "partial"
    simulator.clear_faults()
    key = {"BRIGHTDATA_API_KEY": "another-key"}
    async with pipeline(simulator, url(tmp_path / "b.db"), env=key) as opened:
        assert (await opened.run(org, extraction="local")).status == "complete"
    assert_paid_as_charged(tmp_path / "b.db", simulator)


async def test_i15_no_more_in_flight_than_the_guard_and_the_caps_allow(tmp_path: Path) -> None:
    with Simulator(seed=34, latency_ms=20, snapshot_ms=30, perfect=True) as simulator:
        org, path = quillmark(60, (*SCRAPED, "gpt-4.1", "claude-sonnet-4-5")), tmp_path / "s.db"
        caps = {"openai_in_flight": 5, "anthropic_in_flight": 3, "brightdata_triggers": 64}
        async with pipeline(simulator, url(path), **caps) as opened:
            summary = await opened.run(org, extraction="local")
        assert summary.status == "complete"
        peaks = simulator.ledger(charges=False)["peak_in_flight_of_provider"]
        assert peaks["openai"] <= 5
        assert peaks["anthropic"] <= 3
        assert peaks["brightdata"] <= 8, "eight can be refused together, and no more"
        assert_every_cell_once(path, org)


@pytest.mark.parametrize("model", ["gpt-4.1", "claude-sonnet-4-5"])
async def test_f33_a_hard_rate_limit_loses_nothing_and_is_refused_little(tmp_path: Path, model: str) -> None:
    with Simulator(seed=35, requests_per_second=100, perfect=True) as simulator:
        org, path = quillmark(300, (model,)), tmp_path / "s.db"
        async with pipeline(simulator, url(path)) as opened:
            summary = await opened.run(org, extraction="local")
            if not summary.complete:  # three answers 429 in a row leave a question open, on a machine that is busy
                summary = await opened.resume(summary.batch_id)
        assert (summary.status, summary.failed) == ("complete", 0)
        assert set(asked(simulator).values()) == {1}
        (replies,) = simulator.ledger(charges=False)["replies"].values()
        assert replies["200"] == 300
        assert replies.get("429", 0) <= 30
        assert_paid_as_charged(path, simulator, summary)


def test_the_guards_files_lie_in_the_users_state_folder(tmp_path: Path, simulator: Simulator) -> None:
    assert ended(start(simulator, tmp_path / "s.db", ("chatgpt",)))["status"] == "complete"
    (account,) = (Path(os.environ["XDG_STATE_HOME"]) / "overheard" / "accounts").iterdir()
    assert len(list(account.iterdir())) == 8
    told = "".join(str(path) + path.read_text() for path in account.iterdir())
    assert "simulated" not in told
    assert simulator.url.rsplit(":", 1)[1] not in told
