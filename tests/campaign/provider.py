"""The simulator in a process of its own, for the campaign: prints its URL, ends with its standard input."""

from __future__ import annotations

import json
import sys

from overheard.simulator import Simulator


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return  # a spare that was not needed
    with Simulator(**json.loads(line)) as simulator:
        print(simulator.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
