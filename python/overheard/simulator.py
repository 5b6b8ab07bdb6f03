"""Fake provider APIs on a real socket, for demos, tests and benchmarks.

OpenAI, Anthropic and Bright Data as their vendors document them, over a seeded fictional world. Nothing here talks to a
provider or knows how overheard asks: it only starts, tells and stops the server written in Rust.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, cast

from overheard import _core

__all__ = ["Simulator"]


class Simulator:
    """Provider APIs on a real socket, started when constructed.

    Usable as a context manager. Ready when the constructor returns; `GET {url}/_sim/ledger` answers from then on.

    Args:
        seed: Decides every answer and every imperfection.
        latency_ms: Milliseconds until a direct answer (OpenAI, Anthropic) is sent.
        snapshot_ms: Milliseconds until a Bright Data snapshot or a provider batch is ready.
        port: Port to bind; 0 lets the system choose.
        host: Address to bind.
        answer_chars: An answer grows to about this many characters.
        spread: Share by which durations vary up and down (0 to 1), fixed by the seed.
        rates: How often something goes wrong, by name (see `rate_names`), each from 0 to 1. Names left out keep their
            low defaults.
        perfect: Start from rates of 0 in place of the defaults.
        record: Keep single charges and answers. `False` keeps counters only, for a million requests.
        threads: Threads of the server.
        requests_per_second: Direct calls a second and provider before a 429; 0 is no limit.
        running_small: Bright Data: running triggers of at most 20 inputs before a 429.
        running_large: Bright Data: running triggers of more than 20 inputs before a 429.

    Raises:
        ValueError: A rate is unknown or out of range.
        OSError: The address cannot be bound.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        latency_ms: int = 0,
        snapshot_ms: int = 300,
        port: int = 0,
        host: str = "127.0.0.1",
        answer_chars: int = 1800,
        spread: float = 0.0,
        rates: Mapping[str, float] | None = None,
        perfect: bool = False,
        record: bool = True,
        threads: int = 2,
        requests_per_second: float = 0.0,
        running_small: int = 1500,
        running_large: int = 100,
    ) -> None:
        """Start the server."""
        chosen = dict.fromkeys(self.rate_names(), 0.0) if perfect else {}
        chosen.update(rates or {})
        self._core = _core.Simulator(
            seed=seed,
            host=host,
            port=port,
            latency_ms=latency_ms,
            snapshot_ms=snapshot_ms,
            spread=spread,
            answer_chars=answer_chars,
            record=record,
            threads=threads,
            requests_per_second=requests_per_second,
            running_small=running_small,
            running_large=running_large,
            rates=list(chosen.items()),
        )

    @staticmethod
    def rate_names() -> list[str]:
        """Names of the imperfections that `rates` sets."""
        return list(_core.Simulator.rate_names())

    @property
    def url(self) -> str:
        """`http://host:port`, without a slash at the end."""
        return self._core.url

    def environment(self) -> dict[str, str]:
        """Environment variables that point overheard and the official clients at this server, with dummy keys."""
        return {
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_API_KEY": "sk-ant-simulated",
            "ANTHROPIC_BASE_URL": self.url,
            "BRIGHTDATA_API_KEY": "simulated",
            "BRIGHTDATA_BASE_URL": self.url,
        }

    def ledger(self, *, charges: bool = True) -> dict[str, Any]:
        """What was asked and charged, as `GET /_sim/ledger` tells it.

        Args:
            charges: Include the list of single charges.

        Raises:
            RuntimeError: The simulator is stopped.
        """
        return cast("dict[str, Any]", json.loads(self._core.ledger(charges)))

    def truth(self) -> dict[str, Any]:
        """What the served answers contain and what extraction calls got wrong, as `GET /_sim/truth` tells it.

        Raises:
            RuntimeError: The simulator is stopped.
        """
        return cast("dict[str, Any]", json.loads(self._core.truth()))

    def inject(
        self,
        match: Mapping[str, str | int] | None,
        fault: str,
        times: int | None = 1,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Inject a bad day.

        Args:
            match: Which requests: `endpoint`, `prompt_contains`, `nth` (from 1); `None` is every one.
            fault: Name and argument, such as `status:503` (the list stands in `src/simulator/mod.rs`).
            times: How often; `None` is always.
            headers: Laid over the spoilt reply.

        Raises:
            ValueError: The fault is unknown or the rule malformed.
            RuntimeError: The simulator is stopped.
        """
        rule = {"match": dict(match or {}), "fault": fault, "times": times, "headers": dict(headers or {})}
        self._core.inject(json.dumps(rule))

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._core.clear_faults()

    def stop(self) -> None:
        """Stop the server; calls in flight are cut. A second call does nothing."""
        self._core.stop()

    def __enter__(self) -> Simulator:
        """Return itself; it runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def __repr__(self) -> str:
        """Name the URL."""
        return f"Simulator(url={self.url!r})"
