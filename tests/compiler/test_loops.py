"""The text of a loop is written once for relations that differ in names only, and never taken for another one's."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest

from pipeline.compiler import loops
from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.loops import Texts, likeness, write_loop, write_once
from pipeline.compiler.reduction import compile_reduction
from pipeline.formula import Relation, Value, edge_input, node_input, weight
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Edges, Nodes
from pipeline.schema import EdgeType
from tests.compiler.programs import Builder


def test_as_much_is_known_as_the_text_depends_on() -> None:
    """Of 400 random reductions, each with its payload in three orders."""
    texts: dict[Hashable, set[str]] = {}
    for seed in range(400):
        value = Builder(seed).reduction()
        if REDUCTIONS[value.op].keeps_messages or not value.width:
            continue
        program = edge_program(value)
        sent = program.moved("src")
        for first in (0, 7):
            for order in (sent, sent[::-1]):
                ends = np.cumsum([first, *(each.width for each in order)]).tolist()
                offsets = {each.id: lane for each, lane in zip(order, ends, strict=False)}
                texts.setdefault(likeness(program, offsets), set()).add(write_loop(program, offsets))
    assert len(texts) > 100
    assert {len(each) for each in texts.values()} == {1}


def message(name: str, factor: float = 2.0, column: str = "e") -> Value:
    edges = Edges(EdgeType("a", name, "b"))
    g, x = Relation(edges), node_input("x", (4,), Nodes("a"))
    return g.sum(g.src(x) * weight(f"w{name}", (4,)) * edge_input(column, (1,), edges) * factor)


def test_of_relations_that_differ_in_names_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(loops, "write_loop", lambda *given: written.append(0) or write_loop(*given))
    texts: Texts = {}

    def compiled(value: Value, lane: int = 0) -> None:
        sent = edge_program(value).moved("src")
        weights = {f"w{name}": np.ones(4, np.float32) for name in ("r", "s", "t", "u", "v")}
        compile_reduction(value, {each.id: lane for each in sent}, weights, texts)

    for name in ("r", "s", "t"):
        compiled(message(name))
    assert len(written) == 1
    compiled(message("u", factor=3.0))
    compiled(message("v", column="f"))
    compiled(message("r"), lane=4)
    assert len(written) == 4


def test_a_text_is_found_again() -> None:
    value = message("r")
    program = edge_program(value)
    offsets = {each.id: 0 for each in program.moved("src")}
    texts: Texts = {likeness(program, offsets): "another text"}
    assert write_once(program, offsets, texts) == "another text"
