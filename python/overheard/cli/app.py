"""The commands, each as its help tells it. What they do is in `starts`, `orgs` and `serve`; nothing is decided here."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from overheard.cli import batches as batch_commands
from overheard.cli import export, import_runs, insights, purge, refuse_core_dumps, rescore
from overheard.cli import options as option
from overheard.cli import orgs as orgs_commands
from overheard.cli.starts import COULD_NOT_START, INTERRUPTED, Start, exit_code_of, perform, utc_day
from overheard.cli.terminal import complain, say
from overheard.errors import OverheardError
from overheard.settings import environment
from overheard.stores import DEFAULT_STORE, SqlStore, open_store
from overheard.verify import verify as verify_store

app = typer.Typer(
    name="overheard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""What AI answer engines say about an organisation.

Try it without keys:   overheard run demo --simulate

With keys:             export BRIGHTDATA_API_KEY=… OPENAI_API_KEY=…
                       overheard run demo --models chatgpt,gpt-4.1 --questions 2 --max-cost 1.00

Your own org:          overheard orgs import orgs.yaml
                       overheard run acme --dry-run
                       overheard run acme

Exit codes: 0 complete, 1 could not start, 2 usage, 3 partial, 130 interrupted.""",
)
app.add_typer(orgs_commands.app, name="orgs")

OrgIds = Annotated[list[str] | None, typer.Argument(help="Org ids; none: every org of the store or of --orgs-file.")]
BatchId = Annotated[str, typer.Argument(help="The batch, as the summary names it.")]


def run_app() -> None:
    """Runs the command line with the process's arguments."""
    try:
        app()
    finally:
        # The exit code is decided: a late Ctrl-C while the process ends must not replace it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _given(**limits: str | None) -> dict[str, str]:
    """The limits that were given."""
    return {name: value for name, value in limits.items() if value is not None}


@app.command()
def run(
    org_ids: OrgIds = None,
    models: option.Models = None,
    locations: option.Locations = None,
    questions: option.Questions = None,
    repeats: option.Repeats = 1,
    extraction: option.ExtractionMode = "auto",
    max_cost: option.MaxCost = None,
    on_unknown: option.OnUnknown = None,
    batch_key: option.BatchKey = None,
    new: option.New = False,
    dry_run: option.DryRun = False,
    as_json: option.AsJson = False,
    store: option.StoreUrl = None,
    orgs_file: option.OrgsFile = None,
    parallel: option.Parallel = 4,
    simulate: option.Simulate = False,
    seed: option.Seed = 1,
    latency_ms: option.LatencyMs = None,
    snapshot_ms: option.SnapshotMs = None,
    log_level: option.LogLevel = "INFO",
    phase: Annotated[str, typer.Option("--phase", help="run (all), execute, or extract.")] = "run",
    run_id: option.RunId = None,
) -> None:
    """Ask an org's questions of its models from its locations, store every answer, extract, sum up.

    An interrupted batch of the org is continued; else today's batch; else a new one is made.

    Example: overheard run demo --simulate --questions 5 --models chatgpt,gpt-4.1
    """
    if run_id is not None:
        if org_ids or orgs_file or dry_run or phase != "run":
            raise typer.BadParameter("a model run is run as its batch was planned, alone", param_hint="--run-id")
        begin(
            Start(
                action="run_model",
                targets=[run_id],
                limits=_given(on_unknown=on_unknown),
                store=store,
                simulate=simulate,
                seed=seed,
                latency_ms=latency_ms,
                snapshot_ms=snapshot_ms,
                as_json=as_json,
                log_level=option.log_level(log_level),
            )
        )
    if phase not in ("run", "execute", "extract"):
        raise typer.BadParameter(f"'{phase}' is none of run, execute, extract", param_hint="--phase")
    if phase == "extract":
        extract(org_ids or [], None if extraction == "auto" else extraction, store, as_json, log_level)
        return
    begin(
        Start(
            action=phase,
            targets=org_ids or [],
            orgs_file=orgs_file,
            options={
                "models": option.listed(models),
                "locations": option.listed(locations),
                "questions": questions,
                "repeats": repeats,
                "extraction": extraction,
                "max_cost": max_cost,
                "batch_key": batch_key or utc_day(),
                "new": new,
            },
            limits=_given(on_unknown=on_unknown),
            store=store,
            parallel=parallel,
            simulate=simulate,
            seed=seed,
            latency_ms=latency_ms,
            snapshot_ms=snapshot_ms,
            dry_run=dry_run,
            as_json=as_json,
            log_level=option.log_level(log_level),
        )
    )


@app.command()
def execute(
    org_ids: OrgIds = None,
    models: option.Models = None,
    locations: option.Locations = None,
    questions: option.Questions = None,
    repeats: option.Repeats = 1,
    max_cost: option.MaxCost = None,
    batch_key: option.BatchKey = None,
    new: option.New = False,
    as_json: option.AsJson = False,
    store: option.StoreUrl = None,
    orgs_file: option.OrgsFile = None,
    parallel: option.Parallel = 4,
    simulate: option.Simulate = False,
    log_level: option.LogLevel = "INFO",
) -> None:
    """Ask and store the answers, without extraction.

    Example: overheard execute acme && overheard extract BATCH_ID
    """
    run(
        org_ids,
        models,
        locations,
        questions,
        repeats,
        max_cost=max_cost,
        batch_key=batch_key,
        new=new,
        as_json=as_json,
        store=store,
        orgs_file=orgs_file,
        parallel=parallel,
        simulate=simulate,
        log_level=log_level,
        phase="execute",
    )


@app.command()
def extract(
    batch_ids: Annotated[list[str], typer.Argument(help="Batches, as the summary names them.")],
    extraction: Annotated[
        str | None, typer.Option("--extraction", help="local or llm. Default: as the batch was planned.")
    ] = None,
    store: option.StoreUrl = None,
    as_json: option.AsJson = False,
    log_level: option.LogLevel = "INFO",
) -> None:
    """Extract from answers that are stored and not extracted yet.

    Example: overheard extract 7f9c… --extraction local
    """
    if not batch_ids:
        raise typer.BadParameter("name the batches to extract", param_hint="BATCH_IDS")
    start = Start(action="extract", targets=batch_ids, store=store, as_json=as_json)
    start.log_level = option.log_level(log_level)
    start.options = {"extraction": extraction}
    begin(start)


@app.command()
def resume(
    batch_id: BatchId,
    unfinished_only: Annotated[bool, typer.Option("--unfinished-only", help="Do not ask again what failed.")] = False,
    max_cost: option.MaxCost = None,
    dry_run: option.DryRun = False,
    on_unknown: option.OnUnknown = None,
    store: option.StoreUrl = None,
    simulate: option.Simulate = False,
    seed: option.Seed = 1,
    as_json: option.AsJson = False,
    log_level: option.LogLevel = "INFO",
) -> None:
    """Go on with a batch: ask what is open, ask again what failed, skip what is stored.

    Example: overheard resume 7f9c…
    """
    start = Start(action="resume", targets=[batch_id], store=store, simulate=simulate, seed=seed, as_json=as_json)
    start.log_level = option.log_level(log_level)
    start.options = {"unfinished_only": unfinished_only, "max_cost": max_cost}
    start.dry_run = dry_run
    start.limits = _given(on_unknown=on_unknown)
    begin(start)


@app.command()
def verify(
    batch_id: Annotated[str | None, typer.Argument(help="None: every batch of the store.")] = None,
    store: option.StoreUrl = None,
    as_json: option.AsJson = False,
) -> None:
    """Check that store and journal keep their promises: every cell once, money adds up, nothing orphaned or left open.

    Reads only. Exit code 0 when everything holds, else 1; each line names the first row that breaks its promise.

    Example: overheard verify --store sqlite:///demo.db
    """

    async def check() -> int:
        opened = _opened(store)  # not opened as a start does: that would put back what a killed start left running
        try:
            said = environment().get("OVERHEARD_JOURNAL", "").strip()
            checks = await verify_store(opened, batch_id, journal=said or None)
        finally:
            await opened.aclose()
        passed = all(entry.passed for entry in checks)
        if as_json:
            say(json.dumps({"passed": passed, "checks": [entry.to_dict() for entry in checks]}))
        else:
            for entry in checks:
                say(entry.line())
            say("verify passed" if passed else "verify FAILED")
        return 0 if passed else COULD_NOT_START

    leave_with(check)


@app.command()
def simulate(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8765,
    seed: option.Seed = 1,
    latency_ms: Annotated[int, typer.Option("--latency-ms", min=0, help="Milliseconds before an answer.")] = 0,
    snapshot_ms: Annotated[
        int, typer.Option("--snapshot-ms", min=0, help="Milliseconds until a Bright Data snapshot is ready.")
    ] = 300,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Answer like OpenAI, Anthropic and Bright Data, on this machine, with invented answers.

    Prints the URL; ready when GET /_sim/ledger answers. Ctrl-C ends it.

    Example: overheard simulate --port 8765 --seed 7
    """
    from overheard.cli import serve  # a wheel built without the simulator has all other commands

    raise typer.Exit(
        serve.serve(
            host=host, port=port, seed=seed, latency_ms=latency_ms, snapshot_ms=snapshot_ms, with_parent=with_parent
        )
    )


def begin(start: Start) -> None:
    """Performs a start and leaves with its exit code."""
    raise typer.Exit(perform(start))


def leave_with(action: Callable[[], Awaitable[int]]) -> None:
    """Runs `action` on an event loop and leaves with its exit code; an error of ours is one sentence."""

    async def run_action() -> int:
        return await action()

    try:
        code = asyncio.run(run_action())
    except OverheardError as error:
        complain(f"Error: {error}")
        code = exit_code_of(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


batch_commands.register(app, leave_with)


def _opened(url: str | None) -> SqlStore:
    return open_store(url or environment().get("OVERHEARD_STORE") or DEFAULT_STORE)


def script(arguments: Sequence[str] | None = None, *, doc: str | None = None, **settings: Any) -> None:
    """The command line of `trigger_org_evaluation_workflow.py`: `run`, as its own program."""
    refuse_core_dumps()
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command(help=doc)(run)
    program(args=None if arguments is None else list(arguments), **settings)


for module in (insights, rescore, import_runs, export, purge):
    module.register(app, leave_with)
