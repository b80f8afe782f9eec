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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SettingError, StorageError, shortened
from pipeline.formula.program import Program
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.prepared import PreparedGraph
from pipeline.progress import Bar
from pipeline.result.by_type import giving
from pipeline.result.manifest import id_columns
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.run.arguments import given_session, model_of, path_or_table, some_graph
from pipeline.schema import DST, ID, NODE, SRC
from pipeline.spark.resources import local_memory
from pipeline.tables.named import is_name
from pipeline.tables.survey import rows_of
from pipeline.tables.table import Table
from pipeline.verifying.around import Around
from pipeline.verifying.comparison import Comparison
from pipeline.verifying.edges import EdgeRows, sample_edges
from pipeline.verifying.neighbourhood import Hops, Neighbourhoods
from pipeline.verifying.recompute import Rows, Subgraph, edge_columns_read, subgraph_of
from pipeline.verifying.report import TypedVerification, Verification
from pipeline.verifying.rounding import WIRES
from pipeline.verifying.rows import check_rows
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.scores import standard_scores
from pipeline.verifying.semi_join import edge_rows, node_rows
from pipeline.verifying.sources import raw_graph, scores_table
from pipeline.verifying.typed_sources import scores_by_type, typed_graph
from pipeline.verifying.whole import bytes_needed, check_memory, count_edges, everything, totals_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ALL = "all"
GROUP_BYTES = 1 << 31  # what the interpreter may need for one group of the sample
HOLD_BYTES = 1 << 30  # what tables of edges and nodes may take that are collected together


def verify(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    scores: Any,
    nodes: Any = None,
    edges: Any = None,
    sample: int | str = 100,
    seed: int = 0,
    limit: int | None = None,
    spark: SparkSession | None = None,
    tolerance: float | None = None,
    output_id: str | None = None,
) -> Verification | TypedVerification:
    """Recomputes `sample` nodes, chosen by `seed` alone, and compares them with their scores.

    Every value is judged by what rounding to float32 can do to it, which is found by computing the same nodes several
    times in float32; where the result's marker says that numbers were sent in two bytes, that is counted in. The ids of
    the whole table are compared with those of the nodes, whatever the sample.

    Runs jobs; where nobody has a session and all tables are Parquet files that this process sees, it reads them itself.
    For a model that reads totals over all nodes the whole graph is computed at once, in the memory of this machine;
    also where the neighbourhoods of the sample would take more edges than the whole graph has, and half of the memory
    is enough.

    Of a typed graph the scores of each type are verified, as far as there are some; `sample` nodes of each. Of a run
    for targets, which its marker tells, the sample is taken of these, and other nodes have no rows.

    Parameters
    ----------
    graph
        The user's graph, or the prepared one: its manifest knows the tables that it was made of, and their columns.
    scores
        Where `score` wrote, Parquet or CSV, or what `infer` gave, a DataFrame or an Arrow table (pandas and polars
        too), of a typed graph node type → one of these; a lazy one is computed several times, and of one nobody knows
        whether the run sent numbers in two bytes: give the path of such a result, or a tolerance.
    nodes, edges
        The raw tables, as `Graph` takes them, where they are not those of the manifest; of a typed graph type → table.
    sample
        How many nodes; "all" computes the whole graph at once, in the memory of this machine.
    limit
        Edges that are computed with at a time. None: as many as the interpreter needs 2 GB for.
    tolerance
        Error that passes, in parts of the largest value of the column, in place of what rounding explains.
    output_id
        What the ids are called in the scores. None: as the marker of the run says, else as in the node table.
    """
    started = time.perf_counter()
    size = _sample_size(sample)
    if limit is not None and not (_is_whole(limit) and limit >= 1):
        raise SettingError(f"limit is {shortened(limit)}; accepted: a whole number from 1")
    if tolerance is not None and not (isinstance(tolerance, (int, float)) and 0 <= tolerance <= 1):
        raise SettingError(f"tolerance is {shortened(tolerance)}; accepted: a number from 0 to 1")
    if not _is_whole(seed):
        raise SettingError(f"seed is {shortened(seed)}; accepted: a whole number")
    model = model_of(model)
    graph = some_graph(graph)
    given_session(spark)
    if isinstance(graph, PreparedGraph):
        # of the raw tables every direction can be read
        model.check_against(graph.schema.both_ways(), graph.ranges, graph.manifest.get("columns"))
        read = typed_graph if graph.is_typed else raw_graph
        graph = read(graph, path_or_table(nodes), path_or_table(edges), spark)
    model = model.bound_to(graph.describe()["columns"])
    found = path_or_table(scores)
    marker = _marker(found) if isinstance(found, str) else {}
    asked = _Asked(graph, size, seed, limit, tolerance, _wire(marker), _targets(found, marker))
    if model.program.is_per_edge:
        return asked.verified_edges(model, scores_table(graph, found), started)
    ids = id_columns(graph.id_names, marker, output_id)
    if not graph.is_typed:
        frame = _standard(graph, model, NODE, scores_table(graph, found), ids)
        return asked.verified(model, NODE, frame, started)
    tables = scores_by_type(graph, model.program.output_types, found)
    tables = {type: _standard(graph, model, type, frame, ids) for type, frame in tables.items()}
    checked = {}
    for node_type, frame in tables.items():
        checked[node_type] = asked.verified(giving(model, [node_type]), node_type, frame, time.perf_counter())
    left_out = tuple(each for each in model.program.output_types if each not in checked)
    return TypedVerification(checked, left_out)


def _standard(
    graph: Graph, model: Model, node_type: str, scores: DataFrame | Table, ids: Mapping[str, str]
) -> DataFrame | Table:
    """The scores of a type in the form that is verified."""
    widths = {name: value.width for name, value in model.program.outputs_of(node_type).items()}
    (text,) = (layout.text for layout in graph.node_layouts if layout.type == node_type)
    return standard_scores(scores, {ID: ids[node_type]}, widths, text)


@dataclass(frozen=True)
class _Asked:
    """What is to be verified, and how."""

    graph: Graph
    size: int | None
    """Of the sample; None: all."""
    seed: int
    limit: int | None
    tolerance: float | None
    wire: str
    targets: Mapping[str, Any] | None
    """What the marker says of them, if the scores are of some nodes only."""

    def verified(self, model: Model, node_type: str, frame: DataFrame | Table, started: float) -> Verification:
        """Of the scores of the nodes of one type; `model` gives nothing for others."""
        graph = self.graph
        outputs = [*model.program.outputs_of(node_type)]
        (layout,) = (each for each in graph.node_layouts if each.type == node_type)
        classify = {PREDICTED, PROBABILITY} <= set(frame.columns) - set(outputs)
        columns = [*outputs, *([PREDICTED, PROBABILITY] if classify else [])]
        check = check_rows(graph, frame, layout, self.targets)
        size = check.rows if self.size is None else self.size
        sampled = sample_rows(frame, columns, layout.text, size, self.seed)
        ids = pc.unique(sampled[ID])

        hops = Hops.of(model.program)
        most = self.limit or max(1, GROUP_BYTES // _bytes_per_edge(model.program))
        # what a typed graph has at the other end of its edges is of another type, and not looked for
        whole = self.size is None or bool(totals_of(model.program)) or (graph.is_typed and hops.both_ways)
        too_large: list[int | str] = []
        neighbourhoods: Neighbourhoods | None = None
        if whole:
            counts = {each.type: rows_of(graph, each) for each in graph.node_layouts}
            check_memory(graph, model.program, counts)
            parts = _whole(model, graph, node_type, ids, classify)
        else:
            if check.unknown:  # which the check of the rows says; the others are compared, if there are any
                there = node_rows(graph, layout).among(ids, values=False)[ID].combine_chunks()
                known = ids.filter(pc.is_in(ids, value_set=there))
                ids = known if len(known) else ids
            if graph.is_typed:
                around = Around(graph, node_type, model.program.edge_types, hops.edges, most)
                parts, too_large = _around(model, graph, node_type, around, ids, classify), around.too_large
            else:
                held = HOLD_BYTES // _held_bytes(model.program)
                at_once = partial(self._edges_at_once, model, check.nodes)
                neighbourhoods = Neighbourhoods(graph, hops, most, held, at_once)
                parts, too_large = _groups(model, graph, neighbourhoods, ids, classify), neighbourhoods.too_large
        comparison = Comparison(model, node_type, sampled, classify, self.wire, self.tolerance)
        recomputed = touched_nodes = touched_edges = 0
        with Bar("verifying", len(ids), "node") as bar:
            for centres, part in parts:
                comparison.add(centres, part)
                recomputed += len(centres)
                bar.to(recomputed)
                touched_nodes += sum(part.arrays.counts.values())
                touched_edges += sum(len(src) for src, _ in part.arrays.ends.values())
        covered = neighbourhoods is not None and neighbourhoods.rest is not None
        return Verification(
            outputs=comparison.outputs(),
            recomputed=recomputed,
            too_large=tuple(too_large),
            check=check,
            hops=hops.edges,
            nodes=touched_nodes,
            edges=touched_edges,
            limit=most,
            seconds=time.perf_counter() - started,
            whole=whole or covered,
            covered=covered,
            wrong_classes=tuple(comparison.wrong_classes),
            wire=self.wire,
        )

    def verified_edges(self, model: Model, frame: DataFrame | Table, started: float) -> Verification:
        """Of scores that have a row per edge: those of all edges into `size` nodes."""
        graph, read = self.graph, sorted(edge_columns_read(model))
        outputs = [*model.program.outputs]
        classify = {PREDICTED, PROBABILITY} <= set(frame.columns) - set(outputs)
        columns = [*read, *outputs, *([PREDICTED, PROBABILITY] if classify else [])]
        (layout,) = graph.node_layouts
        widths = {name: value.width for name, value in model.program.outputs.items()}
        of_edges = {name: model.inputs[f"edges.{name}"] for name in read}
        frame = standard_scores(frame, {SRC: SRC, DST: DST}, of_edges | widths, layout.text)
        sampled, rows = sample_edges(frame, columns, layout.text, self.size, self.seed)
        edges = EdgeRows(sampled, read)
        nodes, hops = rows_of(graph, layout), Hops.of(model.program)
        there = node_rows(graph, layout).among(edges.nodes, values=False)[ID].combine_chunks()
        edges.leave_out(edges.nodes.filter(pc.invert(pc.is_in(edges.nodes, value_set=there))))
        ids = edges.nodes.filter(pc.is_in(edges.nodes, value_set=there))
        most = self.limit or max(1, GROUP_BYTES // _bytes_per_edge(model.program))
        too_large: list[int | str] = []
        neighbourhoods: Neighbourhoods | None = None
        whole = self.size is None or bool(totals_of(model.program))
        if whole:
            check_memory(graph, model.program, {NODE: nodes})
            ids = everything(graph).nodes[NODE] if self.size is None else ids
            parts = _whole(model, graph, NODE, ids, classify)
        else:
            held = HOLD_BYTES // _held_bytes(model.program)
            neighbourhoods = Neighbourhoods(graph, hops, most, held, partial(self._edges_at_once, model, nodes))
            parts, too_large = _groups(model, graph, neighbourhoods, ids, classify), neighbourhoods.too_large
        comparison = Comparison(model, NODE, sampled, classify, self.wire, self.tolerance)
        recomputed = compared = touched_nodes = touched_edges = 0
        for centres, part in parts:
            matched, names, some = edges.matched(centres, part)
            comparison.compare(matched, names, some)
            recomputed, compared = recomputed + len(centres), compared + len(names)
            touched_nodes += sum(part.arrays.counts.values())
            touched_edges += sum(len(src) for src, _ in part.arrays.ends.values())
        expected = None if graph.drop_dangling else edge_rows(graph, False).total()
        covered = neighbourhoods is not None and neighbourhoods.rest is not None
        return Verification(
            outputs=comparison.outputs(),
            recomputed=recomputed,
            too_large=tuple(too_large),
            check=edges.check(rows, expected),
            hops=hops.edges,
            nodes=touched_nodes,
            edges=touched_edges,
            limit=most,
            seconds=time.perf_counter() - started,
            whole=whole or covered,
            covered=covered,
            wrong_classes=tuple(comparison.wrong_classes),
            compared_edges=compared,
            wire=self.wire,
        )

    def _edges_at_once(self, model: Model, nodes: int) -> int | None:
        """Of the whole graph of one type, if the user did not limit what is computed at a time, and half of the memory
        is enough: nobody asked for all of it."""
        edges = count_edges(self.graph)
        fits = self.limit is None and 2 * bytes_needed(model.program, {NODE: nodes}, edges) <= local_memory()
        return sum(edges.values()) if fits else None


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _sample_size(sample: int | str) -> int | None:
    """None for all."""
    if sample == ALL:
        return None
    if isinstance(sample, str) and sample.isascii() and sample.isdigit():
        sample = int(sample)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise SettingError(f"sample is {sample}; accepted: a whole number from 1, or all")
    return sample


def _marker(scores: str) -> Mapping[str, Any]:
    """What the run says of its result; nothing where there is no marker."""
    at = None if is_name(scores) else opened(Place.of(scores))
    return (read_marker(at) if at is not None else None) or {}


def _wire(marker: Mapping[str, Any]) -> str:
    """In what format the run sent numbers; float32 if it does not say."""
    settings = marker.get("settings")
    wire = settings.get("wire") if isinstance(settings, dict) else None
    return wire if isinstance(wire, str) and wire in WIRES else "float32"


def _targets(scores: Any, marker: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Which nodes were wanted; None if all were."""
    targets = marker.get("targets")
    if targets is None:
        return None
    if not isinstance(targets, dict) or not isinstance(targets.get("rows"), int) or "ids" not in targets:
        raise StorageError(f"{scores}: its marker is damaged: targets is {shortened(targets)}")
    return targets


def _groups(
    model: Model, graph: Graph, neighbourhoods: Neighbourhoods, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group, features in neighbourhoods.groups(ids):
        rows = Rows.untyped(group.nodes, group.edges, features)
        yield group.centres, subgraph_of(model, graph, rows, group.centres, classify)
    if neighbourhoods.rest is not None:
        yield from _whole(model, graph, NODE, neighbourhoods.rest, classify)


def _around(
    model: Model, graph: Graph, node_type: str, around: Around, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group in around.groups(ids):
        yield group.centres, subgraph_of(model, graph, group.rows, group.centres, classify, node_type)


def _whole(
    model: Model, graph: Graph, node_type: str, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    rows = everything(graph)
    # the others are unknown, which the check of the rows says
    ids = ids.filter(pc.is_in(ids, value_set=rows.nodes[node_type]))
    yield ids, subgraph_of(model, graph, rows, ids, classify, node_type)


def _bytes_per_edge(program: Program) -> int:
    """What the interpreter holds in the worst case, that every edge has a source of its own: all values, in float64."""
    return 8 * sum(value.width for value in program.values if not value.is_weight) or 8


def _held_bytes(program: Program) -> int:
    """What an edge takes in tables, and, at worst, a node of its own with its features."""
    return 24 + 4 * sum(math.prod(column.shape) for column in program.inputs)
