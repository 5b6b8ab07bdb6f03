"""What changed between two extractions of one answer, and why. Pure: reads no store and runs no rule.

The reason of a change comes from what the newer extraction rests on (a place, a merge), and from what is known to
differ: the rules' version, the fields of the org's entry that were edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overheard._core import Extraction, QuestionRun

_EXCERPT = 80  # characters
_SAME = 1e-9
_EVALUATION = ("mentioned", "citation", "sentiment", "mention_rank", "list_position", "share_of_voice", "mention_text")
_NEWER = ("occurrences", "prominence", "shares")  # an extraction without a fingerprint does not know them


@dataclass(frozen=True)
class FieldChange:
    """A field of an extraction that has another value.

    Attributes:
        field: Its name.
        before: The earlier value, as `to_dict()` has it; long texts cut.
        after: The newer value.
        reason: Why, in a sentence for a person.
    """

    field: str
    before: Any
    after: Any
    reason: str


@dataclass(frozen=True)
class AnswerChange:
    """An answer whose extraction changed.

    Attributes:
        key: The cell.
        question: The text asked.
        changes: What changed, field by field.
    """

    key: str
    question: str
    changes: tuple[FieldChange, ...]

    @property
    def flipped(self) -> bool:
        """The answer became a mention, or is none any more."""
        return any(change.field == "mentioned" for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "key": self.key,
            "question": self.question,
            "flipped": self.flipped,
            "changes": [vars(change) for change in self.changes],
        }


def compared(run: QuestionRun, before: Extraction, after: Extraction, edited: Sequence[str]) -> AnswerChange | None:
    """What changed; None: nothing that has a name.

    Args:
        run: The answer.
        before: The earlier extraction.
        after: The newer one.
        edited: Fields of the org's entry that differ from those the batch was extracted with, as far as known.
    """
    old, new = before.evaluation.to_dict(), after.evaluation.to_dict()
    why = _Why(run.text or "", before, after, edited)
    changes: list[FieldChange] = []
    names = _EVALUATION + (_NEWER if before.fingerprint else ())
    for name in names:
        if name == "list_position" and not before.fingerprint:
            continue
        if not _equal(old[name], new[name]):
            reason = why.of_mention() if name not in ("citation", "sentiment") else why.cause()
            changes.append(FieldChange(name, _short(old[name]), _short(new[name]), reason))
    named, names_now = ([brand.name for brand in each.competitors] for each in (before, after))
    merged, merged_now = (_merges(each) for each in (before, after))
    if named != names_now:
        changes.append(FieldChange("competitors", named, names_now, why.of_brands(named, names_now)))
    if merged != merged_now:
        changes.append(FieldChange("merges", merged, merged_now, why.of_merges(merged, merged_now)))
    cited, cited_now = (_sources(each, whole=bool(before.fingerprint)) for each in (before, after))
    if cited != cited_now:
        gone, come = _difference(cited, cited_now)
        changes.append(FieldChange("citations", gone, come, why.cause()))
    return AnswerChange(run.key, run.question, tuple(changes)) if changes else None


class _Why:
    """Reasons for the changes of one answer."""

    def __init__(self, text: str, before: Extraction, after: Extraction, edited: Sequence[str]) -> None:
        self._text = text
        self._before, self._after = before, after
        self._edited = edited

    def cause(self) -> str:
        """What is known to differ between the two extractions."""
        causes = []
        if self._before.extractor_version != self._after.extractor_version:
            causes.append(
                f"the rules changed: version {self._before.extractor_version} to {self._after.extractor_version}"
            )
        if self._edited:
            causes.append(f"the org's entry changed: {', '.join(self._edited)}")
        elif self._before.fingerprint and self._before.fingerprint != self._after.fingerprint:
            causes.append("the org's entry or its name variations changed")
        if self._before.method != self._after.method:
            causes.append(f"extracted by {self._before.method} before, by {self._after.method} now")
        return "; ".join(causes) or "the same rules on the same answer give this"

    def of_mention(self) -> str:
        """The place that decides: one that became a mention, or is none any more."""
        before = {tuple(hit["span"]): hit["kind"] for hit in self._before.evidence.get("hits", ())}
        after = {tuple(hit["span"]): hit["kind"] for hit in self._after.evidence.get("hits", ())}
        told = []
        for span, kind in sorted(after.items()):
            was = before.get(span)
            if was != kind and "mention" in (was, kind):
                place = f"'{self._at(span)}' at {span[0]}-{span[1]}"
                if was is not None:
                    told.append(f"{place} was {_KINDS.get(was, was)} and is {_KINDS.get(kind, kind)} now")
                elif before or not self._before.evaluation.mentioned:
                    told.append(f"{place} is {_KINDS.get(kind, kind)} now")
        for span, kind in sorted(before.items()):
            if kind == "mention" and span not in after:
                told.append(f"'{self._at(span)}' at {span[0]}-{span[1]} is no name of the org any more")
        if not told and self._after.evaluation.mentioned != self._before.evaluation.mentioned:
            quote = self._after.evaluation.mention_text or self._before.evaluation.mention_text
            if quote:
                told.append(f"the answer says '{_short(quote)}'")
        return "; ".join([*told[:2], self.cause()])

    def of_brands(self, before: Sequence[str], after: Sequence[str]) -> str:
        """Which brands came, went or were counted as another."""
        forms = {merge["name"]: brand.name for brand in self._after.competitors for merge in brand.merged}
        told = [f"'{name}' is counted as {forms[name]}" for name in before if name in forms and name not in after]
        gone = [name for name in before if name not in after and name not in forms]
        come = [name for name in after if name not in before]
        told += [f"'{name}' is no competitor any more" for name in gone[:2]]
        told += [f"'{name}' is a competitor now" for name in come[:2]]
        return "; ".join([*told, self.cause()])

    def of_merges(self, before: Sequence[str], after: Sequence[str]) -> str:
        """Which merges were made or undone."""
        told = [f"merged: {merge}" for merge in after if merge not in before][:2]
        told += [f"kept apart: {merge}" for merge in before if merge not in after][:2]
        return "; ".join([*told, self.cause()])

    def _at(self, span: tuple[int, int]) -> str:
        return str(_short(self._text[span[0] : span[1]]))


_KINDS: Mapping[str, str] = {
    "mention": "a mention",
    "unsure": "a word whose sense is not clear",
    "homonym": "a homonym in another sense",
    "confusable": "part of a phrase that means something else",
    "absence": "a statement of absence",
    "link_label": "a reference's label",
    "lookalike": "a lookalike",
}


def _merges(extraction: Extraction) -> list[str]:
    return [
        f"'{merge['name']}' is {brand.name} ({merge['reason']})"
        for brand in extraction.competitors
        for merge in brand.merged
    ]


def _sources(extraction: Extraction, *, whole: bool) -> list[str]:
    return [
        f"{citation.canonical_url} ({citation.ownership}{f', {citation.site_class}' if whole else ''})"
        for citation in extraction.citations
    ]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """What only one of two lists has; both whole when they differ in their order alone."""
    known, now = set(before), set(after)
    gone, come = [each for each in before if each not in now], [each for each in after if each not in known]
    return (gone, come) if gone or come else (list(before), list(after))


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) < _SAME
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    return bool(left == right)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _EXCERPT:
        return value[: _EXCERPT - 1] + "…"
    return value


def edited_fields(before: Mapping[str, Any], after: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    """Which of these fields of an org, as `to_dict()` has it, differ."""
    return [name for name in fields if (before.get(name) or []) != (after.get(name) or [])]
