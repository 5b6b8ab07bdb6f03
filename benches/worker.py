"""One measured job in a process of its own: prints one line of JSON with wall, CPU and peak memory. Asserts nothing.

Called by run.py as `worker.py CASE URL COUNT FOLDER`. Every case asks COUNT questions of the simulator at URL. CPU is this
process's (user and system, all threads) between the first and the last question; start-up and imports are not in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

IN_FLIGHT = 64
MODEL = "gpt-4.1"


def questions(count: int) -> list[str]:
    """Questions that differ, so nothing can be cached."""
    return [f"Which writing tool suits a team of {number}?" for number in range(count)]


def environment(url: str) -> dict[str, str]:
    """The variables that point overheard and the official clients at the simulator."""
    return {
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": url,
        "BRIGHTDATA_API_KEY": "simulated",
        "BRIGHTDATA_BASE_URL": url,
    }


async def in_flight(asks: Sequence[str], ask: Callable[[str], Awaitable[Any]]) -> None:
    """Asks all, IN_FLIGHT at a time, with as many workers."""
    queue = iter(asks)

    async def worker() -> None:
        for text in queue:
            await ask(text)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def overheard_execution(url: str, count: int, _: Path) -> dict[str, Any]:
    from overheard import Provider

    provider = Provider.for_model(MODEL)
    outcomes = await provider.run_question_batch(questions(count))
    return {"answered": sum(outcome.status == "answered" for outcome in outcomes)}


def org(count: int, models: Sequence[str], locations: Sequence[str]) -> Any:
    from overheard import Location, Org, Question

    asked = [Question(id=f"q{number}", text=text) for number, text in enumerate(questions(count))]
    return Org(
        id="bench",
        name="Quillmark",
        websites=["https://www.quillmark.example"],
        competitors=["Notaro", "Draftly"],
        questions=asked,
        models=list(models),
        locations=[Location(country) for country in locations],
    )


async def overheard_sqlite(url: str, count: int, folder: Path) -> dict[str, Any]:
    from overheard import Pipeline

    async with Pipeline(store=f"sqlite:///{folder}/bench-{count}.db") as pipeline:
        summary = await pipeline.run(org(count, [MODEL], ["US"]), extraction="local", new=True)
    return {"answered": summary.answered, "citations": summary.citations}


class Discarding:
    """A store that keeps nothing: the engine's own memory is what remains."""

    def __init__(self, org: Any) -> None:
        self.org = org
        self.saved = 0
        self.batch: Any = None

    async def load_org(self, org_id: str) -> Any:
        return self.org

    async def save_batch(self, batch: Any) -> None:
        self.batch = batch

    async def load_batch(self, batch_id: str | None = None, **_: str | None) -> Any:
        return self.batch if batch_id is not None else None

    async def save_model_runs(self, model_runs: Sequence[Any]) -> None: ...

    async def save_question_runs(self, question_runs: Sequence[Any]) -> None:
        self.saved += len(question_runs)

    async def existing_keys(self, batch_id: str, after: str | None, limit: int) -> Sequence[Any]:
        return []

    async def question_runs(self, batch_id: str, after: str | None, limit: int) -> Sequence[Any]:
        return []

    async def save_extractions(self, extractions: Sequence[Any]) -> None: ...


async def overheard_memory(url: str, count: int, _: Path) -> dict[str, Any]:
    from overheard import Pipeline

    # A thousand questions; the rest of the cells are models × locations × repeats, as a real matrix has it.
    repeats = max(1, count // (1_000 * 10))
    matrix = org(1_000, [MODEL], ["US", "DE", "FR", "GB", "IT", "ES", "NL", "JP", "BR", "IN"])
    store = Discarding(matrix)
    async with Pipeline(store=store) as pipeline:
        summary = await pipeline.run(matrix, extraction="local", repeats=repeats, new=True)
    return {"answered": summary.answered, "saved": store.saved}


async def aiohttp_raw(url: str, count: int, _: Path) -> dict[str, Any]:
    import aiohttp

    answered = 0
    headers = {"Authorization": "Bearer sk-simulated"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def ask(text: str) -> None:
            nonlocal answered
            body = {"model": MODEL, "input": text, "tools": [{"type": "web_search"}]}
            async with session.post(f"{url}/v1/responses", json=body) as reply:
                answered += (await reply.json())["status"] == "completed"

        await in_flight(questions(count), ask)
    return {"answered": answered}


async def openai_client(url: str, count: int, _: Path) -> dict[str, Any]:
    from openai import AsyncOpenAI

    answered = 0
    async with AsyncOpenAI() as client:

        async def ask(text: str) -> None:
            nonlocal answered
            reply = await client.responses.create(model=MODEL, input=text, tools=[{"type": "web_search"}])
            answered += reply.status == "completed"

        await in_flight(questions(count), ask)
    return {"answered": answered}


async def litellm_client(url: str, count: int, _: Path) -> dict[str, Any]:
    import litellm

    answered = 0

    async def ask(text: str) -> None:
        nonlocal answered
        messages = [{"role": "user", "content": text}]
        reply = await litellm.acompletion(model=f"openai/{MODEL}", messages=messages, api_base=f"{url}/v1")
        answered += bool(reply.choices)

    await in_flight(questions(count), ask)
    return {"answered": answered}


async def tensorzero_client(url: str, count: int, folder: Path) -> dict[str, Any]:
    from tensorzero import AsyncTensorZeroGateway

    config = folder / "tensorzero.toml"
    config.write_text(
        "[models.bench]\nrouting = ['sim']\n"
        f"[models.bench.providers.sim]\ntype = 'openai'\nmodel_name = '{MODEL}'\napi_base = '{url}/v1/'\n"
        "[functions.bench]\ntype = 'chat'\n[functions.bench.variants.only]\ntype = 'chat_completion'\nmodel = 'bench'\n"
    )
    answered = 0
    async with await AsyncTensorZeroGateway.build_embedded(config_file=str(config)) as gateway:

        async def ask(text: str) -> None:
            nonlocal answered
            reply = await gateway.inference(
                function_name="bench", input={"messages": [{"role": "user", "content": text}]}
            )
            answered += bool(reply.content)

        await in_flight(questions(count), ask)
    return {"answered": answered}


SCRAPED = ("chatgpt", "perplexity", "gemini")
MATRIX_MODELS = ("chatgpt", "perplexity", "gpt-4.1", "claude-sonnet-4-5")


async def makespan(url: str, count: int, folder: Path) -> dict[str, Any]:
    """`count` questions × 4 models × 2 locations, limits raised to the matrix, local extraction."""
    from overheard import Pipeline

    limits = {
        "openai_in_flight": 2 * count,
        "anthropic_in_flight": 2 * count,
        "brightdata_in_flight": 1_000,
        "brightdata_triggers": 64,
        "first_poll_ms": 200,
        "min_poll_ms": 50,
    }
    async with Pipeline(store=f"sqlite:///{folder}/makespan.db", **limits) as pipeline:
        began = time.perf_counter()
        summary = await pipeline.run(org(count, MATRIX_MODELS, ["US", "DE"]), extraction="local", new=True)
        wall = time.perf_counter() - began
    return {"answered": summary.answered, "run_seconds": wall}


async def rate_limited(url: str, count: int, _: Path) -> dict[str, Any]:
    """`count` questions of a provider that refuses what is too fast."""
    from overheard import Provider

    began = time.perf_counter()
    outcomes = await Provider.for_model(MODEL).run_question_batch(questions(count))
    wall = time.perf_counter() - began
    return {"answered": sum(outcome.status == "answered" for outcome in outcomes), "run_seconds": wall}


async def snapshot_lag(url: str, count: int, folder: Path) -> dict[str, Any]:
    """When the rows of each snapshot were stored; the polls are as they are by default."""
    from overheard import Pipeline

    asked = questions(count)
    stored: list[tuple[str, str, float]] = []

    async def keep(runs: Sequence[Any]) -> None:
        at = time.time() * 1_000
        stored.extend((run.model, asked[int(run.question_id[1:])], at) for run in runs)

    async with Pipeline(store=f"sqlite:///{folder}/lag.db", on_question_runs=keep) as pipeline:
        summary = await pipeline.run(org(count, SCRAPED, ["US"]), extraction="local", new=True)
    return {"answered": summary.answered, "stored": stored}


async def our_way(url: str, count: int, folder: Path) -> dict[str, Any]:
    from overheard import Pipeline

    async with Pipeline(store=f"sqlite:///{folder}/ours.db", first_poll_ms=200, min_poll_ms=50) as pipeline:
        summary = await pipeline.run(org(count, ["chatgpt"], ["US", "DE"]), extraction="local", new=True)
    return {"answered": summary.answered}


async def old_way(url: str, count: int, _: Path) -> dict[str, Any]:
    """One call a question, pairs one after another, ten seconds between polls scaled to 200 ms."""
    from overheard import Location, Provider

    provider = Provider.for_model("chatgpt", first_poll_ms=200, min_poll_ms=200)
    answered = 0
    for country in ("US", "DE"):
        for text in questions(count):
            (outcome,) = await provider.run_question_batch([text], location=Location(country))
            answered += outcome.status == "answered"
    return {"answered": answered}


CASES = {
    case.__name__: case
    for case in (
        overheard_execution, overheard_sqlite, overheard_memory, aiohttp_raw, openai_client, litellm_client,
        tensorzero_client, makespan, rate_limited, snapshot_lag, our_way, old_way,
    )
}  # fmt: skip


def main() -> None:
    """Runs one case and prints its line."""
    case, url, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    os.environ.update(environment(url))
    os.environ["OVERHEARD_JOURNAL"] = str(folder / "journal")

    async def job() -> dict[str, Any]:
        warm = min(50, count)
        if case in ("aiohttp_raw", "openai_client", "litellm_client", "tensorzero_client", "overheard_execution"):
            await CASES[case](url, warm, folder)  # imports and connections are not the question
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        facts = await CASES[case](url, count, folder)
        after, ended = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"wall": ended - began, "cpu": cpu, "rss_mb": after.ru_maxrss / 1024, **facts}

    print(json.dumps(asyncio.run(job())))


if __name__ == "__main__":
    main()
