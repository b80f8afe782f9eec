"""What the functions of the library are given: the kinds that each argument may be, and what else is told.

Comes in: arguments of infer, prepare, explain, verify, score, and of what they take. Goes out: the same, opened or as
text where they are paths; or an error of one sentence that says what is expected. One function for each kind, so that
each is refused in the same words everywhere. Knows nothing of what is done with them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError, ModelError, SettingError, shortened
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.prepared import PreparedGraph, open_graph

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENDED = "the session of this DataFrame has ended: read the table again with the new session"
GRAPHS = "a Graph is expected: Graph(nodes, edges), or Graph.read(spark, nodes, edges) of paths"


def model_of(model: Any) -> Model:
    """A model, or the one that is saved at a path."""
    if isinstance(model, Model):
        return model
    if isinstance(model, str | os.PathLike):
        return Model.load(model)
    hint = "; Model.from_pyg makes one of a PyTorch Geometric module" if hasattr(model, "state_dict") else ""
    raise ModelError(f"a Model, or the path of a saved one, is expected, not {_kind(model)}{hint}")


def prepared_of(graph: Any, what: str) -> PreparedGraph:
    """A prepared graph, or the one at a path. `what`: who wants it."""
    if isinstance(graph, PreparedGraph):
        return graph
    if isinstance(graph, str | os.PathLike):
        return open_graph(graph)
    if isinstance(graph, Graph):
        raise DataError(f"{what} takes a prepared graph: prepare first, {what}(prepare(graph, path), …)")
    raise DataError(f"{what} takes a prepared graph, or the path of one, not {_kind(graph)}: prepare first")


def graph_of(graph: Any) -> Graph:
    """Raw tables, whose session is alive."""
    if not isinstance(graph, Graph):
        path = "; the path of a prepared graph is prepared already" if isinstance(graph, str | os.PathLike) else ""
        raise DataError(f"{GRAPHS}; not {_kind(graph)}{path}")
    check_session(graph.session, ENDED)
    return graph


def some_graph(graph: Any) -> Graph | PreparedGraph:
    """Raw tables, a prepared graph, or the one at a path."""
    if isinstance(graph, PreparedGraph):
        return graph
    if isinstance(graph, str | os.PathLike):
        return open_graph(graph)
    return graph_of(graph)


def path_or_table(table: Any) -> Any:
    """A path as text; anything else as it is."""
    return os.fspath(table) if isinstance(table, os.PathLike) else table


def check_session(spark: SparkSession | None, ended: str) -> None:
    """DataError, in the words of `ended`, if the session was stopped; no job is started to find out."""
    if spark is None:
        return
    if not hasattr(spark, "range"):
        raise SettingError(f"spark is {_kind(spark)}; a SparkSession is expected")
    try:
        _ = spark.range(1).columns
    except Exception:  # of a stopped session: an AttributeError within PySpark, or what Spark Connect makes of it
        raise DataError(ended) from None


def given_session(spark: SparkSession | None) -> SparkSession | None:
    """A session that was passed, alive."""
    check_session(spark, "the session that is given as spark= has ended: pass one that is active")
    return spark


def _kind(item: Any) -> str:
    kind = type(item)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "None" if item is None else f"{shortened(item)} ({name})" if isinstance(item, str | int | float) else name
