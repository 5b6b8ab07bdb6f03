"""`overheard rescore`: shows what `Pipeline.rescore` changes, answer by answer. Decides nothing about an extraction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from overheard.cli import options as option
from overheard.cli.opening import LeaveWith, existing_store
from overheard.cli.starts import COMPLETE, PARTIAL
from overheard.cli.terminal import complain, say
from overheard.errors import ConfigError
from overheard.org import Org
from overheard.orgfile import load_orgs
from overheard.pipeline import Pipeline
from overheard.rescore import AnswerChange, Rescore
from overheard.summary import dollars

Batches = Annotated[list[str] | None, typer.Argument(metavar="BATCH", help="Batches, as the summary names them.")]
All = Annotated[bool, typer.Option("--all", help="Every batch of the store, oldest first.")]
OrgOption = Annotated[
    str | None,
    typer.Option(
        "--org",
        metavar="FILE|ID",
        help="The org's entry: a file as `overheard orgs import` takes it, or an org of the store. "
        "Default: the batch's org as it is in the store now.",
    ),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Only answers of this model; may be given several times.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and write nothing.")]
Show = Annotated[int, typer.Option("--show", min=0, help="Changed answers to print; all of them are counted.")]
ExtractionOption = Annotated[
    str,
    typer.Option("--extraction", help="local: by rules, free. llm: ask the extraction model again, paid."),
]
MaxCost = Annotated[
    str | None,
    typer.Option("--max-cost", help="With --extraction llm, and needed there: most it may cost, in dollars."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what changed alone, as JSON, on the last line of stdout.")]


async def rescore_batches(
    batch_ids: Sequence[str],
    store: str | None,
    *,
    every: bool,
    org: str | None,
    models: Sequence[str] | None,
    dry_run: bool,
    show: int,
    extraction: Literal["local", "llm"],
    max_cost: str | None,
    as_json: bool,
) -> int:
    """Rescores the batches one after another and tells what changed; gives the exit code.

    Raises:
        ConfigError: No batch is named, or some are and `--all` too.
    """
    if bool(batch_ids) == every:
        raise ConfigError("name the batches to rescore, or give --all", field="batch_id")
    existing_store(store)
    entries = await _entries(org)
    told: list[dict[str, Any]] = []
    failed = False
    async with Pipeline(store) as pipeline:
        targets = list(reversed(await pipeline.store.batch_ids())) if every else list(batch_ids)
        for batch_id in targets:
            entry = await _entry(pipeline, batch_id, org, entries, every=every)
            if entry is False:
                continue
            shown = 0

            def one(change: AnswerChange) -> None:
                nonlocal shown
                shown += 1
                if not as_json and shown <= show:
                    for line in change_lines(change):
                        say(line)

            found = await pipeline.rescore(
                batch_id,
                entry or None,
                models=models,
                dry_run=dry_run,
                extraction=extraction,
                max_cost=max_cost,
                on_change=one,
            )
            told.append(found.to_dict())
            failed = failed or found.failed > 0
            if not as_json:
                if shown > show:
                    say(f"… and {shown - show} more changed answers (--show {shown} prints them)")
                for line in summary_lines(found):
                    say(line)
    if as_json:
        say(json.dumps(told))
    return PARTIAL if failed else COMPLETE


async def _entries(org: str | None) -> Mapping[str, Org] | None:
    """The orgs of a file by id; None: `--org` names none."""
    if org is None or not await asyncio.to_thread(Path(org).is_file):
        return None
    return {entry.id: entry for entry in await asyncio.to_thread(load_orgs, org)}


async def _entry(
    pipeline: Pipeline, batch_id: str, org: str | None, entries: Mapping[str, Org] | None, *, every: bool
) -> Org | str | Literal[False] | None:
    """The entry for a batch; None: as it is in the store; False: with `--all`, the batch is of another org."""
    if org is None:
        return None
    batch = await pipeline.store.load_batch(batch_id)
    if batch is None:
        raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
    if entries is None:
        return False if every and batch.org_id != org else org
    if batch.org_id in entries:
        return entries[batch.org_id]
    if every:
        return False
    raise ConfigError(
        f"{org}: holds no org '{batch.org_id}', whose batch {batch_id} is; it has {', '.join(entries)}", field="org"
    )


def change_lines(change: AnswerChange) -> list[str]:
    """A changed answer for a person."""
    mark = "flipped " if change.flipped else ""
    lines = [f"{mark}{_one_line(change.key)}  {_one_line(change.question)}"]
    told = None
    for each in change.changes:
        before, after = _value(each.before), _value(each.after)
        why = "" if each.reason == told else f"  ({_one_line(each.reason)})"
        told = each.reason
        lines.append(f"  {each.field}: {before} -> {after}{why}")
    return lines


def summary_lines(found: Rescore) -> list[str]:
    """What a rescore did, for a person."""
    would = "would change (dry run: nothing is written)" if found.dry_run else "changed"
    lines = [
        f"Batch {found.batch_id} of {found.org_id}: {found.answers} answers, {found.rescored} extracted again, "
        f"{found.current} current, {found.changed} {would}"
    ]
    if found.fields:
        lines.append("Changed fields: " + ", ".join(f"{name} {count}" for name, count in found.fields.items()))
    lines += [
        f"{title}: {_percent(found.before.get(name))} before, {_percent(found.after.get(name))} after"
        for title, name in (("Visibility", "visibility"), ("Share of voice", "shareOfVoice"))
    ]
    if found.failed:
        lines.append(f"{found.failed} could not be extracted by the model; their earlier extraction stays")
    if found.cost_micro_usd or found.maybe_charged_micro_usd:
        maybe = found.maybe_charged_micro_usd
        also = f", and ${dollars(maybe)} may have been charged" if maybe else ""
        lines.append(f"Cost: ${dollars(found.cost_micro_usd)}{also}")
    return [*lines, *(f"Note: {note}" for note in found.notes)]


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f} %"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return "[" + ", ".join(_one_line(str(entry)) for entry in value) + "]"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(entry)}" for name, entry in value.items())
    return _one_line(str(value))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def register(app: typer.Typer, leave_with: LeaveWith) -> None:
    """Adds the command to the command line."""

    @app.command()
    def rescore(
        batch_ids: Batches = None,
        every: All = False,
        org: OrgOption = None,
        model: Models = None,
        dry_run: DryRun = False,
        show: Show = 50,
        extraction: ExtractionOption = "local",
        max_cost: MaxCost = None,
        as_json: AsJson = False,
        store: option.StoreUrl = None,
    ) -> None:
        """Extract stored answers again after an alias, a competitor or a rule changed, and say what flipped and why.

        No engine is asked, and by rules nothing is paid: answers stay as they are, and so does what they cost. Where a
        model made the earlier extraction, its sentiment, quotes and competitors are kept while the answer is still a
        mention. What is current is skipped; Ctrl-C loses nothing, and the same command goes on.

        Examples:

          overheard orgs import orgs.yaml && overheard rescore 7f9c…

          overheard rescore --all --org orgs.yaml --dry-run

          overheard rescore 7f9c… --model chatgpt --json | tail -n 1 | jq '.[0].fields'
        """
        if extraction not in ("local", "llm"):
            raise typer.BadParameter(f"'{extraction}' is none of local, llm", param_hint="--extraction")
        if extraction == "llm" and not dry_run:
            complain("The extraction model is asked about every answer again; --max-cost bounds what that costs.")
        leave_with(
            lambda: rescore_batches(
                batch_ids or [],
                store,
                every=every,
                org=org,
                models=model,
                dry_run=dry_run,
                show=show,
                extraction="llm" if extraction == "llm" else "local",
                max_cost=max_cost,
                as_json=as_json,
            )
        )
