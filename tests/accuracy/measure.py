"""Measures extraction against the labelled set and prints it; asserts nothing.

    python tests/accuracy/measure.py [--part work|aside|all] [--model] [--misses PART] [--json FILE]

`--model` also runs the extraction model, simulated (`overheard simulate`'s code): it shows what the model's path keeps
and loses, not how good a real model is. Misses of the part kept aside are listed only with `--misses aside`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scores
from labelled import Labelled, load
from overheard import Citation, Extraction, Extractor, Org, Outcome
from overheard.simulator import Simulator

MODEL = "gpt-4.1-mini"


@dataclass(frozen=True)
class Found:
    """An answer with what was taken from it."""

    answer: Labelled
    extraction: Extraction

    @property
    def competitors(self) -> set[str]:
        """The configured ones: only those have a label by name."""
        configured = {entry["name"] for entry in self.answer.org["competitors"]}
        return {competitor.name for competitor in self.extraction.competitors} & configured

    @property
    def citations(self) -> dict[str, str]:
        """Canonical URL and class."""
        return {citation.canonical_url: citation.site_class for citation in self.extraction.citations}

    @property
    def labelled_citations(self) -> dict[str, str]:
        """The same as a person has it."""
        return {citation["url"]: citation["class"] for citation in self.answer.label["citations"]}


def org_of(entry: Any) -> Org:
    """The org without questions: only what extraction reads."""
    return Org(**entry)


def outcome_of(answer: Labelled) -> Outcome:
    """What a provider would have given."""
    citations = [Citation(**citation) for citation in answer.provider_citations]
    return Outcome(status="answered", text=answer.answer, citations=citations)


async def extracted(
    answers: Sequence[Labelled], model: str | None = None, env: Mapping[str, str] | None = None
) -> list[Found]:
    """Runs the extractor of every org over its answers; in the order given. `env` is where the model is reached."""
    by_org: dict[str, list[Labelled]] = defaultdict(list)
    for answer in answers:
        by_org[answer.org["id"]].append(answer)
    found: dict[str, Found] = {}
    for group in by_org.values():
        extractor = Extractor(org_of(group[0].org), model, env=env)
        outcomes = [outcome_of(answer) for answer in group]
        extractions = await extractor.extract_async(outcomes) if model else extractor.extract(outcomes)
        found |= {answer.id: Found(answer, extraction) for answer, extraction in zip(group, extractions, strict=True)}
    return [found[answer.id] for answer in answers]


# --- the fields ---


def mention(found: Found) -> scores.Counts:
    return scores.of_truth(found.extraction.evaluation.mentioned, found.answer.label["mention"])


def competitors(found: Found) -> scores.Counts:
    return scores.of_sets(found.competitors, found.answer.label["competitors"])


def citations(found: Found) -> scores.Counts:
    return scores.of_sets(found.citations, found.labelled_citations)


def rank(found: Found) -> bool:
    return found.extraction.evaluation.mention_rank == found.answer.label["rank"]


def list_position(found: Found) -> bool:
    return found.extraction.evaluation.list_position == found.answer.label["list_position"]


def sentiment(found: Found) -> bool:
    return found.extraction.evaluation.sentiment == found.answer.label["sentiment"]


def citation_set(found: Found) -> bool:
    return set(found.citations) == set(found.labelled_citations)


COUNTED: dict[str, Callable[[Found], scores.Counts]] = {
    "mention": mention,
    "competitors": competitors,
    "citations": citations,
}
EXACT: dict[str, tuple[Callable[[Found], bool], bool]] = {
    # Whether it is right, and whether only answers that mention the org are asked.
    "rank": (rank, True),
    "list position": (list_position, True),
    "sentiment": (sentiment, True),
    "citation set": (citation_set, False),
}


# --- what is printed ---


def figures(found: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """Every field's figures."""
    table: dict[str, dict[str, Any]] = {}
    for name, field in COUNTED.items():
        counts = [field(one) for one in found]
        sum_ = scores.total(counts)
        table[name] = {
            "precision": sum_.precision,
            "recall": sum_.recall,
            "f1": sum_.f1,
            "interval": scores.bootstrap(counts, lambda counts: counts.f1),
            "right": sum_.right,
            "wrong": sum_.wrong,
            "missed": sum_.missed,
        }
    for name, (is_right, only_mentioned) in EXACT.items():
        asked = [one for one in found if one.answer.label["mention"] or not only_mentioned]
        right = sum(map(is_right, asked))
        table[name] = _share(right, len(asked))
    pairs = [
        (label, one.citations.get(url))
        for one in found
        for url, label in one.labelled_citations.items()
        if url in one.citations
    ]
    table["citation class"] = _share(sum(label == given for label, given in pairs), len(pairs))
    silent = [one for one in found if {"absence", "refusal"} & set(one.answer.label["kind"])]
    silent = [one for one in silent if not one.answer.label["mention"]]
    table["mentions in absence statements and refusals"] = {
        "wrong": sum(one.extraction.evaluation.mentioned for one in silent),
        "of": len(silent),
    }
    return table


def _share(right: int, of: int) -> dict[str, Any]:
    return {"exact": right / of if of else None, "interval": scores.wilson(right, of), "right": right, "of": of}


def show(title: str, table: dict[str, dict[str, Any]]) -> None:
    """Prints the figures, one field a line."""
    print(f"\n{title}")
    for name, row in table.items():
        if "f1" in row:
            text = (
                f"precision {_number(row['precision'])}  recall {_number(row['recall'])}  F1 {_number(row['f1'])} "
                f"{_interval(row['interval'])}  ({row['right']} right, {row['wrong']} wrong, {row['missed']} missed)"
            )
        elif "exact" in row:
            text = f"exact {_number(row['exact'])} {_interval(row['interval'])}  ({row['right']} of {row['of']})"
        else:
            text = f"{row['wrong']} of {row['of']}"
        print(f"  {name:<18} {text}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def categories(found: Sequence[Found]) -> None:
    """Prints mention, rank and citation set for every kind of answer and for the languages."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        for kind in one.answer.label["kind"]:
            groups[kind].append(one)
        groups["written blind" if one.answer.id.startswith("a") else "written to the rules"].append(one)
        groups["English" if one.answer.language == "en" else "other languages"].append(one)
    print(f"\n  {'category':<22}{'answers':>8}{'mention F1':>12}{'rank':>8}{'competitor F1':>15}{'citation set':>14}")
    for name, group in sorted(groups.items()):
        mentioned = [one for one in group if one.answer.label["mention"]]
        cells = (
            _number(scores.total(map(mention, group)).f1),
            _number(sum(map(rank, mentioned)) / len(mentioned) if mentioned else None),
            _number(scores.total(map(competitors, group)).f1),
            _number(sum(map(citation_set, group)) / len(group)),
        )
        print(f"  {name:<22}{len(group):>8}{cells[0]:>12}{cells[1]:>8}{cells[2]:>15}{cells[3]:>14}")


def misses(found: Iterable[Found]) -> Iterable[str]:
    """One line a wrong field."""
    for one in found:
        label, evaluation, identity = one.answer.label, one.extraction.evaluation, one.answer.id
        if evaluation.mentioned != label["mention"]:
            yield f"{identity} mention: {evaluation.mentioned}, labelled {label['mention']}"
        if label["mention"]:
            for name in ("rank", "list_position", "sentiment"):
                given = getattr(evaluation, "mention_rank" if name == "rank" else name)
                if given != label[name]:
                    yield f"{identity} {name}: {given}, labelled {label[name]}"
        for name, given, wanted in (
            ("competitors", one.competitors, set(label["competitors"])),
            ("citations", set(one.citations), set(one.labelled_citations)),
        ):
            if given != wanted:
                yield f"{identity} {name}: too many {sorted(given - wanted)}, missed {sorted(wanted - given)}"
        for url, wanted in one.labelled_citations.items():
            if one.citations.get(url, wanted) != wanted:
                yield f"{identity} class of {url}: {one.citations[url]}, labelled {wanted}"


PARTS = {"work": lambda one: not one.kept_aside, "aside": lambda one: one.kept_aside, "all": lambda _: True}


async def measured(answers: Sequence[Labelled], with_model: bool) -> dict[str, list[Found]]:
    """Both ways, or one."""
    ways = {"rules": await extracted(answers)}
    if with_model:
        with Simulator(seed=1, perfect=True) as simulator:
            ways["rules and simulated model"] = await extracted(answers, MODEL, simulator.environment())
    return ways


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: work and aside, one after the other")
    parser.add_argument("--model", action="store_true", help="also with the simulated extraction model")
    parser.add_argument("--misses", choices=PARTS, default="work", help="the part whose misses are listed")
    parser.add_argument("--json", type=Path, help="writes the figures into this file too")
    options = parser.parse_args()
    everything, told = load(), {}
    for way, found in asyncio.run(measured(everything, options.model)).items():
        for part in options.part or ["work", "aside"]:
            chosen = [one for one in found if PARTS[part](one.answer)]
            told[f"{way}, {part}"] = table = figures(chosen)
            show(f"== {way}: {part}, {len(chosen)} answers", table)
            categories(chosen)
        listed = [line for line in misses(found) if PARTS[options.misses](_by_id(found, line))]
        print(f"\n  misses ({options.misses}): {len(listed)}")
        for line in listed:
            print(f"    {line}")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


def _by_id(found: Iterable[Found], line: str) -> Labelled:
    identity = line.split(" ", 1)[0]
    return next(one.answer for one in found if one.answer.id == identity)


if __name__ == "__main__":
    main()
