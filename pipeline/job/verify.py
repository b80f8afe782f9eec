"""Verifies scores, given by paths: without Spark where this machine reads them and the raw tables.

Comes in: paths. Goes out: a `Verification`. Knows nothing of how scores are judged.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pipeline.errors import SettingError
from pipeline.job.sessions import Sessions
from pipeline.job.texts import report_line
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.prepared import open_graph
from pipeline.report.run_report import RunReport, reads_of
from pipeline.result.inputs import inputs_of
from pipeline.verify import verify
from pipeline.verifying.report import TypedVerification, Verification
from pipeline.verifying.sources import local_graph, local_scores
from pipeline.verifying.typed_sources import local_typed_graph, local_typed_scores


class Verified:
    """What came of it."""

    def __init__(self, found: Verification | TypedVerification, page: RunReport | None, scores: str) -> None:
        self.passed, self._found = found.passed, found
        self._page = None if page is None else page.write(found.facts, Place.of(scores))

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {**self._found.facts, **({"report": self._page} if self._page is not None else {})}

    def __str__(self) -> str:
        return "\n".join([str(self._found), *report_line(self._page)])


def verify_paths(
    graph: str,
    model: str,
    scores: str,
    nodes: str | None,
    edges: str | None,
    sessions: Sessions,
    report: str | None = None,
    **options: Any,
) -> Verified:
    """`nodes` and `edges` in place of the tables that the graph was prepared from; `report`: where a page about it
    goes; `options` are those of `verify`."""
    prepared, loaded = open_graph(graph), Model.load(model)
    page = None
    if report is not None:
        reads = inputs_of(prepared, tables={"nodes": nodes, "edges": edges}, files={"the model": model})
        page = RunReport.asked(report, "verify", reads_of(reads, None, None) | {"the scores": Place.of(scores)})
        page.of(graph_path=graph, model_path=model, scores_path=scores)
        page.model(loaded)
    if prepared.is_typed and (nodes or edges):
        raise SettingError("--nodes and --edges are tables without types, and this graph has several types")
    alone: object = sessions.optional()
    if alone and prepared.is_typed:
        alone = local_typed_scores(scores) and local_typed_graph(prepared)
    elif alone:
        alone = local_scores(scores) and local_graph(prepared, nodes, edges)
    with nullcontext() if alone else sessions.start(False, None) as spark:
        found = verify(prepared, loaded, scores, nodes, edges, spark=spark, **options)
    if page is not None:
        page.graph(prepared)
    return Verified(found, page, scores)
