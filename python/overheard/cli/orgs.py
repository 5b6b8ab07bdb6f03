"""`overheard orgs`: import, list, show. Reads files and writes orgs into the store; starts nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
import yaml

from overheard.cli import options as option
from overheard.cli.starts import exit_code_of
from overheard.cli.terminal import complain, say
from overheard.errors import ConfigError, OverheardError
from overheard.orgfile import demo_org, load_orgs
from overheard.settings import environment
from overheard.stores import DEFAULT_STORE, SqlStore, open_store

app = typer.Typer(no_args_is_help=True, help="The orgs of the store: import them, list them, show one.")


@app.command("import")
def import_orgs(
    file: Annotated[Path, typer.Argument(help="YAML or JSON: one org, a list, or a list under 'orgs'.")],
    store: option.StoreUrl = None,
) -> None:
    """Import orgs from a file; each error is named with file, line and field, and then nothing is imported.

    Example: overheard orgs import orgs.yaml
    """

    async def work(opened: SqlStore) -> None:
        orgs = await asyncio.to_thread(load_orgs, file)
        for org in orgs:
            await opened.save_org(org)
            say(f"{org.id}: {org.name}, {len(org.questions)} questions, {len(org.models)} models")
        say(f"{len(orgs)} imported")

    _with_store(store, work)


@app.command("list")
def list_orgs(store: option.StoreUrl = None) -> None:
    """List the orgs of the store."""

    async def work(opened: SqlStore) -> None:
        for org_id in await opened.org_ids():
            org = await opened.load_org(org_id)
            if org is not None:
                say(f"{org.id:<24}{org.name:<28}{len(org.questions):>6} questions  {', '.join(org.models)}")

    _with_store(store, work)


@app.command("show")
def show_org(
    org_id: Annotated[str, typer.Argument(help="The org's id; demo is packaged.")],
    store: option.StoreUrl = None,
    as_json: option.AsJson = False,
) -> None:
    """Show an org in the form that import takes."""

    async def work(opened: SqlStore) -> None:
        org = await opened.load_org(org_id) or (demo_org() if org_id == "demo" else None)
        if org is None:
            raise ConfigError(f"there is no org '{org_id}' in the store", field="org")
        plain = org.to_dict()
        say(json.dumps(plain, ensure_ascii=False) if as_json else yaml.safe_dump(plain, sort_keys=False).rstrip())

    _with_store(store, work)


def _with_store(url: str | None, work: Callable[[SqlStore], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_store(url or environment().get("OVERHEARD_STORE") or DEFAULT_STORE) as store:
            await work(store)

    try:
        asyncio.run(opened())
    except OverheardError as error:
        complain(f"Error: {error}")
        raise typer.Exit(exit_code_of(error)) from None
