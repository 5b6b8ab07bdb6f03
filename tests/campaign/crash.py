"""The crash campaign: batches that are killed at random instants and started until complete, lose and pay nothing.

    python tests/campaign/crash.py [--kills 200] [--seed N] [--batch N] [--store sqlite|postgresql]

`OVERHEARD_KILLS`, `OVERHEARD_SEED` and `OVERHEARD_CRASH_STORE` set the same. The seed decides provider and instants of
the kills; `--batch` replays one batch. PostgreSQL is a private cluster that ends with the campaign, a database a batch.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
sys.path.insert(0, str(Path(__file__).parent))

from batch import CELLS, Result, run_batch
from processes import Spares
from results import PostgresResults, Results, SqliteResults
from sight import PHASES

USUAL_S = 2.0  # of a start that is not killed, before anything is measured
LONG = 100
"""From so many kills on every phase must be met; with a few, chance and the machine decide: two."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("OVERHEARD_KILLS", "200")))
    seed = os.environ.get("OVERHEARD_SEED") or random.SystemRandom().randrange(1 << 31)
    parser.add_argument("--seed", type=int, default=int(seed))
    parser.add_argument("--batch", type=int, default=None, help="only this one")
    kind = os.environ.get("OVERHEARD_CRASH_STORE") or "sqlite"
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default=kind)
    options = parser.parse_args()
    print(f"crash campaign on {options.store}: {options.kills} kills, seed {options.seed}", flush=True)
    with ExitStack() as stack:
        opened = stack.enter_context(stores(options.store))
        spares = Spares()
        stack.callback(spares.end)
        results = campaign(spares, opened, options.store, options.seed, options.kills, options.batch)
    return report(results, options.seed, options.kills, options.store, whole=options.batch is None)


Opened = Callable[[Path], AbstractContextManager[Results]]


@contextmanager
def stores(kind: str) -> Iterator[Opened]:
    """What gives the results of a batch in a folder, as long as the block lasts."""

    @contextmanager
    def in_file(folder: Path) -> Iterator[Results]:
        yield SqliteResults(folder)

    if kind == "sqlite":
        yield in_file
        return
    from postgres_help import cluster

    with cluster() as server:

        @contextmanager
        def in_database(folder: Path) -> Iterator[Results]:
            results = PostgresResults(server.url(), folder)
            try:
                yield results
            finally:
                results.end()

        yield in_database


def campaign(spares: Spares, opened: Opened, store: str, seed: int, kills: int, only: int | None) -> list[Result]:
    results: list[Result] = []
    done, number, usual = 0, 0 if only is None else only, USUAL_S
    while done < kills:
        folder = Path(tempfile.mkdtemp(prefix=f"overheard-crash-{number}-"))
        begun = time.monotonic()
        with opened(folder) as stored:
            result = run_batch(spares, seed, number, folder, stored, kills - done, usual)
        results.append(result)
        usual = (usual + max(result.seconds, 0.5)) / 2  # the machine has other work, too
        killed = sum(result.kills.values())
        done += killed
        seconds = time.monotonic() - begun
        told = ", ".join(f"{name} {times}" for name, times in result.kills.items()) or "ended before its kill"
        print(f"batch {number}: {told}; {done}/{kills} kills, {seconds:.1f} s", flush=True)
        for problem in result.problems:
            print(f"  VIOLATION {problem}\n  files: {folder}\n  replay: {replay(seed, number, store)}", flush=True)
        if not result.problems:
            shutil.rmtree(folder)
        if only is not None:
            break
        number += 1
    return results


def replay(seed: int, number: int, store: str) -> str:
    return f"python tests/campaign/crash.py --seed {seed} --batch {number} --store {store}"


def report(results: list[Result], seed: int, kills: int, store: str, *, whole: bool) -> int:
    """The histogram, and the pass figure in one line. The exit code."""
    phases = sum((result.kills for result in results), Counter[str]())
    for name in PHASES:
        print(f"  {name:<16}{phases[name]:>5}  {'#' * phases[name]}")
    problems = sum(len(result.problems) for result in results)
    broken = [number for number, result in enumerate(results) if result.problems]
    missing = [name for name in PHASES if not phases[name]] if whole else []
    if kills < LONG and len(PHASES) - len(missing) >= 2:
        missing = []
    if missing:
        print(f"VACUOUS: no kill met: {', '.join(missing)}")
    if idle := whole and not sum(result.stored for result in results):
        print("VACUOUS: every kill met a batch without a stored row")
    passed = not problems and not missing and not idle
    records = sum(result.books.records for result in results)
    lost, entries = (sum(getattr(result.books, name) for result in results) for name in ("lost", "entries"))
    print(
        f"crash campaign on {store} {'passed' if passed else 'FAILED'}: {sum(phases.values())} kills in "
        f"{len(results)} batches of {CELLS} cells, {problems} violations in {len(broken)} batches; "
        f"{records} records charged and stored; {lost} direct charges lost, under {entries} maybe_charged entries "
        f"(seed {seed})"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
