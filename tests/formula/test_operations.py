"""Every operation: its NumPy meaning against torch on random rows, its shape rule against the shape that comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import FormulaError
from pipeline.formula import Value, apply, lookup, node_input, weight
from pipeline.formula.bounds import bounds
from pipeline.formula.interpret import execute_rows
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.totals import TOTALS

ROWS = 7
Case = tuple[list[tuple[int, ...]], dict[str, Any], Callable[..., torch.Tensor]]


def lanes(function: Callable[..., Any]) -> Case:
    return [(3, 4)], {"axes": (1,), "keepdims": False}, lambda x: function(x, 2)


def merged(*states: torch.Tensor) -> torch.Tensor:
    """Two heads of five lanes."""
    top = torch.maximum(*(state[:, 12:] for state in states))
    scales = [(state[:, 12:] - top).exp() for state in states]
    parts = [torch.cat([state[:, :5] * s[:, :1], state[:, 5:10] * s[:, 1:], state[:, 10:12] * s], 1)
             for state, s in zip(states, scales, strict=True)]  # fmt: skip
    return torch.cat([parts[0] + parts[1], top], 1)


CASES: dict[str, Case] = {
    "neg": ([(4,)], {}, torch.neg),
    "abs": ([(4,)], {}, torch.abs),
    "sign": ([(4,)], {}, torch.sign),
    "exp": ([(4,)], {}, torch.exp),
    "expm1": ([(4,)], {}, torch.expm1),
    "log": ([(4,)], {}, torch.log),
    "log1p": ([(4,)], {}, torch.log1p),
    "sqrt": ([(4,)], {}, torch.sqrt),
    "rsqrt": ([(4,)], {}, torch.rsqrt),
    "reciprocal": ([(4,)], {}, torch.reciprocal),
    "sin": ([(4,)], {}, torch.sin),
    "cos": ([(4,)], {}, torch.cos),
    "tanh": ([(4,)], {}, torch.tanh),
    "erf": ([(4,)], {}, torch.erf),
    "floor": ([(4,)], {}, torch.floor),
    "ceil": ([(4,)], {}, torch.ceil),
    "round": ([(4,)], {}, torch.round),
    "sigmoid": ([(4,)], {}, torch.sigmoid),
    "relu": ([(4,)], {}, torch.relu),
    "leaky_relu": ([(4,)], {"slope": 0.2}, lambda x: F.leaky_relu(x, 0.2)),
    "elu": ([(4,)], {"alpha": 1.3, "scale": 1.0, "input_scale": 1.0}, lambda x: F.elu(x, 1.3)),
    "gelu": ([(4,)], {"approximate": "none"}, F.gelu),
    "softplus": ([(4,)], {"beta": 2.0, "threshold": 20.0}, lambda x: F.softplus(x, 2.0)),
    "clamp": ([(4,)], {"low": -0.5, "high": float("inf")}, lambda x: x.clamp(min=-0.5)),
    "isinf": ([(4,)], {}, lambda x: torch.isinf(x).double()),
    "isnan": ([(4,)], {}, lambda x: torch.isnan(x).double()),
    "logical_not": ([(4,)], {}, lambda x: torch.logical_not(x).double()),
    "add": ([(2, 1), (3,)], {}, lambda a, b: a + b[:, None]),
    "sub": ([(4,), ()], {}, lambda a, b: a - b[:, None]),
    "mul": ([(2, 3), (2, 1)], {}, torch.mul),
    "div": ([(4,), (1,)], {}, torch.div),
    "pow": ([(4,), (4,)], {}, torch.pow),
    "atan2": ([(4,), (4,)], {}, torch.atan2),
    "hypot": ([(4,), (4,)], {}, torch.hypot),
    "maximum": ([(4,), (4,)], {}, torch.maximum),
    "minimum": ([(4,), (4,)], {}, torch.minimum),
    "equal": ([(4,), (4,)], {}, lambda a, b: (a == b).double()),
    "not_equal": ([(4,), (4,)], {}, lambda a, b: (a != b).double()),
    "less": ([(4,), (4,)], {}, lambda a, b: (a < b).double()),
    "less_equal": ([(4,), (4,)], {}, lambda a, b: (a <= b).double()),
    "greater": ([(4,), (4,)], {}, lambda a, b: (a > b).double()),
    "greater_equal": ([(4,), (4,)], {}, lambda a, b: (a >= b).double()),
    "where": ([(4,), (4,), (1,)], {}, lambda c, a, b: torch.where(c != 0, a, b)),
    "matmul": ([(2, 3), (2, 3, 5)], {}, lambda a, b: torch.einsum("nhi,nkij->nkhj", a, b)),
    "reshape": ([(2, 6)], {"shape": (3, 4)}, lambda x: x.reshape(-1, 3, 4)),
    "broadcast_to": ([(2, 1)], {"shape": (3, 2, 4)}, lambda x: x[:, None].expand(-1, 3, 2, 4)),
    "transpose": ([(2, 3)], {"axes": (1, 0)}, lambda x: x.transpose(1, 2)),
    "concat": ([(2, 3), (4, 3)], {"axis": 0}, lambda *a: torch.cat(a, 1)),
    "slice": ([(2, 7)], {"axis": 1, "start": 1, "stop": 6, "step": 2}, lambda x: x[:, :, 1:6:2]),
    "take": ([(5,)], {"axis": 0, "indices": (3, 0, 3)}, lambda x: x[:, [3, 0, 3]]),
    "lane_sum": lanes(torch.sum),
    "lane_mean": lanes(torch.mean),
    "lane_max": lanes(torch.amax),
    "lane_min": lanes(torch.amin),
    "lane_prod": lanes(torch.prod),
    "lane_argmax": lanes(lambda x, axis: torch.argmax(x, axis).double()),
    "merge_states": ([(14,), (14,)], {"logits": 2}, merged),
}


def test_every_operation_inside_rows_is_tested() -> None:
    rowwise = {name for name, operation in OPERATIONS.items() if operation.kind in ("elementwise", "row")}
    assert rowwise - set(CASES) == {"lookup"}  # of which one input is a weight: below


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_meaning(name: str) -> None:
    shapes, attributes, reference = CASES[name]
    rng = np.random.default_rng(2)
    arrays = [rng.choice([-2.5, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0, 30.0], (ROWS, *shape)) for shape in shapes]
    inputs = [node_input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    value = apply(name, *inputs, **attributes)
    with np.errstate(all="ignore"):
        got = execute_rows(value, arrays)
    expected = reference(*map(torch.from_numpy, arrays)).numpy()
    assert got.shape == (ROWS, *value.shape)
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), rtol=1e-12, atol=1e-12)


def test_a_matrix_per_row_and_a_matrix_for_all() -> None:
    x, tall = node_input("x", (2, 3)), np.arange(2 * 6.0).reshape(2, 2, 3)
    matrix = np.arange(12.0).reshape(3, 4)
    value = apply("matmul", x, weight("w", (3, 4)))
    np.testing.assert_array_equal(execute_rows(value, [tall, matrix]), tall @ matrix)


@pytest.mark.parametrize("shape", [(), (2,), (3, 1)])
def test_lookup(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    table, index = rng.normal(size=(7, 2, 5)), rng.integers(0, 7, (ROWS, *shape))
    value = lookup(weight("w", (7, 2, 5)), node_input("kind", shape))
    assert value.shape == (*shape, 2, 5)
    got = execute_rows(value, [table, index.astype(float)])
    np.testing.assert_array_equal(got, F.embedding(torch.from_numpy(index), torch.from_numpy(table.reshape(7, -1)))
                                  .numpy().reshape(ROWS, *shape, 2, 5))  # fmt: skip


def test_lookup_of_no_row_of_the_table() -> None:
    value = lookup(weight("w", (3, 2)), node_input("kind", ()))
    numbers = np.array([-1, 0, 2, 3, 0.5, np.nan, np.inf, 1e30], np.float32)
    got = execute_rows(value, [np.arange(6, dtype=np.float32).reshape(3, 2), numbers])
    assert got.dtype == np.float32
    assert np.isnan(got).all(axis=1).tolist() == [True, False, False, True, True, True, True, True]
    np.testing.assert_array_equal(got[1:3], [[0, 1], [4, 5]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k: lookup(k, k), r"lookup\(node value of shape .*: a table that is looked up is a weight"),
        (lambda k: lookup(weight("w", (3, 2)), weight("i", ())), "the index is a value per node or per edge, not a"),
        (lambda k: lookup(weight("w", ()), k), "a table has at least one row"),
        (
            lambda k: lookup(weight("w", (2**24 + 1, 2)), k),
            "a table of 16,777,217 rows: float32 keeps no more than",
        ),
    ],
)
def test_what_lookup_does_not_take(make: Callable[[Value], Value], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        make(node_input("kind", ()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x + node_input("y", (5,)), r"add\(node value of shape \(4,\), .*\(5,\)\): row shapes do not broad"),
        (lambda x: x @ weight("w", (3, 2)), r"widths differ: 4 columns against a matrix of 3 → 2"),
        (lambda x: x.reshape(3), r"cannot reshape rows of \(4,\) to \(3,\)"),
        (lambda x: x.heads(3), "into 3 heads: its last size is not a multiple"),
        (lambda x: apply("lane_sum", x, axes=(2,), keepdims=False), r"rows of \(4,\) have no axes \(2,\)"),
        (lambda x: apply("take", x, axis=0, indices=(9,)), r"columns \(9,\) are not in rows of \(4,\)"),
        (lambda x: apply("concat", x, x.reshape(2, 2), axis=0), "cannot join rows of shapes"),
        (lambda x: apply("relux", x), "unknown operation 'relux'; did you mean 'relu'"),
    ],
)
def test_errors_name_the_operation_and_the_shapes(make: Callable[[Value], Value], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        make(node_input("x", (4,)))


# ---- what the records say of operations, tried


def _random_rows(name: str, seed: int) -> tuple[Value, list[np.ndarray]]:
    shapes, attributes, _ = CASES[name]
    value = apply(name, *(node_input(f"x{i}", shape) for i, shape in enumerate(shapes)), **attributes)
    numbers = np.random.default_rng(seed).normal(0.0, 2.0, 4096).astype(np.float32)
    numbers[::16] = np.round(numbers[::16])  # some are equal, and some are 0
    rng = np.random.default_rng(seed + 1)
    return value, [rng.choice(numbers, (400, *shape)) for shape in shapes]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_exact_is_what_rounds_nothing(name: str) -> None:
    """In float32 just what it is in float64; of the others some number differs."""
    value, arrays = _random_rows(name, 5)
    single = execute_rows(value, arrays)
    double = execute_rows(value, [array.astype(np.float64) for array in arrays])
    assert np.array_equal(single.astype(np.float64), double, equal_nan=True) == OPERATIONS[name].is_exact


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_truths_are_0_or_1(name: str) -> None:
    value, arrays = _random_rows(name, 6)
    found = execute_rows(value, arrays)
    assert OPERATIONS[name].is_truth == (set(np.unique(found)) <= {0.0, 1.0})


@pytest.mark.parametrize("name", CASES)
def test_arranged_are_the_lanes_of_the_inputs(name: str) -> None:
    value, arrays = _random_rows(name, 7)
    arrays = [np.arange(array.size).reshape(array.shape) + 0.5 + 10_000 * i for i, array in enumerate(arrays)]
    with np.errstate(all="ignore"):
        found = execute_rows(value, arrays)
    rows = [set(np.concatenate([array[row].ravel() for array in arrays])) for row in range(400)]
    choosing = "lane_max", "lane_min", "merge_states"  # of tops far apart one state
    arranged = OPERATIONS[name].kind == "row" and all(set(found[row].ravel()) <= rows[row] for row in range(400))
    assert arranged == (OPERATIONS[name].arranges or name in choosing)


@pytest.mark.parametrize("name", [name for name in CASES if OPERATIONS[name].ends])
def test_nothing_lies_beyond_what_the_ends_say(name: str) -> None:
    value, arrays = _random_rows(name, 8)
    arrays = [array.astype(np.float64) for array in arrays]
    columns = {}
    for i, array in enumerate(arrays):
        other = np.random.default_rng(i).choice(array.ravel(), (1, *array.shape[1:]))
        columns[f"x{i}"] = np.minimum(array[:1], other), np.maximum(array[:1], other)
    known = bounds(value, columns)
    assert known is not None
    drawn = []
    for i, array in enumerate(arrays):
        low, high = columns[f"x{i}"]
        drawn.append(low + (high - low) * np.random.default_rng(i + 9).choice([0.0, 0.3, 0.7, 1.0], array.shape))
    found = execute_rows(value, drawn)
    assert (found >= known[0] - 1e-12).all()
    assert (found <= known[1] + 1e-12).all()


def test_of_reductions_and_totals_the_records_say_it() -> None:
    exact = {name for name, operation in OPERATIONS.items() if operation.is_exact}
    assert {"max", "min", "last", "edge_rows", "total_max", "total_min"} == exact & (set(REDUCTIONS) | set(TOTALS))
    assert all(operation.is_exact for operation in OPERATIONS.values() if operation.kind in ("move", "leaf"))
