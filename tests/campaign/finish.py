"""The finish campaign: processes race to end the same batches, some are killed at it; what follows is done once each.

    python tests/campaign/finish.py [--batches 500] [--processes 8] [--seed N] [--store URL]

Each batch has one model run a process, which all end in the same instant as far as the machine allows. A process is
killed (SIGKILL) between the last settle and the claim, or inside `on_batch_finished` or the holistic analysis, and
begun again where it was. `--store` takes an empty database, `postgresql://…` too; without it, SQLite in a new folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from overheard import BatchStatus, Org, Pipeline, open_store
from overheard.verify import verify

WORKER = Path(__file__).with_name("finisher.py")
WHATS = ("finished", "holistic")
POINTS = ("before the claim", "inside finished", "inside holistic")


class Silent:
    """Stands for the workers' providers where batches are only made."""

    supports_batching = False
    max_batch_size = 1

    def ask(self, requests: object) -> list[object]:
        raise AssertionError("nothing is asked here")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    seed = os.environ.get("OVERHEARD_SEED") or random.SystemRandom().randrange(1 << 31)
    parser.add_argument("--seed", type=int, default=int(seed))
    parser.add_argument("--store", default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="overheard-finish-"))
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    store = options.store or f"sqlite:///{folder / 's.db'}"
    kind = store.partition(":")[0]
    print(
        f"finish campaign: {options.batches} batches, {options.processes} processes, {kind}, seed {options.seed}",
        flush=True,
    )
    begun = time.monotonic()
    plan = asyncio.run(made(store, options.batches, options.processes))
    kills = planned_kills(options.seed, options.batches, options.processes)
    (folder / "plan.json").write_text(json.dumps({"store": store, "batches": plan, "kills": kills}))
    killed = race(folder, options.processes)
    taken_late = asyncio.run(looked_at(store, folder, [batch["id"] for batch in plan]))
    problems = asyncio.run(checked(store, folder, plan, killed, whole=options.batches >= 20))
    for problem in problems[:20]:
        print(f"  VIOLATION {problem}", flush=True)
    told = ", ".join(f"{point} {killed[point]}" for point in POINTS)
    print(
        f"finish campaign {'FAILED' if problems else 'passed'}: {options.batches} batches of {options.processes} model "
        f"runs on {kind}, {sum(killed.values())} processes killed ({told}), {taken_late} ends seen only by a later "
        f"look; completion and holistic analysis once each; {len(problems)} violations, "
        f"{time.monotonic() - begun:.0f} s (seed {options.seed})"
    )
    if problems:
        print(f"  files: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


async def made(store: str, batches: int, processes: int) -> list[dict[str, object]]:
    """The batches, queued: id, and the model run of each process."""
    models = [f"engine-{number}" for number in range(processes)]
    org = Org("race", "Quillmark", ["https://www.quillmark.example"], questions=["Best editor?"], models=models)
    plan = []
    async with Pipeline(store, env={}, providers={model: Silent() for model in models}, holistic="off") as pipeline:
        for _ in range(batches):
            batch_id = await pipeline.create_batch(org, extraction="local", new=True)
            batch = await pipeline.store.load_batch(batch_id)
            plan.append({"id": batch_id, "runs": {run.model: run.run_id for run in batch.model_runs}})
    return plan


def planned_kills(seed: int, batches: int, processes: int) -> dict[str, str]:
    """Batch number to the point at which the first process that reaches it there is killed: every third batch."""
    chosen = sorted(random.Random(seed).sample(range(batches), batches // 3))
    return {str(number): POINTS[place % len(POINTS)] for place, number in enumerate(chosen)}


def race(folder: Path, processes: int) -> Counter[str]:
    """Runs the workers to their end; one that is killed is begun again where it was."""
    killed: Counter[str] = Counter()
    running = {number: begin(folder, number, processes) for number in range(processes)}
    while running:
        time.sleep(0.02)
        for number, process in list(running.items()):
            code = process.poll()
            if code == -9:
                running[number] = begin(folder, number, processes)
            elif code == 0:
                del running[number]
            elif code is not None:
                for other in running.values():
                    other.kill()
                raise SystemExit(f"worker {number} ended with {code}:\n{(folder / f'worker-{number}.log').read_text()}")
    killed.update(killed_at(folder).values())
    return killed


def killed_at(folder: Path) -> dict[str, str]:
    """Batch number to the point at which a process was killed."""
    return {path.name.partition(".")[2]: path.read_text() for path in folder.glob("killed.*")}


def begin(folder: Path, number: int, processes: int) -> subprocess.Popen[bytes]:
    with (folder / f"worker-{number}.log").open("ab") as log:
        arguments = [sys.executable, str(WORKER), str(folder), str(number), str(processes)]
        return subprocess.Popen(arguments, stdout=log, stderr=log)


async def looked_at(store: str, folder: Path, batch_ids: list[str]) -> int:
    """Who watches a batch does what nobody was left to do; gives how many batches that were."""
    sys.path.insert(0, str(WORKER.parent))
    import finisher

    late = 0

    async def tell(status: BatchStatus) -> None:
        nonlocal late
        late += 1
        finisher.note(folder, "begin", "finished", status.batch_id)
        finisher.note(folder, "end", "finished", status.batch_id)

    finisher.fake_analysis(folder, lambda *_: None)
    async with Pipeline(store, env={}, on_batch_finished=tell) as pipeline:
        for batch_id in batch_ids:
            async for status in pipeline.watch(batch_id):
                assert status.complete, status
    return late


async def checked(
    store: str, folder: Path, plan: list[dict[str, object]], killed: Counter[str], *, whole: bool
) -> list[str]:
    """What does not hold."""
    lines = [line.split() for line in (folder / "done.txt").read_text().splitlines()]
    said = Counter((word, what, batch_id) for word, what, batch_id, _ in lines)
    points = killed_at(folder)
    problems = []
    async with open_store(store) as opened:
        claims = {row["name"]: row async for row in opened.read_all(_all_claims())}
        for number, batch in enumerate(plan):
            for what in WHATS:
                inside = points.get(str(number)) == f"inside {what}"
                name = f"{what}:{batch['id']}"
                ends, begins = said["end", what, str(batch["id"])], said["begin", what, str(batch["id"])]
                if (begins, ends) != (1 + inside, 1):
                    problems.append(f"batch {number} {what}: begun {begins} times and done {ends} times")
                row = claims.get(name)
                if row is None or row["done_at"] is None or (row["revision"], row["takeovers"]) != (1, int(inside)):
                    problems.append(f"batch {number} {what}: its claim is {row}")
        if len(claims) != len(WHATS) * len(plan):
            problems.append(f"{len(claims)} claims for {len(plan)} batches")
        problems += [check.line() for check in await verify(opened, journal=_journal(store)) if not check.passed]
    if whole and not all(killed[point] for point in POINTS):
        problems.append(f"vacuous: nobody was killed {[point for point in POINTS if not killed[point]]}")
    return problems


def _journal(store: str) -> str:
    from overheard.settings import journal_folder

    path = Path(store.removeprefix("sqlite:///")) if store.startswith("sqlite") else None
    return journal_folder(path)


def _all_claims() -> object:
    from overheard.stores import schema
    from sqlalchemy import select

    return select(schema.claims)


if __name__ == "__main__":
    sys.exit(main())
