"""Every reduction by the interpreter, against plain NumPy node by node; and that no reduction is missing anywhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.formula import GraphArrays, Program, Relation, interpret, node_input
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.reductions.record import STEPPED, SUMMED, State
from pipeline.formula.totals import TOTALS
from pipeline.plan.work import Work, _per_edge
from pipeline.schema import NODE
from tests.compiler import test_merging, test_partial, test_reductions
from tests.compiler.programs import Builder
from tests.reductions import CASES, REDUCING, variants

G = Relation()
NODES, WIDTH = 12, 3
PACKAGE = Path(pipeline.__file__).parent


def graph() -> GraphArrays:
    """Node 0 is a hub, nodes 0 to 3 have self-loops, the last two no edges."""
    rng = np.random.default_rng(3)
    src, dst = rng.integers(0, NODES, 80), rng.integers(0, NODES - 2, 80)
    dst[:30] = 0
    loop = src == dst
    src[loop] = (src[loop] + 1) % (NODES - 2)
    src, dst = np.append(src, np.arange(4)), np.append(dst, np.arange(4))
    arrays = GraphArrays.single(src, dst, rng.normal(size=(NODES, WIDTH)))
    arrays.node_columns[NODE].update({name: rng.normal(size=(NODES, WIDTH)) for name in ("y", "own x", "own y")})
    return arrays


@pytest.mark.parametrize(("name", "own"), variants())
def test_against_numpy_node_by_node(name: str, own: bool) -> None:
    case, record, arrays = CASES[name], REDUCING[name], graph()
    names = ["x", "y"][: record.messages]
    messages = [G.src(node_input(column, (WIDTH,))) for column in names]
    value = case.reduction(name, *messages, own=tuple(node_input(f"own {n}", (WIDTH,)) for n in names) if own else ())
    found = interpret(Program({"y": value}), {}, arrays)["y"]
    src, dst = next(iter(arrays.ends.values()))
    kept = (src == dst) if case.part else np.ones(len(src), bool)
    for node in range(NODES):
        edges = kept & (dst == node)
        given = [arrays.node_columns[NODE][column][src[edges]] for column in names]
        first = [arrays.node_columns[NODE][f"own {column}"][node] for column in names if own]
        want = case.of_node(*given, own=first)
        np.testing.assert_allclose(found[node], want, rtol=1e-12, atol=1e-12)


# ---- what a reduction of the table has to have: one that lacks it fails by its name


def _ops(programs: object) -> set[str]:
    return {value.op for value in programs}  # type: ignore[attr-defined]


def _rows(page: str) -> set[str]:
    """The reductions of the table in a document."""
    text = (PACKAGE / page).read_text(encoding="utf-8").partition("| reduction |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)", text, re.MULTILINE))


def test_each_is_tried_in_plain_numpy() -> None:
    assert set(CASES) == set(REDUCING)


def test_each_is_in_the_random_programs() -> None:
    drawn = {(value.op, len(value.inputs) > REDUCING[value.op].messages) for value in
             (Builder(seed).reduction() for seed in range(300))}  # fmt: skip
    assert drawn == set(variants())


def test_each_is_compiled_on_awkward_graphs() -> None:
    assert _ops(test_reductions.PROGRAMS.values()) == set(REDUCING)


def test_each_that_is_distributive_is_merged_in_tests() -> None:
    distributive = {name for name, record in REDUCING.items() if record.is_distributive}
    assert set(test_merging.DISTRIBUTIVE) == distributive
    assert _ops(program for program, _ in test_partial.PROGRAMS.values()) == distributive


@pytest.mark.parametrize("name", REDUCING)
def test_each_costs_something(name: str) -> None:
    messages = [G.src(node_input(column, (WIDTH,))) for column in ("x", "y")[: REDUCING[name].messages]]
    work = _per_edge(CASES[name].reduction(name, *messages))
    assert work.edge_lanes + work.weighed_lanes + work.sorted_lanes >= WIDTH
    assert (work.edges == 0) == REDUCING[name].is_holistic
    assert work._replace(edges=0) != Work()


@pytest.mark.parametrize("name", REDUCING)
def test_the_record_is_whole(name: str) -> None:
    record, operation = REDUCING[name], OPERATIONS[name]
    assert (record.name, operation.kind, operation.inputs) == (name, "reduce", record.inputs)
    assert operation.attributes == record.attributes == set(CASES[name].attributes)
    assert (record.of_sorted is not None) == record.is_holistic
    assert bool(record.step) == (record.loop in (STEPPED, SUMMED))
    assert record.own is not None or record.is_holistic or record.start_own is not None
    assert all(isinstance(state, State) for state in record.state)
    assert record.meaning.__doc__
    assert inspect.getmodule(record.meaning).__doc__, "the formula, at the top of its file"


@pytest.mark.parametrize("page", ["formula/README.md", "pyg/COVERAGE.md"])
def test_each_is_documented(page: str) -> None:
    assert _rows(page) == set(REDUCING)


def test_every_total_is_an_operation() -> None:
    assert [name for name, operation in OPERATIONS.items() if operation.kind == "total"] == list(TOTALS)
