"""Holistic insights: where a batch's models agree, where they do not, and what to do next.

A model writes them from the measured table alone (never from an answer), and a machine check keeps what the table
holds; without a model, rules write the same sections. Asks no question of a provider and measures nothing.

`table` reduces the metrics to figures · `prompt` asks · `call` is the paid call · `check` drops what is wrong · `rules`
write without a model · `content` is what is kept · `money` tells what it cost · `analyse` puts them together.
"""

from overheard.holistic.analyse import Mode, analyse, claim_name
from overheard.holistic.check import Checked, check
from overheard.holistic.content import Action, Cited, Holistic, Statement
from overheard.holistic.money import holistic_spent
from overheard.holistic.prompt import PROMPT_VERSION
from overheard.holistic.rules import RULES_VERSION
from overheard.holistic.table import Table

__all__ = [
    "PROMPT_VERSION",
    "RULES_VERSION",
    "Action",
    "Checked",
    "Cited",
    "Holistic",
    "Mode",
    "Statement",
    "Table",
    "analyse",
    "check",
    "claim_name",
    "holistic_spent",
]
