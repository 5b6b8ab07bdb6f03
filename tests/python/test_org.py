"""Orgs and their files: what is accepted, and that each fault is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from overheard.errors import ConfigError
from overheard.org import KnownCompetitor, Location, Org, Question
from overheard.orgfile import demo_org, load_orgs, parse_orgs
from overheard.stores import open_store


def test_demo_org_is_as_the_manual_says() -> None:
    org = demo_org()
    assert (org.id, org.name) == ("demo", "Quillmark")
    assert len(org.questions) == 25
    assert org.models == ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")
    assert [str(location) for location in org.locations] == ["US", "DE"]


def test_all_faults_of_a_file_come_at_once_with_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "orgs.yaml"
    path.write_text(
        "id: acme\nname: ''\nwebsite: x\nquestions:\n  - id: a\n    text: ' '\n  - {id: b, text: 'One?'}\n"
        "  - {id: b, text: 'Two?'}\nlocations:\n  - country: us\n  - country: UK\n  - {country: DE, town: Berlin}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_orgs(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[0:2] for line in lines] == [
        ["2", "name"],
        ["3", "website"],
        ["6", "questions[0].text"],
        ["8", "questions[2]"],
        ["10", "locations[0].country"],
        ["11", "locations[1].country"],
        ["12", "locations[2].town"],
    ]
    assert "write 'US'" in lines[4]
    assert "write 'GB'" in lines[5]


def test_norway_is_a_country_and_ids_stay_text() -> None:
    (org,) = parse_orgs(
        "id: 010\nname: yes\nlocations: [{country: NO}]\nquestions: [{id: 1, text: 'Why?'}]\n", "a.yaml"
    )
    assert org.id == "010"
    assert org.location_list == (Location("NO"),)
    assert org.question_list[0].id == "1"


def test_json_has_lines_and_emoji(tmp_path: Path) -> None:
    path = tmp_path / "orgs.json"
    orgs = [{"id": "a", "name": "\U0001f600"}, {"id": "a", "name": "B", "models": [""]}]
    path.write_text(json.dumps({"orgs": orgs}, indent=1))
    with pytest.raises(ConfigError) as caught:
        load_orgs(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in str(caught.value).splitlines()] == [
        ["8", "orgs[1].id"],
        ["11", "orgs[1].models[0]"],
    ]
    path.write_text('{"id": "a", "name": "\\ud83d\\ude00"}')
    assert load_orgs(path)[0].name == "\U0001f600"
    path.write_text('{"id": "a",\n "name" }')
    with pytest.raises(ConfigError, match=r"orgs\.json:2: is not JSON"):
        load_orgs(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "x.yaml:1: is not YAML"),
        ("", "x.yaml:1: no org"),
        ("- 5", r"x.yaml:1: \[0\]: must be a mapping"),
        ("id: a\nid: b", "x.yaml:2: id: stands twice, first in line 1"),
        ("&a [*a]", "too large or too deeply nested"),
        ("id: a\nname: A\nquestions: Why?", "x.yaml:3: questions: must be a list"),
    ],
)
def test_broken_files_are_one_clear_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_orgs(text, "x.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_orgs(tmp_path / "none.yaml")


def test_a_derived_question_id_depends_on_the_words_only() -> None:
    assert Question("Why  me?").id == Question(" Why me?\n").id != Question("Why you?").id


def test_plain_texts_become_questions_and_locations() -> None:
    org = Org("a", "A", questions=["Why?"], locations=["US", "DE//Berlin", "US/California"])
    assert [str(location) for location in org.locations] == ["US", "DE//Berlin", "US/California"]
    assert Org.from_dict(org.to_dict()) == org


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": "", "name": "A"}, "id: is missing"),
        ({"id": "a", "name": "A", "questions": ["", "x"]}, r"questions\[0\]: a question must not be empty"),
        ({"id": "a", "name": "A", "questions": ["x", "x"]}, r"questions\[1\]: the same question already stands at"),
        ({"id": "a", "name": "A", "websites": "a.example"}, "websites: must be a list"),
        ({"id": "a", "name": "A", "locations": ["XX"]}, r"locations\[0\].country: 'XX' is not"),
        ({"id": "a", "name": "A", "locations": ["US", "US"]}, r"locations\[1\]: stands in the list twice"),
    ],
)
def test_constructor_faults_name_the_field(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Org(**fields)  # type: ignore[arg-type]


def test_an_org_of_plain_names_is_written_as_it_always_was() -> None:
    org = Org("acme", "Acme", ["https://acme.example"], competitors=["Bolt", KnownCompetitor("Crate")])
    assert json.dumps(org.to_dict()) == (
        '{"id": "acme", "name": "Acme", "websites": ["https://acme.example"], "aliases": [], '
        '"competitors": ["Bolt", "Crate"], "questions": [], "models": [], "locations": []}'
    )
    assert org == Org.from_dict(org.to_dict())
    assert [brand.name for brand in org.competitor_list] == ["Bolt", "Crate"]


async def test_what_the_rules_are_told_survives_file_and_store(tmp_path: Path) -> None:
    path = tmp_path / "orgs.yaml"
    path.write_text(
        "id: acme\nname: Acme\ncompetitors:\n  - Bolt\n  - {name: Hub, aliases: [HubSpot], products: [Hub CRM],"
        " parent: Hub Inc, websites: [https://hub.example]}\nconfusables: [Acme Valley]\nhomonyms: [Acme]\n"
        "context: [tools]\nkeep_apart: [Hub One]\n"
    )
    (org,) = load_orgs(path)
    assert org.competitors == (
        "Bolt",
        KnownCompetitor("Hub", ["HubSpot"], ["Hub CRM"], "Hub Inc", ["https://hub.example"]),
    )
    assert (org.confusables, org.homonyms, org.context, org.keep_apart) == (
        ("Acme Valley",),
        ("Acme",),
        ("tools",),
        ("Hub One",),
    )
    async with open_store(f"sqlite:///{tmp_path}/s.db") as store:
        await store.save_org(org)
        assert await store.load_org("acme") == org
        await store.save_org(Org("acme", "Acme"))
        assert await store.load_org("acme") == Org("acme", "Acme")


def test_faults_of_what_the_rules_are_told_have_line_and_field() -> None:
    text = (
        "id: acme\nname: Acme\nconfusables: Valley\ncompetitors:\n  - name: ''\n  - name: Hub\n    alias: [x]\n"
        "    products: [' ']\n    parent: ''\n  - [x]\nkeep_apart: ['']\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse_orgs(text, "a.yaml")
    assert [line.removeprefix("a.yaml:").split(": ")[:2] for line in str(caught.value).splitlines()] == [
        ["3", "confusables"],
        ["5", "competitors[0].name"],
        ["7", "competitors[1].alias"],
        ["8", "competitors[1].products[0]"],
        ["9", "competitors[1].parent"],
        ["10", "competitors[2]"],
        ["11", "keep_apart[0]"],
    ]
    with pytest.raises(ConfigError, match=r"competitor: name: is missing"):
        KnownCompetitor(" ")
