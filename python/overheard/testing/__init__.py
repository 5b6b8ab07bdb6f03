"""For test suites of users: the suite `store_contract`, makers of records; through pytest the fixture `simulator`."""

from __future__ import annotations

from overheard.cli.simulated import SIMULATED_POLLS as FAST
from overheard.testing.contract import CLAUSES, check_store, store_contract
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run

__all__ = [
    "CLAUSES",
    "FAST",
    "check_store",
    "make_batch",
    "make_extraction",
    "make_model_run",
    "make_question_run",
    "store_contract",
]
