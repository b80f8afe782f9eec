"""The page of `explain`: a plan as a drawing, its exchanges, and what became of each rewrite.

Comes in: facts of `explain`, a plan, counts. Goes out: text. The facts are those that `--json` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.seconds import about
from pipeline.report.diagram import drawing
from pipeline.report.page import render, safe
from pipeline.report.page_file import marks
from pipeline.report.versions import versions


def plan_page(facts: Mapping[str, Any], plan: Plan, counts: Counts, text: str) -> str:
    """`text`: what `explain` says in words."""
    seconds = [about(step["seconds"]) for step in facts["supersteps"]]
    drawn = drawing(plan, counts, seconds)
    return render("plan.html.j2", facts, d=drawn, text=text, versions=versions(), marks=safe(marks(None)))
