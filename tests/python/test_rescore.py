"""`rescore`: an alias, a merge and a rule change each change history with a diff, and no engine is asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from e2e_help import damage, pipeline, quillmark, rows, run, stored_cost, url
from overheard import Extraction, KnownCompetitor, Org, Pipeline, QuestionRun, open_store
from overheard.errors import BatchLocked, ConfigError
from overheard.rescore import Rescore
from overheard.simulator import Simulator
from overheard.verify import verify

ANSWERS = {
    "a": "Bolt is cheap. Acme is good.",
    "b": "Akmee Tools leads, then Bolt and Crate CRM.",
    "c": "Krate wins. Crate is second.",
}
ACME = Org("acme", "Acme", ["https://acme.example"], competitors=["Bolt"])
OLD = Path(__file__).parents[1] / "fixtures" / "store" / "v4.sql"
OLD_BATCH = "0b0f6f0e-5a5c-4c51-9d0e-3c4a7d1f2a10"


def answers() -> list[dict[str, Any]]:
    return [{"question": f"{name}?", "id": name, "model": "chatgpt", "answer": text} for name, text in ANSWERS.items()]


async def collected(path: Path, org: Org = ACME) -> tuple[Pipeline, str]:
    """A store with the answers, extracted."""
    opened = Pipeline(url(path), env={}, holistic="off")
    async with open_store(url(path)) as store:
        await store.save_org(org)
    return opened, (await opened.import_runs(answers(), org)).batch_id


async def holds(path: Path) -> None:
    async with open_store(url(path)) as store:
        assert [check.line() for check in await verify(store) if not check.passed] == []


def flipped(told: Rescore) -> list[str]:
    return [change.key.split("|")[0] for change in told.changes if change.flipped]


def fields(told: Rescore, question: str) -> dict[str, tuple[Any, Any]]:
    (change,) = [change for change in told.changes if change.key.startswith(f"{question}|")]
    return {each.field: (each.before, each.after) for each in change.changes}


async def test_an_alias_edit_flips_the_answers_that_write_it_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened, batch_id = await collected(path)
    edited = replace(ACME, aliases=["Akmee Tools"])
    async with open_store(url(path)) as store:
        await store.save_org(edited)
    seen: list[str] = []
    dry = await opened.rescore(batch_id, dry_run=True, on_change=lambda change: seen.append(change.key))
    assert (await opened.rescore(batch_id, dry_run=True)).to_dict() == dry.to_dict(), "a dry run wrote"
    told = await opened.rescore(batch_id)
    assert flipped(told) == flipped(dry) == ["b"]
    assert seen == [change.key for change in told.changes]
    assert fields(told, "b")["mentioned"] == (False, True)
    assert fields(told, "b")["mention_rank"] == (None, 1)
    (change,) = told.changes
    reason = change.changes[0].reason
    assert "aliases" in reason
    assert "Akmee Tools" in reason
    assert (told.answers, told.rescored, told.current, told.changed) == (3, 3, 0, 1)
    assert told.fields["mentioned"] == 1
    assert (told.before["visibility"], told.after["visibility"]) == (pytest.approx(100 / 3), pytest.approx(200 / 3))
    insights = await opened.insights(batch_id)
    assert insights.summary["visibility"]["value"] == pytest.approx(200 / 3)
    assert insights.org.aliases == ("Akmee Tools",), "the batch keeps the entry that it was extracted with"
    again = await opened.rescore(batch_id)
    assert (again.rescored, again.current, again.changed) == (0, 3, 0)
    back = await opened.rescore(batch_id, ACME)
    assert flipped(back) == ["b"]
    assert back.after == told.before
    await holds(path)


async def test_a_competitor_edit_changes_history_and_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened, batch_id = await collected(path)
    known = replace(ACME, competitors=["Bolt", "Crate"])
    told = await opened.rescore(batch_id, known)
    assert fields(told, "c")["competitors"] == ([], ["Crate"])
    assert "competitors" in told.changes[0].changes[0].reason
    shown = rows(path, "SELECT cell_key, name FROM org_competitors ORDER BY cell_key, position")
    assert [row["name"] for row in shown if row["cell_key"].startswith("c|")] == ["Crate"]
    undone = await opened.rescore(batch_id, ACME)
    assert fields(undone, "c")["competitors"] == (["Crate"], [])
    await holds(path)


async def test_a_merge_changes_history_with_its_reason(tmp_path: Path) -> None:
    """Two configured competitors become one: the product is the brand's."""
    path = tmp_path / "s.db"
    opened, batch_id = await collected(path, replace(ACME, competitors=["Krate", "Crate"]))
    merged = replace(ACME, competitors=[KnownCompetitor("Crate", aliases=["Krate"])])
    told = await opened.rescore(batch_id, merged)
    before, after = fields(told, "c")["competitors"]
    assert before == ["Krate", "Crate"]
    assert after == ["Crate"]
    (kept,) = [x for x in await extractions(path, batch_id) if x.question_id == "c"]
    (brand,) = kept.competitors
    assert brand.name == "Crate"
    await holds(path)


async def extractions(path: Path, batch_id: str) -> list[Extraction]:
    async with open_store(url(path)) as store:
        return await store.extractions(batch_id, None, 1_000)


async def test_a_rule_change_changes_history_and_an_old_store_is_brought_up(tmp_path: Path) -> None:
    """The first extractor ranked every mention 1: its rows, in a store of that time, get the rank of now."""
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text("utf-8"))
    connection.close()
    before = rows(path, "SELECT * FROM question_runs ORDER BY cell_key")
    opened = Pipeline(url(path), env={}, holistic="off")
    told = await opened.rescore(OLD_BATCH)
    assert rows(path, "SELECT * FROM question_runs ORDER BY cell_key") == before, "an answer was touched"
    assert fields(told, "a")["mention_rank"] == (1, 2)
    change = next(change for change in told.changes if change.key.startswith("a|"))
    rank = next(each for each in change.changes if each.field == "mention_rank")
    assert "the rules changed: version 1 to" in rank.reason
    found = {x.question_id: x for x in await extractions(path, OLD_BATCH)}
    assert found["a"].fingerprint != ""
    assert found["b"].method == "llm", "what a model said is kept"
    assert (found["b"].evaluation.sentiment, found["b"].cost_micro_usd) == ("positive", 70)
    assert found["b"].evaluation.mention_rank == 2
    assert [brand.name for brand in found["b"].competitors] == ["Bolt"], "Crate does not stand in the answer"
    assert rows(path, "SELECT max(version) AS v FROM overheard_migrations") == [{"v": 5}]
    await holds(path)


async def test_a_version_that_is_not_ours_is_extracted_again_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened, batch_id = await collected(path)
    damage(path, "UPDATE org_evals SET extractor_version = '0', mention_rank = 1 WHERE mentioned")
    told = await opened.rescore(batch_id)
    assert (told.rescored, told.current, told.changed) == (1, 2, 1)
    assert fields(told, "a") == {"mention_rank": (1, 2)}
    assert (await opened.rescore(batch_id)).rescored == 0


# --- after a run with a model ---


async def test_no_request_is_sent_and_the_books_stay_as_they_are(perfect: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    org = quillmark(6, models=("chatgpt", "gpt-4.1"))
    summary = await run(perfect, url(path), org, extraction="llm")
    ledger, cost = perfect.ledger(), stored_cost(path)
    kept = {x.key: x for x in await extractions(path, summary.batch_id)}
    assert {x.method for x in kept.values()} == {"llm"}
    async with pipeline(perfect, url(path)) as opened:
        current = await opened.rescore(summary.batch_id, org)
        assert (current.rescored, current.current) == (0, len(kept)), "what a run extracted is current"
        told = await opened.rescore(
            summary.batch_id, replace(org, name="Notaro", aliases=[], competitors=["Quillmark"])
        )
        back = await opened.rescore(summary.batch_id, org)
    assert told.changed > 0
    assert back.changed > 0
    assert perfect.ledger() == ledger, "a provider was asked"
    assert stored_cost(path) == cost
    for x in await extractions(path, summary.batch_id):
        before = kept[x.key]
        assert (x.cost_micro_usd, x.maybe_charged_micro_usd, x.usage) == (
            before.cost_micro_usd,
            before.maybe_charged_micro_usd,
            before.usage,
        )
        assert x.method == "llm"
    await holds(path)


async def test_what_a_model_said_stays_while_the_answer_is_a_mention(perfect: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    org = quillmark(8, models=("gpt-4.1",))
    summary = await run(perfect, url(path), org, extraction="llm")
    kept = {x.key: x for x in await extractions(path, summary.batch_id)}
    async with pipeline(perfect, url(path)) as opened:
        await opened.rescore(summary.batch_id, replace(org, context=["documentation"]))
    compared = 0
    for x in await extractions(path, summary.batch_id):
        before = kept[x.key]
        if before.evaluation.mentioned and x.evaluation.mentioned:
            compared += 1
            assert x.evaluation.sentiment == before.evaluation.sentiment
            assert x.evaluation.mention_text == before.evaluation.mention_text
            assert {brand.name for brand in before.competitors} <= {brand.name for brand in x.competitors}
    assert compared > 0


async def test_a_model_may_be_asked_again_under_a_cap_and_the_books_have_both(
    perfect: Simulator, tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    org = quillmark(4, models=("gpt-4.1",))
    summary = await run(perfect, url(path), org, extraction="llm")
    cost, charged = stored_cost(path), perfect.ledger()["charged_micro_usd"]
    async with pipeline(perfect, url(path)) as opened:
        with pytest.raises(ConfigError, match="max_cost"):
            await opened.rescore(summary.batch_id, org, extraction="llm")
        with pytest.raises(ConfigError, match="dry_run"):
            await opened.rescore(summary.batch_id, org, extraction="llm", max_cost="1", dry_run=True)
        told = await opened.rescore(summary.batch_id, org, extraction="llm", max_cost="1.00")
    more = perfect.ledger()["charged_micro_usd"] - charged
    assert more == told.cost_micro_usd > 0
    assert stored_cost(path) == cost + more
    await holds(path)


# --- who may, and what it is told ---


async def test_a_batch_at_work_is_refused_with_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened, batch_id = await collected(path)
    async with open_store(url(path)) as store:
        (model_run,) = (await store.load_batch(batch_id)).model_runs
        lease = await store.acquire_lease(model_run.run_id, "elsewhere/boot/1+2/now", 60_000)
        with pytest.raises(BatchLocked, match="elsewhere"):
            await opened.rescore(batch_id, replace(ACME, aliases=["Akmee"]))
        assert (await opened.rescore(batch_id, replace(ACME, aliases=["Akmee"]), dry_run=True)).changed >= 0
        await store.release_lease(model_run.run_id, "elsewhere/boot/1+2/now", lease.fence)
    await opened.rescore(batch_id, replace(ACME, aliases=["Akmee"]))
    assert rows(path, "SELECT lease_owner FROM geo_runs") == [{"lease_owner": None}]


async def test_a_rescore_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    many = [{"question": f"{n}?", "model": "chatgpt", "answer": f"Akmee is number {n}."} for n in range(350)]
    opened = Pipeline(url(path), env={}, holistic="off")
    batch_id = (await opened.import_runs(many, ACME)).batch_id
    edited = replace(ACME, aliases=["Akmee"])
    changes = 0

    def one(_: Any) -> None:
        nonlocal changes
        changes += 1
        if changes == 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await opened.rescore(batch_id, edited, on_change=one)
    done = rows(path, "SELECT count(*) AS n FROM org_evals WHERE mentioned")[0]["n"]
    assert done % 100 == 0, "a page was written in part"
    assert 0 < done < 350
    assert rows(path, "SELECT lease_owner FROM geo_runs") == [{"lease_owner": None}]
    told = await opened.rescore(batch_id, edited)
    assert (told.current, told.rescored, told.changed) == (done, 350 - done, 350 - done)
    assert told.after["visibility"] == 100.0
    await holds(path)


async def test_one_model_alone_and_wrong_words(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    opened = Pipeline(url(path), env={}, holistic="off")
    lines = [{"question": "a?", "model": model, "answer": "Akmee"} for model in ("chatgpt", "gemini")]
    batch_id = (await opened.import_runs(lines, ACME)).batch_id
    edited = replace(ACME, aliases=["Akmee"])
    told = await opened.rescore(batch_id, edited, models=["gemini"])
    assert [change.key.split("|")[1] for change in told.changes] == ["gemini"]
    assert any("not all of its models" in note for note in told.notes)
    assert (await opened.insights(batch_id)).org.aliases == ()
    with pytest.raises(ConfigError, match="it has chatgpt, gemini"):
        await opened.rescore(batch_id, edited, models=["gpt-5"])
    with pytest.raises(ConfigError, match="is of org 'acme', and this is org 'other'"):
        await opened.rescore(batch_id, replace(edited, id="other"))
    with pytest.raises(ConfigError, match="there is no batch"):
        await opened.rescore("7f9c", edited)


async def test_holistic_insights_are_said_to_rest_on_the_earlier_extraction(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _, batch_id = await collected(path)
    with_rules = Pipeline(url(path), env={}, holistic="rules")
    async for _ in with_rules.watch(batch_id):
        break
    told = await with_rules.rescore(batch_id, replace(ACME, aliases=["Akmee Tools"]))
    assert any("holistic insights (revision 1) rest on the earlier extraction" in note for note in told.notes)


async def test_a_store_that_keeps_no_extractions_says_what_it_lacks() -> None:
    kept: list[QuestionRun] = []
    opened = Pipeline(on_question_runs=kept.extend, on_extractions=lambda _: None, env={}, holistic="off")
    batch_id = (await opened.import_runs(answers(), ACME)).batch_id
    assert len(kept) == 3
    with pytest.raises(ConfigError, match="ReplayStore"):
        await opened.rescore(batch_id, ACME)


# --- the command ---


def overheard(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "overheard", *arguments, "--store", url(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_the_command_prints_the_diff_and_its_json(tmp_path: Path) -> None:
    path, file = tmp_path / "s.db", tmp_path / "orgs.yaml"
    _, batch_id = await collected(path)
    file.write_text("id: acme\nname: Acme\naliases: [Akmee Tools]\ncompetitors: [Bolt]\n")
    dry = await asyncio.to_thread(overheard, path, "rescore", "--all", "--org", str(file), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "flipped b|chatgpt|anywhere|1" in dry.stdout
    assert "mentioned: no -> yes" in dry.stdout
    assert "Visibility: 33.3 % before, 66.7 % after" in dry.stdout
    done = await asyncio.to_thread(overheard, path, "rescore", batch_id, "--org", str(file), "--json")
    (told,) = json.loads(done.stdout.splitlines()[-1])
    assert (told["changed"], told["fields"]["mentioned"]) == (1, 1)
    wrong = await asyncio.to_thread(overheard, path, "rescore")
    assert wrong.returncode == 2
    file.write_text("id: other\nname: Other\n")
    stranger = await asyncio.to_thread(overheard, path, "rescore", batch_id, "--org", str(file))
    assert stranger.returncode == 2
    assert "holds no org 'acme'" in stranger.stderr
