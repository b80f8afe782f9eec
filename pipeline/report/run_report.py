"""The report of a run: facts collected while it runs, a page when it has ended.

Comes in: what the command was given; the graph, the model and the plan as soon as they are known. Goes out: facts,
and a file. The facts of the page are those that `--json` says: the command's own, and these under "report".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.errors import StorageError
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.plan.counts import Counts
from pipeline.plan.explain import plan_facts
from pipeline.plan.skew import skew_lines
from pipeline.prepared import PreparedGraph
from pipeline.report.graph_facts import block_facts, degree_facts
from pipeline.report.libraries import require_libraries
from pipeline.report.page import run_page
from pipeline.report.page_file import PageFile
from pipeline.report.score_facts import score_facts
from pipeline.report.versions import versions
from pipeline.run.planned import Planned
from pipeline.run.transport import transport_of
from pipeline.settings import Settings

Path = str | os.PathLike[str]


def reads_of(inputs: Mapping[str, Place], output: Place | None, settings: Settings | None) -> dict[str, Place]:
    """What a page must not touch: what is read, and what else is written."""
    others = {} if output is None else {"the output": output}
    if settings is not None and settings.work_dir is not None:
        others["the work directory"] = Place.of(settings.work_dir)
    return {**inputs, **others}


KEYS = (
    "path", "created", "tables", "graph_path", "model_path", "scores_path", "graph", "model", "settings", "versions",
    "transport", "threads", "targets", "forecast", "skew", "blocks", "degrees", "scores",
)  # fmt: skip


class RunReport:
    """Of one run."""

    def __init__(self, page: PageFile, command: str) -> None:
        self._page, self._command = page, command
        self._facts: dict[str, Any] = dict.fromkeys(KEYS) | {"path": page.path, "versions": versions()}

    @staticmethod
    def asked(given: Path, command: str, reads: Mapping[str, Place]) -> RunReport:
        """Before any work: SettingError or StorageError if it cannot be made, or cannot go there; see PageFile."""
        require_libraries()
        return RunReport(PageFile.asked(given, command, reads), command)

    def of(self, **paths: Path | None) -> None:
        """What the command was given: graph_path, model_path, scores_path."""
        self._facts |= {name: None if path is None else os.fspath(path) for name, path in paths.items()}

    def tables(self, tables: Mapping[str, Path | None]) -> None:
        """Raw tables → their paths, of a graph that is prepared for the run."""
        self._facts["tables"] = {name: os.fspath(path) for name, path in tables.items() if path is not None}

    def graph(self, graph: PreparedGraph) -> None:
        """The graph, while its blocks can be read."""
        self._facts |= {"graph": graph.facts, "blocks": block_facts(graph), "degrees": degree_facts(graph)}

    def model(self, model: Model) -> None:
        self._facts["model"] = model.facts

    def settings(self, settings: Settings) -> None:
        self._facts["settings"] = asdict(settings)

    def planned(self, planned: Planned, settings: Settings) -> None:
        """What is going to run."""
        sends, _ = transport_of(planned, settings)
        plan, manifest = planned.plan, planned.graph.manifest
        self._facts |= {
            "transport": sends,
            "threads": planned.threads,
            "targets": None if planned.targets is None else planned.targets.count,
            "forecast": plan_facts(plan, manifest, planned.choice, planned.threads, sends),
            "skew": skew_lines(plan, Counts.of(manifest)),
        }
        self.settings(settings)
        self.graph(planned.graph)

    def write(self, facts: Mapping[str, Any], scores: Place | None = None) -> dict[str, Any]:
        """Makes the page; returns the facts that only it has. `facts`: those of the command; `scores`: where they are.

        Of a run that had been done already the page stays that it left itself.

        Raises
        ------
        StorageError
            If the page cannot be written. The run's own result is in place then.
        """
        self._facts["created"] = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        if scores is not None:
            self._facts["scores"] = score_facts(scores)
        if not (facts.get("skipped") and self._page.holds(str(facts.get("run") or ""))):
            try:
                self._page.write(run_page(self._command, {**facts, "report": self._facts}))
            except StorageError as error:
                raise StorageError(f"{error}. The {RESULTS[self._command]}; only the report is missing") from error
        return self._facts


RESULTS = {
    "infer": "scores are whole and in place",
    "prepare": "graph is whole and in place",
    "verify": "scores were verified",
}
