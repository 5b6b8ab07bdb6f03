"""`make bench`: what a question costs, beside what others cost, in one run on one machine. Prints tables, asserts nothing.

The simulator runs in a process of its own; every measured job too (worker.py). Compare rows of one run only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVER = (
    "import sys, json\n"
    "from overheard.simulator import Simulator\n"
    "with Simulator(**json.loads(sys.argv[1])) as simulator:\n"
    "    print(simulator.url, flush=True)\n"
    "    sys.stdin.read()\n"
)


class Server:
    """A simulator in a process of its own; ends with this one, because its standard input does."""

    def __init__(self, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def ledger(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_sim/ledger") as reply:
            return json.load(reply)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def measure(case: str, url: str, count: int, folder: Path) -> dict[str, Any] | None:
    command = [sys.executable, str(HERE / "worker.py"), case, url, str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3_000)
    if done.returncode != 0:
        print(f"  {case}: failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no output'}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(name: str, count: int, facts: dict[str, Any] | None, note: str = "") -> None:
    if facts is None:
        return
    per = 1e6 / count
    print(
        f"  {name:<34} {facts['cpu'] * per:>9.1f} {facts['wall'] * per:>9.1f} {facts['rss_mb']:>8.0f}"
        f"  {facts['answered']:>8}  {note}"
    )


def per_question(count: int, folder: Path, answer_chars: int) -> None:
    print(
        f"\nPer question: {count} questions, 64 in flight, simulator without latency, {answer_chars} characters an answer"
    )
    print(f"  {'':<34} {'CPU µs':>9} {'wall µs':>9} {'RSS MB':>8}  {'answered':>8}")
    with Server(seed=1, answer_chars=answer_chars, record=False, perfect=True) as server:
        row(
            "overheard, execution alone",
            count,
            measure("overheard_execution", server.url, count, folder),
            "bar: 60 CPU µs",
        )
        row(
            "overheard, all into SQLite",
            count,
            measure("overheard_sqlite", server.url, count, folder),
            "bar: 200 CPU µs",
        )
        row("aiohttp, raw", count, measure("aiohttp_raw", server.url, count, folder))
        for name, module, case, share in (
            ("openai client", "openai", "openai_client", 5),
            ("litellm", "litellm", "litellm_client", 10),
            ("tensorzero, embedded", "tensorzero", "tensorzero_client", 5),
        ):
            if importlib.util.find_spec(module) is None:
                print(f"  {name:<34} not installed")
            else:
                row(name, count // share, measure(case, server.url, count // share, folder))


def memory(counts: list[int], folder: Path) -> None:
    print("\nMemory: one process, a store that keeps nothing, local extraction")
    print(f"  {'cells':>10} {'peak RSS MB':>12} {'wall s':>8}")
    for count in counts:
        with Server(seed=1, record=False, perfect=True) as server:
            facts = measure("overheard_memory", server.url, count, folder)
        if facts is not None:
            print(f"  {facts['answered']:>10} {facts['rss_mb']:>12.0f} {facts['wall']:>8.1f}")


def oracle(folder: Path) -> None:
    print(
        "\nMakespan: 100 questions × 4 models × 2 locations, 10 s a snapshot, 2 s a direct call, limits raised to the matrix"
    )
    with Server(seed=1, latency_ms=2_000, snapshot_ms=10_000, perfect=True) as server:
        facts = measure("makespan", server.url, 100, folder)
        slowest = max(charge["finished_ms"] - charge["started_ms"] for charge in server.ledger()["charges"]) / 1_000
    if facts is not None:
        ratio = facts["run_seconds"] / slowest
        print(
            f"  run {facts['run_seconds']:.2f} s, slowest call or snapshot {slowest:.2f} s: ratio {ratio:.3f} (bar 1.05)"
        )


def rate_limit(folder: Path) -> None:
    """Answered, of what a bucket of `rate` at once and `rate` a second allows in the same time."""
    rate, count = 50, 1_500
    print(f"\nGoodput under a hard rate limit: {count} questions, {rate} at once and {rate} a second, 200 ms a call")
    with Server(seed=1, latency_ms=200, requests_per_second=rate, perfect=True) as server:
        facts = measure("rate_limited", server.url, count, folder)
        ledger = server.ledger()
    if facts is None:
        return
    (replies,) = ledger["replies"].values()
    starts = [charge["started_ms"] for charge in ledger["charges"]]
    # By the provider's clock: what it allowed between the first call and the last.
    allowed = rate + rate * (max(starts) - min(starts)) / 1_000
    print(
        f"  {facts['answered']} answered in {facts['run_seconds']:.2f} s, {allowed:.0f} allowed: "
        f"{facts['answered'] / allowed:.1%} (bar 95 %), {replies.get('429', 0)} answers 429"
    )


def snapshot_lag(folder: Path) -> None:
    """From a snapshot's readiness at the provider to the hand-over of its rows to the store."""
    print("\nSnapshot ready → rows stored: 100 questions × 3 engines, snapshots of 30 s ± 50 %, polls as by default")
    with Server(seed=1, snapshot_ms=30_000, spread=0.5, perfect=True) as server:
        facts = measure("snapshot_lag", server.url, 100, folder)
        ledger = server.ledger()
    if facts is None:
        return
    stored: dict[tuple[str, str], float] = {(model, text): at for model, text, at in facts["stored"]}
    shares = []
    for charge in ledger["charges"]:
        last = max(stored[charge["model"], text] for text in charge["inputs"])
        shares.append((last - charge["finished_ms"]) / (charge["finished_ms"] - charge["started_ms"]))
    requests = sum(count for name, count in ledger["requests"].items() if name.startswith("brightdata"))
    refused = ledger["most_429_in_five_minutes"].get("brightdata", 0)
    print(
        f"  {len(shares)} snapshots: {sum(shares) / len(shares):.1%} of the duration in the mean, {max(shares):.1%} at worst "
        f"(bar 10 %), {requests} requests, {refused} answers 429 in five minutes (bar 8)"
    )


def old_way(folder: Path) -> None:
    print("\n100 questions, ChatGPT, 2 locations, a snapshot takes 1 s (real ones: a minute)")
    with Server(seed=1, snapshot_ms=1_000, perfect=True) as server:
        ours = measure("our_way", server.url, 100, folder)
        old = measure("old_way", server.url, 100, folder)
    if ours is not None and old is not None:
        print(f"  one call a question, pairs one after another  {old['wall']:>8.1f} s  {old['answered']} answered")
        print(f"  overheard                                     {ours['wall']:>8.1f} s  {ours['answered']} answered")
        print(f"  ratio                                         {old['wall'] / ours['wall']:>8.1f}")


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="questions of the per-question table")
    parser.add_argument(
        "--cells", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="cells of the memory table"
    )
    parser.add_argument("--answer-chars", type=int, default=4_000)
    names = ["per_question", "oracle", "rate_limit", "snapshot_lag", "old_way", "memory"]
    parser.add_argument("--only", choices=names, action="append", help="this table alone; may be given more than once")
    arguments = parser.parse_args()
    tables: list[Callable[[Path], None]] = [
        lambda folder: per_question(arguments.count, folder, arguments.answer_chars),
        oracle,
        rate_limit,
        snapshot_lag,
        old_way,
        lambda folder: memory(arguments.cells, folder),
    ]
    with tempfile.TemporaryDirectory(prefix="overheard-bench-") as name:
        for table_name, table in zip(names, tables, strict=True):
            if arguments.only is None or table_name in arguments.only:
                table(Path(name))


if __name__ == "__main__":
    main()
