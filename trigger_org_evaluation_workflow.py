#!/usr/bin/env python3
"""Evaluate one org, or every org of the store, in one command.

    python trigger_org_evaluation_workflow.py acme
    python trigger_org_evaluation_workflow.py demo --simulate
    python trigger_org_evaluation_workflow.py --orgs-file orgs.yaml --parallel 3
    python trigger_org_evaluation_workflow.py --run-id RUN_ID        # one row of geo_runs, whoever inserted it

It is `overheard run`: name variations, the matrix of questions, models and locations, extraction, a summary with its
cost. An interrupted batch is continued; `--new` forces a new one. Keys and stores come from the environment or `.env`.
"""

from overheard.cli.app import script

if __name__ == "__main__":
    script(doc=__doc__)
