"""Verification: some nodes, or all, computed again by the textbook, straight from the raw tables, and compared with the
scores.

Comes in: a graph's tables, a model, scores. Goes out: a `Verification` that says how far they are apart. Knows nothing
of blocks and tiles: it runs the program as its author wrote it, in NumPy, in float64, on the sampled nodes' whole
neighbourhood. What it shares with the thing it verifies is the program and the meaning of the tables' columns; for the
size of rounding errors alone it asks which program is run (verifying/rounding.py).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError, SettingError
from pipeline.formula.program import Program
from pipeline.graph import Graph, PreparedGraph
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.run.arguments import given_session, model_of, path_or_table, some_graph
from pipeline.schema import ID
from pipeline.spark.resources import local_memory
from pipeline.verifying.judging import MORE_TRIALS, TRIALS, Judged, OutputError, joined
from pipeline.verifying.neighbourhood import Hops, Neighbourhoods
from pipeline.verifying.recompute import FloatArray, Subgraph, subgraph_of
from pipeline.verifying.report import Verification
from pipeline.verifying.rounding import WIRES, Trials
from pipeline.verifying.rows import check_rows
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.semi_join import node_rows
from pipeline.verifying.sources import raw_graph, refuse_typed, scores_table
from pipeline.verifying.whole import bytes_needed, check_memory, count_edges, everything, totals_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ALL = "all"
GROUP_BYTES = 1 << 31  # what the interpreter may need for one group of the sample
HOLD_BYTES = 1 << 30  # what tables of edges and nodes may take that are collected together


def verify(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    scores: DataFrame | str | os.PathLike[str],
    nodes: DataFrame | str | os.PathLike[str] | None = None,
    edges: DataFrame | str | os.PathLike[str] | None = None,
    sample: int | str = 100,
    seed: int = 0,
    limit: int | None = None,
    spark: SparkSession | None = None,
    tolerance: float | None = None,
) -> Verification:
    """Recomputes `sample` nodes, chosen by `seed` alone, and compares them with their scores.

    Every value is judged by what rounding to float32 can do to it, which is found by computing the same nodes several
    times in float32; where the result's marker says that numbers were sent in two bytes, that is counted in. The ids of
    the whole table are compared with those of the nodes, whatever the sample.

    Runs jobs; where nobody has a session and all tables are Parquet files that this process sees, it reads them itself.
    For a model that reads totals over all nodes the whole graph is computed at once, in the memory of this machine;
    also where the neighbourhoods of the sample would take more edges than the whole graph has, and half of the memory
    is enough.

    Parameters
    ----------
    graph
        The user's graph, or the prepared one: its manifest knows the tables that it was made of, and their columns.
    scores
        Where `infer` wrote, or its DataFrame; a lazy one is computed several times, and of one nobody knows whether
        the run sent numbers in two bytes: give the path of such a result, or a tolerance.
    nodes, edges
        The raw tables, where they are not those of the manifest.
    sample
        How many nodes; "all" computes the whole graph at once, in the memory of this machine.
    limit
        Edges that are computed with at a time. None: as many as the interpreter needs 2 GB for.
    tolerance
        Error that passes, in parts of the largest value of the column, in place of what rounding explains.
    """
    started = time.perf_counter()
    size = _sample_size(sample)
    if limit is not None and limit < 1:
        raise SettingError(f"limit is {limit}; accepted: a whole number from 1")
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise SettingError(f"tolerance is {tolerance}; accepted: a number from 0 to 1")
    model = model_of(model)
    graph = some_graph(graph)
    refuse_typed(graph)
    given_session(spark)
    if isinstance(graph, PreparedGraph):
        # of the raw tables every direction can be read
        model.check_against(graph.schema.both_ways(), graph.ranges, graph.manifest.get("columns"))
        graph = raw_graph(graph, path_or_table(nodes), path_or_table(edges), spark)
    model = model.bound_to(graph.describe()["columns"])
    found = path_or_table(scores)
    frame = scores_table(graph, found) if isinstance(found, str) else found
    classify = {PREDICTED, PROBABILITY} <= set(frame.columns) - set(model.outputs)
    columns = [*model.outputs, *([PREDICTED, PROBABILITY] if classify else [])]
    check = check_rows(graph, frame)
    sampled = sample_rows(frame, columns, graph.node_layout.text, check.rows if size is None else size, seed)
    ids = pc.unique(sampled[ID])

    whole = size is None or bool(totals_of(model.program))
    hops = Hops.of(model.program)
    most = limit or max(1, GROUP_BYTES // _bytes_per_edge(model.program))

    def edges_at_once() -> int | None:
        """Of the whole graph, if the user did not limit what is computed at a time, and half of the memory is enough:
        nobody asked for all of it."""
        edges = count_edges(graph)
        fits = limit is None and 2 * bytes_needed(model.program, check.nodes, edges) <= local_memory()
        return edges if fits else None

    neighbourhoods = Neighbourhoods(graph, hops, most, HOLD_BYTES // _held_bytes(model.program), edges_at_once)
    if whole:
        check_memory(graph, model.program, check.nodes)
        parts = _whole(model, graph, ids, classify)
    else:
        if check.unknown:  # which the check of the rows says; the others are compared, if there are any
            known = ids.filter(pc.is_in(ids, value_set=node_rows(graph).among(ids, values=False)[ID].combine_chunks()))
            ids = known if len(known) else ids
        parts = _groups(model, graph, neighbourhoods, ids, classify)
    wire = _wire(found) if isinstance(found, str) else "float32"
    comparison = _Comparison(model, sampled, classify, wire, tolerance)
    recomputed = touched_nodes = touched_edges = 0
    for centres, part in parts:
        comparison.add(centres, part)
        recomputed += len(centres)
        touched_nodes += next(iter(part.arrays.counts.values()))
        touched_edges += sum(len(src) for src, _ in part.arrays.ends.values())
    covered = neighbourhoods.rest is not None
    return Verification(
        outputs=comparison.outputs(),
        recomputed=recomputed,
        too_large=tuple(neighbourhoods.too_large),
        check=check,
        hops=hops.edges,
        nodes=touched_nodes,
        edges=touched_edges,
        limit=most,
        seconds=time.perf_counter() - started,
        whole=whole or covered,
        covered=covered,
        wrong_classes=tuple(comparison.wrong_classes),
        wire=wire,
    )


def _sample_size(sample: int | str) -> int | None:
    """None for all."""
    if sample == ALL:
        return None
    if isinstance(sample, str) and sample.isascii() and sample.isdigit():
        sample = int(sample)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise SettingError(f"sample is {sample}; accepted: a whole number from 1, or all")
    return sample


def _wire(scores: str) -> str:
    """In what format the run sent numbers, which its marker says; float32 where there is none."""
    at = opened(Place.of(scores))
    facts: Mapping[str, Any] = (read_marker(at) if at is not None else None) or {}
    settings = facts.get("settings")
    wire = settings.get("wire") if isinstance(settings, dict) else None
    return wire if isinstance(wire, str) and wire in WIRES else "float32"


def _groups(
    model: Model, graph: Graph, neighbourhoods: Neighbourhoods, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group, features in neighbourhoods.groups(ids):
        yield group.centres, subgraph_of(model, graph, group.nodes, group.edges, features, group.centres, classify)
    if neighbourhoods.rest is not None:
        yield from _whole(model, graph, neighbourhoods.rest, classify)


def _whole(model: Model, graph: Graph, ids: pa.Array, classify: bool) -> Iterator[tuple[pa.Array, Subgraph]]:
    nodes, edges, features = everything(graph)
    ids = ids.filter(pc.is_in(ids, value_set=nodes))  # the others are unknown, which the check of the rows says
    yield ids, subgraph_of(model, graph, nodes, edges, features, ids, classify)


def _bytes_per_edge(program: Program) -> int:
    """What the interpreter holds in the worst case, that every edge has a source of its own: all values, in float64."""
    return 8 * sum(value.width for value in program.values if not value.is_weight) or 8


def _held_bytes(program: Program) -> int:
    """What an edge takes in tables, and, at worst, a node of its own with its features."""
    return 24 + 4 * sum(math.prod(column.shape) for column in program.inputs)


@dataclass
class _Comparison:
    """Group by group, the scores against exact values."""

    model: Model
    sampled: pa.Table
    classify: bool
    wire: str
    tolerance: float | None
    ids: list[int | str] = field(default_factory=list)
    wrong_classes: list[int | str] = field(default_factory=list)
    _judged: dict[str, list[Judged]] = field(default_factory=dict)

    def add(self, centres: pa.Array, subgraph: Subgraph) -> None:
        # where an id has several rows, the first counts
        rows = self.sampled.take(pc.index_in(centres, value_set=self.sampled[ID].combine_chunks()))
        exact = subgraph.run(self.model.program, self.model.weights, np.float64)
        scores = {name: _scores(rows, name, values) for name, values in exact.items()}
        self.ids += centres.to_pylist()
        judged = self._judge(subgraph, scores, exact)
        for name, values in judged.items():
            self._judged.setdefault(name, []).append(values)
        if self.classify:
            first = next(iter(self.model.outputs))
            predicted = rows[PREDICTED].to_numpy()
            self.wrong_classes += [centres[int(at)].as_py() for at in _wrong(predicted, judged[first], self.tolerance)]

    def _judge(
        self, subgraph: Subgraph, scores: Mapping[str, FloatArray], exact: Mapping[str, FloatArray]
    ) -> dict[str, Judged]:
        if self.tolerance is not None:
            return {name: Judged.of(scores[name], values, None) for name, values in exact.items()}
        trials = Trials(self.model, self.wire)
        found = trials.of(subgraph, TRIALS)
        judged = {name: Judged.of(scores[name], values, found[name]) for name, values in exact.items()}
        if all((values.units <= 1).all() for values in judged.values()):
            return judged
        found = trials.of(subgraph, MORE_TRIALS, TRIALS)  # others than the first ones
        more = {name: Judged.of(scores[name], values, found[name]) for name, values in exact.items()}
        return {name: values.wider(more[name]) for name, values in judged.items()}

    def outputs(self) -> tuple[OutputError, ...]:
        names = [*self.model.outputs, *([PROBABILITY] if self.classify else [])]
        return tuple(
            OutputError.of(name, joined(self._judged[name]), self.ids, self.tolerance)
            if name in self._judged
            else OutputError(name, 0.0, 0.0, None)
            for name in names
        )


def _scores(rows: pa.Table, name: str, expected: FloatArray) -> FloatArray:
    column = rows[name]
    found = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if len(found) != expected.size:
        lanes = len(found) / max(1, len(rows))
        raise DataError(f"the scores' {name} has {lanes:g} columns; the model gives {expected.shape[1]}")
    return np.asarray(found.to_numpy(), np.float64).reshape(expected.shape)


def _wrong(predicted: FloatArray, judged: Judged, tolerance: float | None) -> np.ndarray[Any, Any]:
    """Rows whose class is not the most probable one: its value is below the largest by more than the bounds of both.
    Where a value is NaN, NumPy's argmax is what counts, as in the run."""
    exact, bound = judged.exact, (judged if tolerance is None else judged.scaled(tolerance)).bound
    lanes = exact.shape[1]
    at = np.arange(len(exact))
    classes = np.asarray(predicted, np.float64)
    possible = (classes >= 0) & (classes < lanes) & (classes == np.floor(classes))
    chosen = np.where(possible, classes, 0).astype(np.int64)
    best = exact.argmax(axis=1)
    with np.errstate(invalid="ignore"):
        near = exact[at, chosen] + bound[at, chosen] >= exact[at, best] - bound[at, best]
    return np.flatnonzero(~(possible & (near | (chosen == best))))
