"""Models that call torch_scatter, whose max, min and mul are compiled: a recorder sees nothing of them.

The extension takes minutes to compile, so a module of the same functions stands in its place, whose operations compute
out of sight, as it does; they are plain NumPy, and so the witness too.
"""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from pipeline import Model
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from tests.pyg.graphs import Does

EMPTY = {"max": 0.0, "min": 0.0, "mul": 1.0}
BY = {"max": np.maximum, "min": np.minimum, "mul": np.multiply}


def compiled(name):
    """As the extension does it: (result, position), or the product alone."""

    def operation(src, index, dim=-1, out=None, dim_size=None):
        with _disable_current_modes(), torch.no_grad():
            assert dim % src.dim() == 0
            index = index if index.dim() == 1 else index[:, 0]
            numbers, rows = src.detach().numpy(), dim_size if dim_size is not None else int(index.max()) + 1
            start = np.full((rows, *src.shape[1:]), {"max": -np.inf, "min": np.inf, "mul": 1.0}[name])
            BY[name].at(start, index.numpy(), numbers)
            start[~np.isin(np.arange(rows), index.numpy())] = EMPTY[name]
            result = torch.from_numpy(start).to(src.dtype)
        return result if name == "mul" else (result, torch.zeros(result.shape, dtype=torch.int64))

    return operation


@pytest.fixture
def library(monkeypatch):
    module = ModuleType("torch_scatter")
    for name in BY:
        setattr(module, f"scatter_{name}", compiled(name))
    module.segment_csr = lambda src, indptr, out=None, reduce="sum": src
    exec(
        "def scatter(src, index, dim=-1, out=None, dim_size=None, reduce='max'):\n"
        "    return (scatter_max if reduce == 'max' else scatter_min)(src, index, dim, out, dim_size)[0]\n",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, "torch_scatter", module)
    return module


FORWARDS = {
    "max": lambda self, x, e: self.library.scatter_max(self.lin(x)[e[0]], e[1], dim=0, dim_size=len(x))[0],
    "min": lambda self, x, e: self.library.scatter_min(self.lin(x)[e[0]], e[1], 0, None, x.size(0))[0],
    "mul": lambda self, x, e: self.library.scatter_mul(self.lin(x)[e[0]], e[1], 0, dim_size=x.size(0)),
    "by name": lambda self, x, e: self.library.scatter(self.lin(x)[e[0]], e[1], 0, dim_size=len(x), reduce="min"),
    "expanded": lambda self, x, e: self.library.scatter_max(x[e[0]], e[1][:, None].expand(-1, 8), 0, dim_size=len(x))[
        0
    ],
    "of one number": lambda self, x, e: self.library.scatter_max(x[e[0], 0], e[1], dim_size=len(x))[0][:, None] + x,
}


class Calls(Does):
    """Its library is no part of it, which a copy would have to hold."""

    library = property(lambda self: sys.modules["torch_scatter"])


@pytest.mark.parametrize("name", FORWARDS)
def test_what_the_extension_reduces(library, name):
    torch.manual_seed(0)
    net = Calls(FORWARDS[name], lin=nn.Linear(8, 4)).eval()
    model = Model.from_pyg(net, features=8, unused=["*"])
    rng = np.random.default_rng(1)
    x, ends = rng.normal(size=(30, 8)), rng.integers(0, 25, (2, 90))  # the last nodes have no edges
    exact = copy.deepcopy(net).double()
    expected = exact(torch.from_numpy(x), torch.from_numpy(ends)).detach().numpy()
    found = interpret(model.program, model.weights, GraphArrays.single(*ends, x))["output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            lambda self, x, e: self.library.scatter_max(x[e[0]], e[1], 0)[0],
            "max counts the nodes by the largest number in edge_index, which misses isolated nodes; give",
        ),
        (
            lambda self, x, e: x + self.library.scatter_max(x[e[0]], e[1], 0, dim_size=len(x))[1],
            "scatter_max gives the number of an edge, which the rows of a table do not have; take the value itself",
        ),
        (
            lambda self, x, e: self.library.scatter_max(x[e[0]], e[1], 0, x.clone())[0],
            "scatter_max writes into a tensor that is given; leave out= out",
        ),
        (
            lambda self, x, e: self.library.segment_csr(x[e[0]], e[1]),
            "segment_csr reduces edges that are sorted, in a compiled extension; use torch_geometric.utils.scatter",
        ),
    ],
)
def test_what_it_does_else(library, forward, message):
    with pytest.raises(ModelError) as caught:
        Model.from_pyg(Calls(forward).eval(), features=8)
    assert message in str(caught.value)
