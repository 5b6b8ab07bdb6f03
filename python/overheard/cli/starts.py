"""One start of one or many orgs from the command line: the simulator around it, Ctrl-C, progress, the closing report.

The work is `Pipeline`'s; this file only starts, stops and reports.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from overheard.batch import BatchStatus
from overheard.cli.simulated import SIMULATED_POLLS, SIMULATED_STORE, SimulatorProcess, simulated_environment
from overheard.cli.terminal import ProgressView, complain, say, set_up_logging
from overheard.errors import ConfigError, OverheardError
from overheard.org import Org
from overheard.orgfile import load_orgs
from overheard.pipeline import Pipeline
from overheard.settings import environment
from overheard.stores import DEFAULT_STORE, SqlStore, open_store
from overheard.summary import Summary, dollars
from overheard.verify import store_totals

log = logging.getLogger("overheard")

COMPLETE, COULD_NOT_START, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
_WORST_LAST = (COMPLETE, PARTIAL, COULD_NOT_START, USAGE, INTERRUPTED)
_ERRORS_SHOWN = 5
_OPTION_FIELDS = frozenset(
    {
        "models",
        "locations",
        "questions",
        "repeats",
        "extraction",
        "max_cost",
        "batch_key",
        "org",
        "batch_id",
        "run_id",
        "country",
        "on_unknown",
        "since",
        "against",
        "holistic",
    }
)


@dataclass(kw_only=True)
class Start:
    """What the command line was told.

    Attributes:
        action: What is done with each org, batch or model run.
        targets: Org ids, batch ids or model run ids; empty: every org of the file, or of the store.
        orgs_file: Where orgs come from instead of the store.
        options: Of `Pipeline.run`.
        limits: Of `Pipeline`.
        store: URL; None: `OVERHEARD_STORE`, else the default.
        parallel: Orgs at the same time.
        simulate: A simulator answers.
        seed: The simulator's.
        dry_run: Only say what would be done.
        as_json: The summary alone on the last line of stdout.
        log_level: Of the log lines on stderr.
    """

    action: str
    targets: Sequence[str] = ()
    orgs_file: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    store: str | None = None
    parallel: int = 4
    simulate: bool = False
    seed: int = 1
    latency_ms: int | None = None
    snapshot_ms: int | None = None
    dry_run: bool = False
    as_json: bool = False
    log_level: str = "INFO"


def utc_day() -> str:
    """The default batch key of script and command line."""
    return datetime.now(timezone.utc).date().isoformat()


def exit_code_of(error: BaseException) -> int:
    """2 when an argument is wrong, else 1."""
    wrong_argument = isinstance(error, ConfigError) and error.field in _OPTION_FIELDS
    return USAGE if wrong_argument else COULD_NOT_START


def perform(start: Start) -> int:
    """Does it; gives the exit code. Says every error in one sentence."""
    console = set_up_logging(start.log_level, closing_line_on_stdout=not start.as_json)
    try:
        return asyncio.run(_Performance(start, console).run())
    except KeyboardInterrupt:
        return INTERRUPTED


class _Performance:
    def __init__(self, start: Start, console: Console) -> None:
        self.start = start
        self.view = ProgressView(console)
        self.pipelines: list[Pipeline] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.interrupts = 0
        self.codes: list[int] = []
        self.summaries: list[Summary] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        try:
            self.tasks.append(asyncio.ensure_future(self._all()))
            await self.tasks[0]
        except asyncio.CancelledError:
            self.codes.append(INTERRUPTED)
        except OverheardError as error:
            complain(f"Error: {error}")
            self.codes.append(exit_code_of(error))
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return max(self.codes or [COMPLETE], key=_WORST_LAST.index)

    def _interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            complain("Stopping: nothing new starts, paid work in flight gets ten seconds. Once more stops at once.")
            for pipeline in self.pipelines:
                pipeline.stop()
        else:
            complain("Stopped at once. Go on with the same command, or with:")
            for batch_id in Pipeline.at_work():
                complain(f"  overheard resume {batch_id}{self._same_store()}")
            for task in self.tasks:
                task.cancel()

    async def _all(self) -> None:
        start = self.start
        async with AsyncExitStack() as stack:
            variables = environment()
            limits: dict[str, Any] = dict(start.limits)
            simulator = None
            store = start.store
            if start.simulate:
                process = SimulatorProcess(start.seed, start.latency_ms, start.snapshot_ms)
                simulator = await stack.enter_async_context(process)
                variables.update(simulated_environment(simulator.url))
                limits.update(SIMULATED_POLLS)
                store = store or variables.get("OVERHEARD_STORE") or SIMULATED_STORE
                complain(f"SIMULATED: a simulator at {simulator.url} answers; store {store}")
            if start.dry_run:
                store = _only_if_there(store or variables.get("OVERHEARD_STORE") or DEFAULT_STORE)
            base = Pipeline(store, env=variables, simulated=start.simulate, **limits)
            await stack.enter_async_context(base)
            before = await store_totals(base.store) if simulator and isinstance(base.store, SqlStore) else None
            targets = await self._targets(base)
            if start.dry_run:
                for target in targets:
                    await self._dry_run(base, target)
                return
            with self.view:
                await self._each(base, targets, variables, limits)
            self._report()
            if simulator is not None and before is not None:
                self._compare(await simulator.ledger(), before, await store_totals(base.store))
        if start.as_json and self.summaries:
            plain = [summary.to_dict() for summary in self.summaries]
            say(json.dumps(plain[0] if len(plain) == 1 else {"summaries": plain}, ensure_ascii=False))

    async def _targets(self, pipeline: Pipeline) -> list[str | Org]:
        start = self.start
        if start.orgs_file is not None:
            orgs = {org.id: org for org in load_orgs(start.orgs_file)}
            if missing := [target for target in start.targets if target not in orgs]:
                raise ConfigError(f"there is no org '{missing[0]}' in {start.orgs_file}", field="org")
            return [orgs[target] for target in start.targets] if start.targets else list(orgs.values())
        if start.targets:
            return list(start.targets)
        found = await pipeline.store.org_ids()
        if not found:
            raise ConfigError(
                "the store has no orgs: name one (demo is packaged), or import some: overheard orgs import FILE",
                field="org",
            )
        return list(found)

    async def _each(
        self, base: Pipeline, targets: Sequence[str | Org], variables: Mapping[str, str], limits: Mapping[str, Any]
    ) -> None:
        places = asyncio.Semaphore(max(1, self.start.parallel))

        async def one(target: str | Org) -> None:
            name = target.id if isinstance(target, Org) else target
            async with places:
                if self.interrupts:
                    self.codes.append(INTERRUPTED)
                    return
                pipeline = Pipeline(
                    base.store,
                    env=variables,
                    simulated=self.start.simulate,
                    on_progress=lambda pairs: self.view.show(name, pairs),
                    **limits,
                )
                self.pipelines.append(pipeline)
                try:
                    await self._done(pipeline, name, await self._action(pipeline)(target, **self.start.options))
                except OverheardError as error:
                    complain(f"Error: {name}: {error}" if len(targets) > 1 else f"Error: {error}")
                    self.codes.append(exit_code_of(error))
                except Exception as error:  # a store's own exception must not end the other orgs
                    log.debug("the run of %s ended", name, exc_info=True)
                    complain(f"Error: {name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
                    self.codes.append(COULD_NOT_START)

        self.tasks += [asyncio.ensure_future(one(target)) for target in targets]
        await asyncio.gather(*self.tasks[1:])

    def _action(self, pipeline: Pipeline) -> Callable[..., Awaitable[Summary]]:
        actions: dict[str, Callable[..., Awaitable[Summary]]] = {
            "run": pipeline.run,
            "execute": pipeline.execute,
            "extract": pipeline.extract,
            "resume": pipeline.resume,
            "run_model": pipeline.run_model,
        }
        return actions[self.start.action]

    async def _done(self, pipeline: Pipeline, name: str, summary: Summary) -> None:
        self.summaries.append(summary)
        complete = summary.complete
        if self.start.action == "run_model" and hasattr(pipeline.store, "load_model_run"):
            # The others of its batch are other starts' work.
            found = await pipeline.store.load_model_run(name)
            complete = found is not None and found.status == "completed"
        if summary.interrupted:
            self.codes.append(INTERRUPTED)
        else:
            self.codes.append(COMPLETE if complete else PARTIAL)

    async def _dry_run(self, pipeline: Pipeline, target: str | Org) -> None:
        if self.start.action == "resume":
            quote = await pipeline.quote_resume(str(target), **self.start.options)
        else:
            quote = await pipeline.quote(target, **self.start.options)
        if self.start.as_json:
            say(json.dumps(quote))
            return
        for line in quote_lines(target.id if isinstance(target, Org) else target, quote):
            say(line)

    def _report(self) -> None:
        if self.start.as_json:
            return
        for summary in self.summaries:
            say(summary.line())
            mark = " (SIMULATED answers)" if summary.simulated else ""
            say(f"Batch {summary.batch_id} of {summary.org_id}: {summary.status}{mark}, {summary.failed} failed")
            for line in summary.money_lines():
                say(line)
            for error in summary.processing_errors[:_ERRORS_SHOWN]:
                say(f"  {error.get('kind')}: {error.get('message')}")
            if summary.processing_error_count > _ERRORS_SHOWN:
                say(f"  … {summary.processing_error_count} errors in all")
            if summary.interrupted or summary.status != "complete":
                say(f"Go on with: overheard resume {summary.batch_id}{self._same_store()}")

    def _same_store(self) -> str:
        return f" --store {self.start.store}" if self.start.store else ""

    def _compare(self, ledger: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]) -> None:
        charged = int(ledger["charged_micro_usd"])
        ours = after["cost_micro_usd"] - before["cost_micro_usd"]
        records, our_records = int(ledger["records"]), after["records"] - before["records"]
        verdict = "equal" if (charged, records) == (ours, our_records) else "DIFFERENT"
        requests = ledger.get("requests", {})
        count = sum(requests.values()) if isinstance(requests, Mapping) else requests
        say_or_not = complain if self.start.as_json else say
        say_or_not(
            f"Simulator: {count} requests, {records} records, ${dollars(charged)} charged; "
            f"store: {our_records} records, ${dollars(ours)}: {verdict}"
        )


def _only_if_there(url: str) -> str:
    """The store, or an empty one in memory: a dry run makes no file."""
    database = open_store(url).database
    there = database.path.exists() if database.path is not None else not database.is_sqlite
    return url if there else "sqlite://"


def quote_lines(name: str, quote: Mapping[str, Any]) -> list[str]:
    """A quote as a table for a person."""

    def row(what: str, provider: str, questions: Any, entry: Mapping[str, Any]) -> str:
        expected, worst = (f"${dollars(entry[amount])}" for amount in ("expected_micro_usd", "worst_case_micro_usd"))
        return f"{what:<34}{provider:<14}{questions:>10}{entry.get('calls', ''):>8}{expected:>14}{worst:>14}"

    stored = f", {quote['stored']} are stored" if quote["stored"] else ""
    lines = [
        f"Plan for {name}: {quote['cells']} questions to ask{stored} (dry run: nothing is sent, nothing is stored)",
        f"{'what':<34}{'provider':<14}{'questions':>10}{'calls':>8}{'expected':>14}{'at most':>14}",
        *(row(line["what"], line["provider"], line["questions"], line) for line in quote["lines"]),
        *(row("all of", account["provider"], "", account) for account in quote["accounts"]),
        row("all", "", "", quote),
    ]
    cap = quote["max_cost_micro_usd"]
    if quote["spent_micro_usd"] or cap is not None:
        of_cap = "" if cap is None else f" of max_cost ${dollars(cap)}"
        lines.append(f"Spent so far: ${dollars(quote['spent_micro_usd'])}{of_cap}")
    lines += [f"max_cost covers not even the first call: {entry}" for entry in quote["uncovered"]]
    return lines + [f"Unknown: {unknown}" for unknown in quote["unknowns"]]


def status_lines(status: BatchStatus) -> list[str]:
    """A batch's status for a person."""
    lines = [f"Batch {status.batch_id}: {status.status}", status.message]
    for model in status.models:
        counts = f"{model['answered']} answered, {model['failed']} failed of {model['total']}"
        lines.append(f"  {model['model']:<28}{model['status']:<12}{counts}")
    return lines
