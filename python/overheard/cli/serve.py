"""`overheard simulate`: keeps the simulator running until it is told to end. The simulator itself is Rust."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from overheard.cli.simulated import READY
from overheard.cli.terminal import complain, say
from overheard.simulator import Simulator


def serve(*, host: str, port: int, seed: int, latency_ms: int, snapshot_ms: int, with_parent: bool) -> int:
    """Runs the simulator until SIGINT or SIGTERM.

    Args:
        host: Address to listen on.
        port: 0: any free port.
        seed: Of its world.
        latency_ms: Milliseconds before an answer.
        snapshot_ms: Milliseconds until a snapshot is ready.
        with_parent: End when standard input ends, so that no simulator outlives its start.

    Returns:
        The exit code.
    """
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        simulator = Simulator(seed=seed, latency_ms=latency_ms, snapshot_ms=snapshot_ms, port=port, host=host)
        with simulator:
            say(f"{READY}{simulator.url}")
            if with_parent:
                threading.Thread(target=_end_with_input, args=(ended,), daemon=True).start()
            else:
                complain("Answers are SIMULATED. Point the providers here:")
                for name, value in simulator.environment().items():
                    complain(f"  export {name}={value}")
            ended.wait()
    except OSError as error:
        complain(f"Error: cannot listen on {host}:{port}: {error.strerror or error}")
        return 1
    return 0


def _end_with_input(ended: threading.Event) -> None:
    try:
        sys.stdin.read()
    finally:
        ended.set()
