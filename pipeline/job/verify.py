"""Verifies scores, given by paths: without Spark where this machine reads them and the raw tables.

Comes in: paths. Goes out: a `Verification`. Knows nothing of how scores are judged.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pipeline.errors import SettingError
from pipeline.job.sessions import Sessions
from pipeline.model import Model
from pipeline.prepared import open_graph
from pipeline.verify import verify
from pipeline.verifying.report import TypedVerification, Verification
from pipeline.verifying.sources import local_graph, local_scores
from pipeline.verifying.typed_sources import local_typed_graph, local_typed_scores


def verify_paths(
    graph: str, model: str, scores: str, nodes: str | None, edges: str | None, sessions: Sessions, **options: Any
) -> Verification | TypedVerification:
    """`nodes` and `edges` in place of the tables that the graph was prepared from; `options` are those of `verify`."""
    prepared, loaded = open_graph(graph), Model.load(model)
    if prepared.is_typed and (nodes or edges):
        raise SettingError("--nodes and --edges are tables without types, and this graph has several types")
    alone: object = sessions.optional()
    if alone and prepared.is_typed:
        alone = local_typed_scores(scores) and local_typed_graph(prepared)
    elif alone:
        alone = local_scores(scores) and local_graph(prepared, nodes, edges)
    with nullcontext() if alone else sessions.start(False, None) as spark:
        return verify(prepared, loaded, scores, nodes, edges, spark=spark, **options)
