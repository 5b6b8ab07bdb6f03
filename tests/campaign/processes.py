"""The campaign's processes: the provider, and starts that are killed. Judges nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from results import Results

HERE = Path(__file__).parent


class Spares:
    """Processes that have imported everything and wait for their first line: most of a short start is Python's own."""

    def __init__(self) -> None:
        self._waiting = {script: [_spawned(script)] for script in ("provider.py", "start.py")}

    def take(self, script: str, first_line: Mapping[str, Any]) -> subprocess.Popen[str]:
        waiting = self._waiting[script]
        waiting.append(_spawned(script))
        process = waiting.pop(0)
        assert process.stdin is not None
        process.stdin.write(json.dumps(first_line) + "\n")
        process.stdin.flush()
        return process

    def end(self) -> None:
        for process in (process for waiting in self._waiting.values() for process in waiting):
            process.communicate(timeout=60)  # it ends with its input


def _spawned(script: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if script == "provider.py":
        pipes.pop("stderr")
    return subprocess.Popen([sys.executable, str(HERE / script)], env=kept, text=True, **pipes)


class Provider:
    """The simulator, its own process; its books are read over its socket."""

    def __init__(self, spares: Spares, **options: Any) -> None:
        self._process = spares.take("provider.py", options)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the simulator did not start"

    def ledger(self, charges: bool = True) -> dict[str, Any]:
        address = f"{self.url}/_sim/ledger?charges={int(charges)}"
        with build_opener(ProxyHandler({})).open(address, timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
            return found

    def requests(self) -> dict[str, int]:
        """Requests so far by endpoint, the control calls left out."""
        return {name: count for name, count in self.ledger(charges=False)["requests"].items() if "_sim" not in name}

    def environment(self) -> dict[str, str]:
        return {
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_API_KEY": "sk-ant-simulated",
            "ANTHROPIC_BASE_URL": self.url,
            "BRIGHTDATA_API_KEY": "simulated",
            "BRIGHTDATA_BASE_URL": self.url,
        }

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(20)


class Start:
    """A start at work."""

    def __init__(
        self, spares: Spares, folder: Path, results: Results, extraction: str, variables: Mapping[str, str]
    ) -> None:
        home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
        home |= {"OVERHEARD_STORE": results.url, "OVERHEARD_JOURNAL": str(results.journal)}
        told = {"folder": str(folder), "extraction": extraction, "env": {**home, **variables}}
        self.process = spares.take("start.py", told)
        self.begun_at: float | None = None
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._begun = threading.Event()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._complaints)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            if line.strip() == "begun":
                self.begun_at = time.monotonic()
                self._begun.set()
            self.lines.append(line)
        self._begun.set()

    def _complaints(self) -> None:
        self.errors.extend(self.process.stderr or ())

    def wait_begun(self) -> None:
        assert self._begun.wait(60), "a start does not begin"

    def kill_when(self, ready: Callable[[float], bool]) -> bool:
        """SIGKILL as soon as `ready(seconds since it began)`; False: it had ended before."""
        self.wait_begun()
        began = self.begun_at or time.monotonic()
        while self.process.poll() is None:
            if ready(time.monotonic() - began):
                self.process.kill()
                return self.end(60) == -9
            time.sleep(0.002)
        self.end(60)
        return False

    def end(self, seconds: float) -> int:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"a start hangs; it said: {self.said()}") from None
        for reader in self._readers:
            reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def said(self) -> str:
        return "".join([*self.lines, *self.errors])[-2_000:]
