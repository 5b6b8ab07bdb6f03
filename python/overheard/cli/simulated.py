"""The simulator in a process of its own, and what it counted and charged, read over its socket. Asks no provider."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.request import ProxyHandler, build_opener

from overheard.errors import ConfigError

READY = "Simulator listening on "
"""What the `simulate` command prints before its URL, once it answers."""

SIMULATED_STORE = "sqlite:///overheard-simulated.db"
"""Where simulated results go when no store is named: never among real ones."""

SIMULATED_POLLS: Mapping[str, int] = {"first_poll_ms": 200, "min_poll_ms": 100, "unknown_grace_ms": 1_000}
"""A simulated snapshot is ready in a moment; the real schedule would wait ten seconds for it. And the simulator of an
earlier start is gone, with all that was bought there: no need to look for that for two minutes."""


def simulated_environment(url: str) -> dict[str, str]:
    """The variables that lead every provider to the simulator at `url`."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "simulated",
        "BRIGHTDATA_BASE_URL": url,
        "BRIGHTDATA_API_KEY": "simulated",
    }


class SimulatorProcess:
    """`python -m overheard simulate --port 0`, from start to end."""

    def __init__(self, seed: int, latency_ms: int | None = None, snapshot_ms: int | None = None) -> None:
        """Nothing is started yet."""
        self._command = [sys.executable, "-m", "overheard", "simulate", "--port", "0", "--with-parent"]
        self._command += ["--seed", str(seed)]
        for option, value in (("--latency-ms", latency_ms), ("--snapshot-ms", snapshot_ms)):
            if value is not None:
                self._command += [option, str(value)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    async def __aenter__(self) -> SimulatorProcess:
        """Starts it and waits until it answers.

        Raises:
            ConfigError: It did not start.
        """
        self.url = await asyncio.to_thread(self._start)
        return self

    def _start(self) -> str:
        # A session of its own: Ctrl-C is for us, the simulator must answer the work in flight until we end it.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith(READY):
            self._process.kill()
            raise ConfigError("the simulator did not start; see: overheard simulate --port 0", field="--simulate")
        return line.removeprefix(READY).strip()

    async def ledger(self) -> dict[str, Any]:
        """What the simulator counted and charged: `requests`, `records`, `charged_micro_usd`."""
        return await asyncio.to_thread(self._ledger)

    def _ledger(self) -> dict[str, Any]:
        with build_opener(ProxyHandler({})).open(f"{self.url}/_sim/ledger?charges=0", timeout=30) as reply:
            ledger: dict[str, Any] = json.load(reply)
            return ledger

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()  # it ends with its standard input
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
