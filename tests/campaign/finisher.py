"""One process of the finish campaign: runs its model run of every batch, in order, and may be killed at its end.

    python finisher.py FOLDER NUMBER PROCESSES

What `plan.json` of the folder says is done from where `at-NUMBER` says; `done.txt` takes a line for each beginning and
each end of what follows a batch.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overheard import BatchStatus, Outcome, Pipeline, _finish

PATIENCE_S = 0.5
"""How long a process waits for the others to reach the same batch: one of them may be dead."""


def note(folder: Path, word: str, what: str, batch_id: str) -> None:
    """A line in one write, so that lines of two processes do not mix."""
    line = f"{word} {what} {batch_id} {os.getpid()}\n".encode()
    handle = os.open(folder / "done.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def fake_analysis(folder: Path, reached: Callable[[str, str], None]) -> None:
    """The analysis as the pipeline sees it: it notes that it was called."""

    async def analyse(_pipeline: Pipeline, batch_id: str, claim: Any, *, mode: str, **_: object) -> None:
        assert claim.granted
        assert mode == "auto"
        note(folder, "begin", "holistic", batch_id)
        reached("inside holistic", batch_id)
        note(folder, "end", "holistic", batch_id)

    _finish.analyse = analyse


class Engine:
    """A user's provider that answers when the other processes ask of the same batch, too."""

    supports_batching = False
    max_batch_size = 1

    def __init__(self, folder: Path, number: int, processes: int) -> None:
        self.folder, self.number, self.processes = folder, number, processes
        self.batch = 0

    def ask(self, requests: Sequence[Any]) -> list[Outcome]:
        (self.folder / f"here-{self.batch}.{self.number}").touch()
        deadline = time.monotonic() + PATIENCE_S
        others = [self.folder / f"here-{self.batch}.{number}" for number in range(self.processes)]
        while time.monotonic() < deadline and not all(path.exists() for path in others):
            time.sleep(0.002)
        return [Outcome.from_dict({"status": "answered", "text": "Quillmark is the best editor."}) for _ in requests]


async def main(folder: Path, number: int, processes: int) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    ids = {batch["id"]: str(place) for place, batch in enumerate(plan["batches"])}

    def reached(point: str, batch_id: str) -> None:
        """Dies here when the plan says so: the first process that comes, and only once a batch."""
        place = ids[batch_id]
        if plan["kills"].get(place) != point:
            return
        try:
            handle = os.open(folder / f"killed.{place}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        os.write(handle, point.encode())
        os.kill(os.getpid(), signal.SIGKILL)

    original = _finish.mark_of

    async def mark_of(store: Any, batch_id: str) -> Any:
        reached("before the claim", batch_id)  # the end was seen, and nothing is claimed yet
        return await original(store, batch_id)

    _finish.mark_of = mark_of
    fake_analysis(folder, reached)

    def finished(status: BatchStatus) -> None:
        assert status.complete, status
        note(folder, "begin", "finished", status.batch_id)
        reached("inside finished", status.batch_id)
        note(folder, "end", "finished", status.batch_id)

    engine = Engine(folder, number, processes)
    at = folder / f"at-{number}"
    first = int(at.read_text()) if at.exists() else 0
    providers = {f"engine-{number}": engine}
    async with Pipeline(plan["store"], env={}, providers=providers, on_batch_finished=finished) as pipeline:
        for place in range(first, len(plan["batches"])):
            at.write_text(str(place))
            engine.batch = place
            await pipeline.run_model(plan["batches"][place]["runs"][f"engine-{number}"])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
