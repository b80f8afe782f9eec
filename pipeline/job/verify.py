"""Verifies scores, given by paths: without Spark where this machine reads them and the raw tables.

Comes in: paths. Goes out: a `Verification`. Knows nothing of how scores are judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from pipeline.errors import SettingError
from pipeline.graph import Graph
from pipeline.job.raw_tables import RawTables, columns_for
from pipeline.job.sessions import Sessions
from pipeline.job.texts import report_line
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.prepared import open_graph
from pipeline.report.run_report import RunReport
from pipeline.verify import page_asked, verify
from pipeline.verifying.asked import Asked
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
    source: RawTables | str,
    columns: Mapping[str, Any],
    model: str,
    scores: str,
    nodes: str | None,
    edges: str | None,
    sessions: Sessions,
    report: str | None = None,
    **options: Any,
) -> Verified:
    """Whatever can be refused is, before anything is started.

    Parameters
    ----------
    source
        Raw tables, or the path of a prepared graph, whose manifest knows the tables that it was made of.
    columns
        Of raw tables: options of `Graph`. What they leave out is what the model reads.
    nodes, edges
        Of a prepared graph: in place of the tables that it was prepared from.
    report
        Where a page about it goes: a file or a folder.
    options
        Those of `verify`.
    """
    Asked.of(**options)
    raw = source if isinstance(source, RawTables) else None
    prepared = None if isinstance(source, RawTables) else open_graph(source)
    loaded = Model.load(model)
    page = None
    if report is not None:
        tables = {"nodes": nodes, "edges": edges} if raw is None else raw.tables
        given = {"graph_path": source, "model_path": model, "scores_path": scores}
        page = page_asked(report, prepared, tables, given)
        page.model(loaded)
    if prepared is not None and prepared.is_typed and (nodes or edges):
        raise SettingError("--nodes and --edges are tables without types, and this graph has several types")
    here: Graph | None = None
    meaning = {} if raw is None else columns_for(loaded, columns, raw.spec)
    if sessions.optional():
        typed = prepared.is_typed if prepared is not None else raw is not None and raw.spec is not None
        seen = local_typed_scores(scores) if typed else local_scores(scores) is not None
        if raw is not None:
            here = raw.read_without_spark(**meaning)
        elif prepared is not None:
            here = local_typed_graph(prepared) if typed else local_graph(prepared, nodes, edges)
        here = here if seen else None
    session: Any = nullcontext() if here is not None else sessions.start(False, None)
    with session as spark:
        if raw is not None:
            found = verify(here or raw.read(spark, **meaning), loaded, scores, spark=spark, **options)
        else:
            assert prepared is not None, "one of the two was given"
            found = verify(prepared, loaded, scores, nodes, edges, spark=spark, **options)
    if page is not None and prepared is not None:
        page.graph(prepared)
    return Verified(found, page, scores)
