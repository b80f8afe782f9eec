"""Awkward graphs, and the one comparison of these tests: the program's numbers against the module's own, in float64.

The witness is PyTorch Geometric itself, run on the same graph; nothing of pipeline.pyg is used to compute it.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE

TOLERANCE = 1e-10  # of the largest number: both sides compute in float64 and differ by the order of their sums


def _random(nodes, edges, linked, seed):
    rng = np.random.default_rng(seed)
    return nodes, rng.integers(0, linked, edges).tolist(), rng.integers(0, linked, edges).tolist()


GRAPHS = {  # name → number of nodes, src, dst
    "no edges": (4, [], []),
    "one node with a self-loop": (1, [0], [0]),
    "only self-loops": (3, [0, 2], [0, 2]),
    "isolated nodes at both ends": (6, [1, 2, 3], [2, 3, 1]),
    "a self-loop beside other edges": (4, [0, 1, 1, 3], [1, 1, 2, 0]),
    "parallel edges": (3, [0, 0, 0, 1, 1], [1, 1, 1, 2, 2]),
    "a hub": (30, [*range(1, 30), *([0] * 29)], [*([0] * 29), *range(1, 30)]),
    "random": _random(40, 150, 30, 5),
}
PARALLEL_LOOPS = (3, [1, 1, 0, 1], [1, 1, 1, 1])  # PyG keeps one of their values by order: only without edge values


class Does(torch.nn.Module):
    """A module whose forward is one function. Of its parts, not every function takes all: they may go unread."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, edge_index):
        return self.function(self, x, edge_index)


def rows(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


def column(rng, count, shape):
    """Values around 0; a single number per row is positive, as an edge weight is; categories of a range; a mask."""
    if shape is bool:
        return rng.random(count) < 0.4
    if isinstance(shape, range):
        return rng.integers(shape.start, shape.stop, count)
    shape = rows(shape)
    return rng.normal(size=(count, *shape)) if shape else rng.uniform(0.1, 2.0, count)


def assert_same(net, x=16, seed=0, inputs=None, without=(), first_has_edge=False, unused=(), **edges):
    """Imports a module and compares it on every graph; `edges`: argument → width; `without`: those that PyG refuses.

    `first_has_edge`: only where an edge leads to the first node. Returns the program.
    """
    options = {"without": without, "first_has_edge": first_has_edge, "unused": unused}
    return imported_same(net, x, seed, inputs, **options, **edges)[0]


def imported_same(net, x=16, seed=0, inputs=None, nodes=None, without=(), first_has_edge=False, unused=(), **edges):
    """The same; returns the program and its weights. `nodes`: further arguments with a row per node → width;
    `unused`: weights that may go unread."""
    net, columns = net.eval(), nodes or {}
    inputs = {
        **{name: f"edges.{name}" for name in edges},
        **{name: f"nodes.{name}" for name in columns},
        **(inputs or {}),
    }
    unused = ("*",) if isinstance(net, Does) else unused
    program, weights, _ = import_module(net, inputs=inputs, features={"x": x, **columns, **edges}, unused=unused)
    graphs = GRAPHS if edges else {**GRAPHS, "parallel self-loops": PARALLEL_LOOPS}
    for name, (count, src, dst) in graphs.items():
        if name in without or (first_has_edge and 0 not in dst):
            continue
        rng = np.random.default_rng(seed)
        features = column(rng, count, x)
        values = {key: column(rng, len(src), shape) for key, shape in edges.items()}
        more = {key: column(rng, count, shape) for key, shape in columns.items()}
        expected = run(net, features, src, dst, {**values, **more})
        ends = np.array(src, int), np.array(dst, int)
        arrays = GraphArrays({NODE: count}, {EDGE: ends}, {NODE: {"x": features, **more}}, {EDGE: values})
        found = interpret(program, weights, arrays)
        assert found.keys() == expected.keys()
        for key, array in found.items():
            assert_close(array, expected[key], f"{name}, seed {seed}, output {key}")
    return program, weights


def run(net, x, src, dst, values, dtype=torch.float64):
    """The module's own outputs, on a copy."""
    net = copy.deepcopy(net).to(dtype)
    tensors = {name: torch.from_numpy(array) for name, array in values.items()}
    edge_index = torch.from_numpy(np.array([src, dst], np.int64).reshape(2, -1))
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # for what forward makes without a dtype
    try:
        with torch.no_grad():
            result = net(torch.from_numpy(x.copy()), edge_index, **tensors)
    finally:
        torch.set_default_dtype(default)
    if isinstance(result, torch.Tensor):
        return {"output": result.numpy()}
    if isinstance(result, dict):
        return {name: tensor.numpy() for name, tensor in result.items()}
    return {f"output_{position}": tensor.numpy() for position, tensor in enumerate(result)}


def assert_close(found, expected, what, tolerance=TOLERANCE):
    assert found.shape == expected.shape, what
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, equal_nan=True, err_msg=what)
