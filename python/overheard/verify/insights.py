"""I8 of holistic insights: a row is well-formed, its revision is one that was claimed, and its money adds up.

Does not measure again: whether a statement holds was checked when it was written, against the answers of that time.
"""

from __future__ import annotations

import json
from typing import Any

from overheard.batch import BatchInsights
from overheard.holistic import Holistic, claim_name
from overheard.holistic.money import spent_of
from overheard.verify.reading import Kept, Reader

_COLUMNS = "batch_id, revision, org_id, model, prompt_version, content, cost_micro_usd, maybe_charged_micro_usd"


async def insights_are_sound(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """Looks at every revision of the batch's holistic insights."""
    found = await reader.rows(
        # Only names of our own columns stand in the text.
        f"SELECT {_COLUMNS} FROM geo_batch_insights WHERE batch_id = ? ORDER BY revision",  # noqa: S608
        kept.batch_id,
    )
    claimed = await reader.rows("SELECT revision FROM claims WHERE name = ?", claim_name(kept.batch_id))
    revisions = {row["revision"] for row in claimed}
    before = (0, 0)
    for row in found:
        what = f"holistic insights, revision {row['revision']}"
        # A store of a user's own may keep its claims elsewhere.
        if revisions and row["revision"] not in revisions:
            return len(found), f"{what}: no claim has this revision", None
        try:
            before = _checked(row, before)
        except ValueError as error:
            return len(found), f"{what}: {error}", None
    return len(found), None, None


def _checked(row: dict[str, Any], before: tuple[int, int]) -> tuple[int, int]:
    """What was spent up to this row.

    Raises:
        ValueError: Something of the row does not fit.
    """
    content = json.loads(row["content"])
    insights = BatchInsights(**row | {"content": content})
    if min(insights.cost_micro_usd or 0, insights.maybe_charged_micro_usd) < 0:
        raise ValueError("it costs less than nothing")
    holistic = Holistic.from_dict(content)
    for name in ("revision", "model", "prompt_version", "cost_micro_usd"):
        if getattr(holistic, name) != getattr(insights, name):
            raise ValueError(f"the content's {name} is not the row's")
    spent = spent_of(insights)
    own = (insights.cost_micro_usd or 0, insights.maybe_charged_micro_usd)
    if spent != (before[0] + own[0], before[1] + own[1]):
        raise ValueError("what it says of earlier revisions' cost is not what their rows say")
    return spent
