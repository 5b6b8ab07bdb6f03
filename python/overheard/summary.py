"""What a start gave, in numbers: a person reads them at the end, a program from `--json`. Computes nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any


def dollars(micro_usd: int) -> str:
    """Micro-dollars as dollars with six decimals: `0.150000`."""
    return f"{Decimal(micro_usd) / 1_000_000:.6f}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The batch's totals over all its starts, except `requests_made` and `over_reserved_micro_usd`.

    Attributes:
        batch_id: The batch.
        org_id: The org.
        status: `complete`, `partial` or `running`.
        total: Cells of the batch.
        processed: Terminal question runs.
        answered: Question runs with an answer.
        failed: Question runs that failed.
        evaluations: Stored org evaluations.
        citations: Stored citation rows.
        competitors: Stored competitor rows.
        total_cost_micro_usd: Charges of answers, extractions and what belongs to no cell (name variations).
        charged_failures_micro_usd: The part of it that question runs and extractions were charged that failed.
        held_micro_usd: The part of `maybe_charged_micro_usd` that held submissions may have cost: the journal knows
            them, no row does.
        over_reserved_micro_usd: The part of it that this start was charged above what it had reserved.
        maybe_charged_micro_usd: Charges that cannot be confirmed, apart.
        unpriced: Question runs and extractions whose charge is not known; against `max_cost` each counts as the
            most it can have been.
        requests_made: HTTP requests of this start.
        interrupted: The run was stopped on request before it was done.
        simulated: A simulator answered, no engine.
        processing_errors: The first 100 errors, each with `kind`, `message` and `context`.
        processing_error_count: All errors, counted.
    """

    batch_id: str
    org_id: str
    status: str
    total: int = 0
    processed: int = 0
    answered: int = 0
    failed: int = 0
    evaluations: int = 0
    citations: int = 0
    competitors: int = 0
    total_cost_micro_usd: int = 0
    charged_failures_micro_usd: int = 0
    held_micro_usd: int = 0
    over_reserved_micro_usd: int = 0
    maybe_charged_micro_usd: int = 0
    unpriced: int = 0
    requests_made: int = 0
    interrupted: bool = False
    simulated: bool = False
    processing_errors: tuple[Mapping[str, Any], ...] = ()
    processing_error_count: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, simulated: bool = False) -> Summary:
        """From what the engine sends; names it does not know are left out, so that an engine may say more."""
        known = {entry.name for entry in fields(cls)} - {"simulated", "processing_errors"}
        values = {name: value for name, value in data.items() if name in known and value is not None}
        errors = tuple(data.get("processing_errors") or ())
        return cls(simulated=simulated, processing_errors=errors, **values)

    @property
    def total_cost(self) -> str:
        """Dollars with six decimals."""
        return dollars(self.total_cost_micro_usd)

    @property
    def complete(self) -> bool:
        """True when every model run of the batch completed."""
        return self.status == "complete"

    def line(self) -> str:
        """The closing line people search for."""
        return (
            f"Question matrix completed: {self.processed} processed, {self.evaluations} evaluations, "
            f"{self.citations} citations, {self.competitors} competitors, ${self.total_cost} total cost"
        )

    def money_lines(self) -> list[str]:
        """What a person must know of the cost beyond its sum; empty on a good day."""
        lines = []
        if self.charged_failures_micro_usd:
            lines.append(f"Of that, for what failed: ${dollars(self.charged_failures_micro_usd)}")
        if self.over_reserved_micro_usd:
            lines.append(f"Of that, above what was reserved in this start: ${dollars(self.over_reserved_micro_usd)}")
        if self.maybe_charged_micro_usd:
            lines.append(f"Perhaps charged beyond that, not confirmed: ${dollars(self.maybe_charged_micro_usd)}")
        if self.held_micro_usd:
            lines.append(f"Of that, for submissions that are held: ${dollars(self.held_micro_usd)}")
        if self.unpriced:
            lines.append(f"Charges not known, because the reply named no usage: {self.unpriced} (not in the sum)")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Every field and `total_cost`, ready for JSON."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain["processing_errors"] = [dict(error) for error in self.processing_errors]
        plain["total_cost"] = self.total_cost
        return plain
