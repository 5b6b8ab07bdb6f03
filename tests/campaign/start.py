"""One start of a batch, in a process that may be killed at any instant.

Waits for a line of JSON (`folder`, `extraction`, `env`), prints `begun` before the engine starts, and the summary as
JSON at its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from overheard import Org, Pipeline

LIMITS = {
    "first_poll_ms": 60,
    "min_poll_ms": 20,
    "retry_base_ms": 20,
    "retry_throttle_base_ms": 50,
    # Few at a time and small groups: a kill then meets a batch in many different states.
    "openai_in_flight": 6,
    "anthropic_in_flight": 4,
    "extraction_in_flight": 8,
    "group_commit": 6,
    "unknown_grace_ms": 3_000,
}


async def main(org: Org, extraction: str) -> int:
    # Without what follows the end: `finish.py` is the campaign of that.
    async with Pipeline(**LIMITS, holistic="off") as pipeline:
        print("begun", flush=True)
        summary = await pipeline.run(org, extraction=extraction, batch_key="campaign")
    print(json.dumps(summary.to_dict()), flush=True)
    return 0 if summary.complete else 3


if __name__ == "__main__":
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)  # a spare that was not needed
    told = json.loads(line)
    os.chdir(told["folder"])
    os.environ.update(told["env"])
    sys.exit(asyncio.run(main(Org.from_dict(json.loads(Path("org.json").read_text("utf-8"))), told["extraction"])))
