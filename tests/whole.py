"""Whole graphs for tests: the same awkward graph as tables, as blocks, and as arrays for the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.blocks.block import Block
from pipeline.formula import GraphArrays
from pipeline.graph import Graph
from pipeline.plan.plan import Plan
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.spark.session import frame_of_arrow
from tests.formulas import WIDTH

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Whole:
    ids: list[Any]
    src: np.ndarray
    """(e,) rows of `ids`."""
    dst: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    attr: np.ndarray
    made: dict[Any, list[Block]] = field(default_factory=dict, repr=False, compare=False)
    """Blocks, which nobody writes to; to cut a graph takes longer than most formulas on it."""

    def arrays(self) -> GraphArrays:
        return GraphArrays.single(self.src, self.dst, self.x, weight=self.weight, attr=self.attr)

    def nodes(self) -> pa.Table:
        kind = pa.string() if self.ids and isinstance(self.ids[0], str) else pa.int64()
        return pa.table({"id": pa.array(self.ids, kind), "x": pa.array(list(self.x), pa.list_(pa.float32()))})

    def edges(self) -> pa.Table:
        ids = self.nodes()["id"].combine_chunks()
        return pa.table(
            {
                "src": ids.take(pa.array(self.src)),
                "dst": ids.take(pa.array(self.dst)),
                "weight": pa.array(self.weight),
                "attr": pa.array(list(self.attr), pa.list_(pa.float32())),
            }
        )

    def graph(self, spark: SparkSession, edge_features: Sequence[str] = ("weight", "attr"), **options: bool) -> Graph:
        """As Spark's tables."""
        nodes, edges = (frame_of_arrow(spark, table) for table in (self.nodes(), self.edges()))
        return Graph(nodes, edges, edge_features=edge_features, **options)

    def blocks(self, count: int, **options: bool) -> list[Block]:
        key = count, *sorted(options.items())
        if key not in self.made:
            columns = ["weight", "attr"]
            self.made[key] = blocks_from_tables(self.nodes(), self.edges(), count, edge_features=columns, **options)
        return list(self.made[key])

    def shuffled(self, seed: int) -> Whole:
        rng = np.random.default_rng(seed)
        nodes, edges = rng.permutation(len(self.ids)), rng.permutation(len(self.src))
        place = np.argsort(nodes)
        return Whole(
            [self.ids[i] for i in nodes],
            place[self.src[edges]],
            place[self.dst[edges]],
            self.x[nodes],
            self.weight[edges],
            self.attr[edges],
        )


def _whole(ids: list[Any], src: Any, dst: Any) -> Whole:
    rng = np.random.default_rng(3)
    src, dst = np.asarray(src, np.int64), np.asarray(dst, np.int64)
    loops = {int(i): k for k, i in enumerate(src) if src[k] == dst[k]}
    weight = (rng.random(len(src)) + 0.1).astype(np.float32)
    for k, node in enumerate(src):  # parallel self-loops with different weights have no defined last one
        if src[k] == dst[k]:
            weight[k] = weight[loops[int(node)]]
    attr = rng.standard_normal((len(src), 3)).astype(np.float32)
    return Whole(ids, src, dst, rng.standard_normal((len(ids), WIDTH)).astype(np.float32), weight, attr)


@cache
def whole(kind: str) -> Whole:
    """One of GRAPHS, or "skewed"."""
    rng = np.random.default_rng(7)
    if kind == "no edges":
        return _whole(list(range(5)), [], [])
    if kind == "one node":
        return _whole([-7], [0, 0], [0, 0])
    if kind == "loops only":
        return _whole([f"ü{i}" for i in range(9)], [0, 3, 3], [0, 3, 3])
    if kind == "hub":
        leaves = rng.integers(1, 300, 4000)
        return _whole([int(i) * 10**15 for i in range(-150, 150)], leaves, np.where(leaves % 5, 0, leaves // 2))
    if kind == "skewed":  # hubs at both ends, and parallel edges between them
        return _whole(list(range(400)), *(400 * rng.random((2, 3000)) ** 3).astype(int))
    assert kind == "mixed"
    count = 200
    ids = [-(2**63), 2**63 - 1, 0, -1, *rng.integers(-(2**62), 2**62, count - 4).tolist()]
    src, dst = rng.integers(0, count, 1500), rng.integers(0, count - 30, 1500)  # the last 30 have no edge in
    src[:60] = dst[:60]
    src[60:90], dst[60:90] = src[90:120], dst[90:120]
    return _whole(ids, src, dst)


GRAPHS = ("no edges", "one node", "loops only", "hub", "mixed")


def pushing(plan: Plan) -> Plan:
    """The plan, all shipments pushing that can."""
    return plan.pushing([(step.number, shipment.edge_type) for step in plan.steps for shipment in step.ships])
