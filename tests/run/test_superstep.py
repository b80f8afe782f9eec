"""The block program through the in-process transport: any formula, any number of blocks, any awkward graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.formula import Value, interpret
from pipeline.formula.spaces import GRAPH
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment
from pipeline.run.edges import Payload
from pipeline.run.fused import BlockSource, run_fused, run_stored
from pipeline.run.spill import spill_to
from pipeline.run.superstep import compute, payload
from pipeline.run.total import Total, merged
from tests.formulas import FORMULAS, WIDTH, build
from tests.whole import GRAPHS, Whole, pushing, whole


def run(plan: Plan, graph: Whole, blocks: int, threads: int = 2) -> dict[str, np.ndarray]:
    """Outputs in the graph's node order."""
    parts = graph.blocks(blocks, reverse=any(kind.is_reversed for kind in plan.program.edge_types))
    results = run_fused(plan, parts, threads)
    rows = {node: row for row, node in enumerate(graph.ids)}
    placed = {}
    for name, value in plan.program.outputs.items():
        out = np.full((len(graph.ids), *value.shape), np.nan, np.float32)
        for block, outputs in zip(parts, results, strict=True):
            out[[rows[node] for node in block.ids["node"].to_pylist()]] = outputs[name]
        placed[name] = out
    return placed


def both_exchanges(plan: Plan) -> list[Plan]:
    """All rows pulled; and if there is a shipment that can push, all push that can."""
    plans = [plan, pushing(plan)]
    return plans if any(shipment.push for step in plans[1].steps for shipment in step.ships) else plans[:1]


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_same_as_the_interpreter_however_it_is_cut(name: str, kind: str) -> None:
    model, graph = build(name), whole(kind)
    want = interpret(model.program, model.weights, graph.arrays())
    for plan in both_exchanges(Plan.of(model)):
        for blocks in (1, 3, 8, 17):
            got = run(plan, graph, blocks)
            for output, expected in want.items():
                scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0))
                # float32 against float64: sums of up to 4000 terms, four layers deep
                said = f"{blocks} blocks, {len(plan.pushes)} shipments push"
                np.testing.assert_allclose(got[output], expected, rtol=0, atol=2e-5 * scale, err_msg=said)


@pytest.mark.parametrize("name", ["both_ways", "against", "both_ends"])
@pytest.mark.parametrize("kind", GRAPHS)
def test_an_undirected_graph_has_no_other_direction(name: str, kind: str) -> None:
    model, graph = build(name), whole(kind)
    back = graph.src != graph.dst
    both = Whole(
        graph.ids,
        np.concatenate([graph.src, graph.dst[back]]),
        np.concatenate([graph.dst, graph.src[back]]),
        graph.x,
        np.concatenate([graph.weight, graph.weight[back]]),
        np.concatenate([graph.attr, graph.attr[back]]),
    )
    want = interpret(model.program, model.weights, both.arrays())["output"]
    plan = Plan.of(model, undirected=True)
    assert not any(kind.is_reversed for kind in plan.program.edge_types)
    got = run(plan, both, 3)["output"]
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * max(1.0, float(np.abs(want).max(initial=0))))


@pytest.mark.parametrize(
    "name", ["sage", "gat", "appnp", "extremes", "graph_norm", "totals", "linear_attention", "both_ends"]
)
def test_the_same_bits_again_whatever_the_threads(name: str) -> None:
    graph = whole("mixed")
    for plan in both_exchanges(Plan.of(build(name))):
        first = run(plan, graph, 8, threads=1)
        for threads in (1, 2, 5):
            again = run(plan, graph, 8, threads)
            assert {key: array.tobytes() for key, array in first.items()} == {k: a.tobytes() for k, a in again.items()}


@pytest.mark.parametrize("name", ["sage", "gat", "jumping", "ordered", "graph_norm", "both_ends"])
def test_the_same_bits_when_values_wait_on_disk(name: str, tmp_path: Path) -> None:
    plan, graph = Plan.of(build(name)), whole("mixed")
    parts = graph.blocks(5, reverse=any(kind.is_reversed for kind in plan.program.edge_types))
    written: list[int] = []

    def keep(array: np.ndarray) -> np.ndarray:
        written.append(array.nbytes)
        return spill_to(str(tmp_path))(array)

    got = list(run_stored(plan, BlockSource.of(parts), lambda _, outputs: outputs, threads=2, keep=keep))
    assert sum(written) > 0
    for one, other in zip(got, run_fused(plan, parts), strict=True):
        assert {key: array.tobytes() for key, array in one.items()} == {k: a.tobytes() for k, a in other.items()}


def test_a_block_is_opened_when_its_turn_comes() -> None:
    """And its results are taken one after the other: no more blocks are worked at than there are threads."""
    plan = Plan.of(build("sage"))
    parts = whole("mixed").blocks(8)
    opened: list[tuple[int, int]] = []
    source = BlockSource(
        8, lambda index, step: (opened.append((step.number, index)), parts[index])[1], lambda i: parts[i].sends
    )
    results = run_stored(plan, source, lambda block, _: block.index)
    last = len(plan.steps) - 1
    assert next(results) == 0
    assert opened[: 8 * last] == [(step, index) for step in range(last) for index in range(8)]
    assert len(opened) < 8 * last + 4
    assert list(results) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("name", ["aggregators", "merging", "extremes", "both_ends"])
def test_the_same_bits_with_a_pass_for_each_reduction(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = whole(kind)
    for plan in both_exchanges(Plan.of(build(name))):
        for blocks in (1, 3, 8):
            together = run(plan, graph, blocks)
            with monkeypatch.context() as patched:
                patched.setattr("pipeline.plan.plan.passes", lambda _, phase: [[value] for value in phase.reductions])
                alone = run(Plan(plan.program, plan.weights, plan.pushes), graph, blocks)
            assert {key: array.tobytes() for key, array in together.items()} == {
                k: a.tobytes() for k, a in alone.items()
            }


def test_a_payload_is_asked_for_once() -> None:
    """For all reductions over the same edges."""
    plan, blocks = Plan.of(build("aggregators")), whole("mixed").blocks(3)
    step, asked = plan.steps[1], []
    values = {value.id: np.ones((200, *value.shape), np.float32) for value in step.receives[0].values}

    def receive(shipment: Shipment, source: int) -> Payload:
        asked.append(source)
        rows = blocks[0].tiles[shipment.edge_type][source].senders
        return Payload(payload(shipment, np.zeros(rows, np.int32), values))

    def nothing(*_: object) -> np.ndarray:
        raise AssertionError("all edges are pulled")

    compute(plan, step, blocks[0], {}, receive, nothing, lambda _: [])
    assert asked == sorted(blocks[0].tiles[step.receives[0].edge_type])


@pytest.mark.parametrize("name", ["gated", "both_ends", "gcn_weighted"])
def test_the_same_bits_for_shuffled_tables(name: str) -> None:
    graph = whole("mixed")
    for plan in both_exchanges(Plan.of(build(name))):
        first, again = run(plan, graph, 3), run(plan, graph.shuffled(11), 3)
        order = {node: row for row, node in enumerate(graph.shuffled(11).ids)}
        rows = [order[node] for node in graph.ids]
        for output in first:
            assert first[output].tobytes() == again[output][rows].tobytes()


@pytest.mark.parametrize("name", ["graph_norm", "virtual_node", "totals", "linear_attention"])
def test_a_graph_without_nodes(name: str) -> None:
    none = np.zeros(0, np.int64)
    empty = Whole(
        [], none, none, np.zeros((0, WIDTH), np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.float32)
    )
    for output, array in run(Plan.of(build(name)), empty, 3).items():
        assert array.shape[0] == 0, output


def test_a_sum_over_many_nodes_keeps_its_digits() -> None:
    # 2 ** 24 ones, as float32, are the end of counting by one; here the sum is 3 times as large after three blocks
    total = Value("total_sum", (), {}, GRAPH, ())
    parts = []
    for _ in range(3):
        part = Total(total)
        for _ in range(4):
            part.add(np.ones(1 << 22, np.float32))
        part.add(np.ones(1, np.float32))
        parts.append(part.part)
    assert merged(total, parts)[0] == np.float32(3 * (2**24 + 1))
    assert sum(part[0] for part in parts) == 3 * (2**24 + 1)


def test_the_parts_of_a_total_are_merged_block_by_block() -> None:
    total = Value("total_sum", (), {}, GRAPH, ())
    parts = [np.array([number]) for number in (1e17, 1.0, -1e17)]
    assert merged(total, parts)[0] == 0.0
    assert merged(total, [parts[0], parts[2], parts[1]])[0] == 1.0


@pytest.mark.parametrize("name", ["gin", "graph_norm"])
def test_chunks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plan, graph = Plan.of(build(name)), whole("mixed")
    want = run(plan, graph, 3)
    monkeypatch.setattr("pipeline.run.node_values.ROW_CHUNK", 7)
    for name, array in run(plan, graph, 3).items():
        np.testing.assert_allclose(array, want[name], rtol=1e-5, atol=1e-5)
