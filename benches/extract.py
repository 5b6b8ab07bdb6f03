"""Extraction by rules, in megabytes of answers a second on one core, beside the same search with Python's `re`. Asserts nothing.

The Rust side is `examples/bench_extract.rs`, which also hands over its answers and names, so that both read the same.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 2.0


def native(folder: Path) -> tuple[dict[str, float], Path]:
    answers = folder / "answers.json"
    command = ["cargo", "run", "--quiet", "--release", "--no-default-features", "--example", "bench_extract", "--"]
    done = subprocess.run([*command, str(answers)], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), answers


def python(path: Path) -> float:
    job = json.loads(path.read_text(encoding="utf-8"))
    own = re.compile(
        r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(job["names"], key=len, reverse=True))) + r")(?!\w)", re.I
    )
    rivals = re.compile(
        r"(?<!\w)(" + "|".join(map(re.escape, sorted(job["competitors"], key=len, reverse=True))) + r")(?!\w)", re.I
    )
    urls = re.compile(r"https?://[^\s<>()\"\]]+")
    size = sum(len(text.encode()) for text in job["answers"])
    start, rounds = time.thread_time(), 0
    while time.thread_time() - start < SECONDS:
        for text in job["answers"]:
            first = own.search(text)
            before = {m[1].lower() for m in rivals.finditer(text) if first is None or m.start() < first.start()}
            _ = (
                first is not None,
                1 + len(before),
                sum(1 for _ in own.finditer(text)),
                list(dict.fromkeys(urls.findall(text))),
            )
        rounds += 1
    return size * rounds / 1e6 / (time.thread_time() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rates, answers = native(Path(folder))
        print(
            f"\nExtraction by rules: MB of answers a second of one core's time, {rates['answer_bytes']:.0f} bytes an answer"
        )
        print(f"  {'overheard, mentions alone':<44} {rates['hits_mb_s']:>8.0f}")
        print(f"  {'overheard, citations alone':<44} {rates['citations_mb_s']:>8.0f}")
        print(f"  {'overheard, the whole extraction (local)':<44} {rates['local_mb_s']:>8.0f}")
        plain = python(answers)
        print(f"  {'Python re: mention, rank, URLs; no rules':<44} {plain:>8.0f}")
        print(f"  {'the whole extraction, times Python re':<44} {rates['local_mb_s'] / plain:>8.1f}")


if __name__ == "__main__":
    main()
