"""Random programs: what the generated loops compute is what the interpreter computes, however the graph is cut.

The interpreter works in float64 on whole arrays of edges; the loops in float32, tile by tile. Values are of size 1 to
100, chains a dozen operations long: 2e-5 of the largest value leaves room for their roundings and for nothing else.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compiler import call, reduction, softmax
from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.joint_loop import sharing
from pipeline.formula.values import apply
from tests.compiler.programs import Builder, graph
from tests.compiler.test_edge_pass import compiled as together
from tests.compiler.tiles import compiled, expected, load_plain

TOLERANCE = 2e-5


def check(seed: int, blocks: int) -> None:
    builder = Builder(seed)
    value = builder.reduction()
    arrays = graph(np.random.default_rng(seed))
    reference = expected(value, arrays, builder.weights)
    with np.errstate(all="ignore"):
        computed = compiled(value, arrays, builder.weights, blocks)
    scale = np.abs(reference[np.isfinite(reference)]).max(initial=1.0)
    np.testing.assert_allclose(computed, reference, rtol=0, atol=TOLERANCE * scale, err_msg=f"seed {seed}")


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_the_text_of_300_programs(first, monkeypatch):
    """Not compiled, which takes milliseconds each; pieces and chunks small enough that rows are cut by them."""
    monkeypatch.setattr(call, "load", load_plain)
    for seed in range(first, first + 50):
        monkeypatch.setattr(softmax, "PIECE", [512, 7, 1][seed % 3])
        monkeypatch.setattr(reduction, "chunk_size", lambda program, size=[4096, 5, 1][seed % 3]: size)
        check(seed, blocks=[1, 3, 8][seed % 3])


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_compiled_programs(seed):
    for blocks in (1, 3, 8, 17):
        check(seed, blocks)


def check_together(seed: int, blocks: int) -> bool:
    """Five reductions of a random message, three of them sums: whether some were one loop."""
    builder = Builder(seed)
    message = builder.message()
    values = [
        builder.g.sum(message), apply("max", message, empty=0.5), builder.g.sum(message * message),
        builder.g.prod(apply("tanh", message)), builder.g.sum(apply("tanh", message) + 1.0),
    ]  # fmt: skip
    arrays = graph(np.random.default_rng(seed))
    with np.errstate(all="ignore"):
        for value, got in zip(values, together(values, arrays, blocks, builder.weights), strict=True):
            (alone,) = together([value], arrays, blocks, builder.weights)
            assert got.tobytes() == alone.tobytes(), f"seed {seed}: {value.op}"
    return len(sharing([edge_program(value) for value in values])) < len(values)


def test_the_text_of_100_joint_loops(monkeypatch):
    monkeypatch.setattr(call, "load", load_plain)
    joint = sum(check_together(seed, [1, 3, 8][seed % 3]) for seed in range(2000, 2100))
    assert joint > 25  # others have a matrix product per edge, or the same message for all edges of a row


@pytest.mark.parametrize("seed", range(3000, 3006))
def test_compiled_joint_loops(seed):
    check_together(seed, 3)
