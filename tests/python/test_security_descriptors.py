"""No descriptor left (fault F80): nothing crashes, what was not sent costs nothing, a later start completes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e_help import environment, rows
from overheard.simulator import Simulator

CHILD = """
import asyncio, json, os, resource, sys
from overheard import Pipeline

async def main():
    async with Pipeline("sqlite:///few.db", retry_base_ms=1, openai_in_flight=64) as pipeline:
        async def run():
            places = ["US", "DE"]
            return await pipeline.run("demo", models=["gpt-4.1"], locations=places, extraction="local", batch_key="k")
        room = int(sys.argv[1])
        if room:
            used = max(int(name) for name in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        summary = await run() if room else await pipeline.resume(sys.argv[2])
        print(json.dumps(summary.to_dict()))

asyncio.run(main())
"""


def child(folder: Path, simulator: Simulator, *arguments: str) -> dict[str, Any]:
    told = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=folder,
        env=environment(simulator, folder),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    summary: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return summary


def test_f80_a_process_without_descriptors_sends_less_and_loses_nothing(tmp_path: Path) -> None:
    with Simulator(seed=1, latency_ms=100, perfect=True) as simulator:
        first = child(tmp_path, simulator, "12")
        charged = simulator.ledger()["charged_micro_usd"]
        kept = rows(
            tmp_path / "few.db",
            "SELECT status, error_kind, cost_micro_usd, maybe_charged_micro_usd AS maybe FROM question_runs",
        )
        # What could not be sent stays open, and is told once.
        assert len(kept) < 50, "the limit was never met"
        assert "not_sent" in {error["kind"] for error in first["processing_errors"]}
        assert not any(row["maybe"] for row in kept)
        assert charged == sum(row["cost_micro_usd"] or 0 for row in kept)
        last = child(tmp_path, simulator, "0", str(first["batch_id"]))
    assert last["status"] == "complete", last
    assert rows(tmp_path / "few.db", "SELECT count(*) AS n FROM question_runs WHERE status = 'failed'")[0]["n"] == 0
