"""The memory bound is never exceeded: the peak of all arrays of a run, NumPy's and Arrow's, beside what is predicted.

tracemalloc sees what NumPy allocates, a proxy pool what Arrow does; kernels allocate next to nothing. Both are looked
at when a block is opened and when it is done. Arrow's bytes grow while a block is opened, where NumPy's hardly change,
and NumPy's while it is computed, where Arrow's only fall: their sum is what was held at once.
"""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.bench.graph import Parameters, generate
from pipeline.blocks.block import Block
from pipeline.blocks.rows import LISTS
from pipeline.blocks.storage import read_block
from pipeline.formula import concat, exp, linear, relu
from pipeline.graph import Graph
from pipeline.layers import gat, sage
from pipeline.model import Model
from pipeline.plan import memory
from pipeline.plan.counts import Counts
from pipeline.plan.memory import SLACK, fused_bytes, spilled_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.superstep import Superstep
from pipeline.prepare import prepare
from pipeline.prepared import PreparedGraph
from pipeline.run import node_values
from pipeline.run.fused import BlockSource, run_stored
from pipeline.run.spill import spill_to
from pipeline.run.task import opened_block, static_edges

WIDTH = 64
SAGE = {"lin_l.weight": (WIDTH, WIDTH), "lin_l.bias": (WIDTH,), "lin_r.weight": (WIDTH, WIDTH)}
FORMULAS = {
    "sage": (
        lambda g, x, w: sage(g, relu(sage(g, x, w[0])), w[1]),
        {f"{n}.{name}": shape for n in (0, 1) for name, shape in SAGE.items()},
    ),
    "gat": (
        lambda g, x, w: gat(g, x, w, heads=4),
        {"lin.weight": (WIDTH, WIDTH), "att_src": (1, 4, 16), "att_dst": (1, 4, 16)},
    ),
    "product per edge": (lambda g, x, w: g.max(relu(linear(g.src(x) - g.dst(x), w.a))), {"a.weight": (32, WIDTH)}),
    "median": (lambda g, x, w: g.median(g.src(linear(x, w.a))), {"a.weight": (16, WIDTH)}),
    # a chunk of its values is more than a block of 2,500 nodes has otherwise
    "no edges": (
        lambda g, x, w: concat([exp(linear(relu(linear(x, w.a)), w.b)), x]),
        {"a.weight": (256, WIDTH), "b.weight": (256, 256)},
    ),
}


@pytest.fixture(scope="module", params=[1, 13])
def blocks(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(scope="module")
def prepared(blocks: int, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """An R-MAT graph of 32,768 nodes and 524,288 edges, seed 1."""
    return drawn(15, blocks, tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def small(blocks: int, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """Of 1,024 nodes, with which loops are compiled."""
    return drawn(10, blocks, tmp_path_factory.mktemp("small"))


def drawn(scale: int, blocks: int, work: Path) -> PreparedGraph:
    tables = generate(Parameters(scale, features=WIDTH), work)
    graph = Graph.of_files(str(tables / "nodes.parquet"), str(tables / "edges.parquet"))
    assert graph is not None
    return prepare(graph, str(work / "graph"), blocks)


def stored(graph: PreparedGraph, plan: Plan) -> tuple[Callable[[int, Superstep], Block], BlockSource]:
    """How a block is opened, and all of them."""
    edges = static_edges(plan.steps)
    opened = partial(opened_block, graph.known, graph.folder)
    return opened, BlockSource(graph.blocks, opened, lambda index: read_block(graph.folder, index, LISTS, edges).sends)


def plan_of(name: str, counts: Counts) -> Plan:
    formula, shapes = FORMULAS[name]
    random = np.random.default_rng(1)
    weights = {key: random.uniform(-0.1, 0.1, shape) for key, shape in shapes.items()}
    return choose_exchange(Plan.of(Model.from_formula(formula, weights, {"nodes.x": WIDTH})), counts)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("threads", "spills"), [(1, False), (2, False), (1, True)])
def test_a_fused_run_holds_no_more_than_is_said(
    prepared: PreparedGraph, small: PreparedGraph, name: str, threads: int, spills: bool, tmp_path: Path
) -> None:
    counts = Counts.of(prepared.manifest)
    plan = plan_of(name, counts)
    keep = spill_to(str(tmp_path)) if spills else None
    list(run_stored(plan, stored(small, plan)[1], drop))  # compiles
    opened, source = stored(prepared, plan)
    with peak() as (look, most):

        def open_block(index: int, step: Superstep) -> Block:
            look()
            block = opened(index, step)
            look()
            return block

        source = BlockSource(counts.blocks, open_block, source.sends)
        for _ in run_stored(plan, source, drop, threads, lambda step, block: look(), keep):
            pass
        look()
    said = (spilled_bytes if spills else fused_bytes)(plan, counts, threads)
    assert most[0] <= SLACK * said
    # a bound that is far above is no use either. A softmax gathers one tile's payload at a time, is charged for all.
    # The outputs of all blocks are charged, though each is written in its turn: of "no edges" they are most of it
    assert most[0] >= said / (6 if name == "no edges" else 4)


def drop(block: Block, outputs: object) -> None:
    """As a task does that has written them."""


class peak:
    """The most bytes of arrays at a time, in what is inside."""

    def __enter__(self) -> tuple[Callable[[], None], list[int]]:
        gc.collect()
        self.before = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(self.before)
        pa.set_memory_pool(pool)
        most, arrow, turn = [0], [0], threading.Lock()

        def look() -> None:
            with turn:
                held, seen = pool.bytes_allocated(), tracemalloc.get_traced_memory()[1]
                tracemalloc.reset_peak()
                most[0] = max(most[0], max(held, arrow[0]) + seen)
                arrow[0] = held

        tracemalloc.start()
        return look, most

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()
        pa.set_memory_pool(self.before)


def test_the_chunk_is_the_one_of_a_superstep() -> None:
    assert memory.ROW_CHUNK == node_values.ROW_CHUNK
