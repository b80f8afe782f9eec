"""The table of reductions in COVERAGE.md is what imports give."""

from __future__ import annotations

import numpy as np
import scipy.special
from torch_geometric import nn
from torch_geometric.nn import aggr

from pipeline.formula import GraphArrays, interpret, trace
from pipeline.pyg import import_module
from pipeline.pyg.aggregations import UNEXPRESSED
from pipeline.schema import NODE
from tests.pyg.aggregations import AGGREGATIONS, WIDTH, table
from tests.pyg.coverage import TABLE


def test_the_table_is_what_imports_give() -> None:
    rows = table()
    assert rows in TABLE.read_text(), "python -m tests.pyg.coverage writes it anew"


class LogSumExp(aggr.Aggregation):
    """As its users write it, by scatters."""

    def forward(self, x, index=None, ptr=None, dim_size=None, dim=-2):
        top = self.reduce(x, index, ptr, dim_size, dim, reduce="max")
        total = self.reduce((x - top.index_select(dim, index)).exp(), index, ptr, dim_size, dim, reduce="sum")
        return total.log() + top


def test_a_logsumexp_written_by_scatters_is_that_of_formulas() -> None:
    """Both in float64 against scipy, but for nodes without edges: -inf there, `empty` here."""
    rng = np.random.default_rng(2)
    src, dst = rng.integers(0, 30, (2, 200))
    graph = GraphArrays.single(src, dst, rng.normal(scale=50, size=(40, WIDTH)))
    program, weights, _ = import_module(nn.SimpleConv(aggr=LogSumExp()).eval(), features={"x": WIDTH})
    by_scatters = interpret(program, weights, graph)["output"]
    formula = trace(lambda g, x: g.logsumexp(g.src(x)), {"nodes.x": WIDTH}, {})
    found = interpret(formula, {}, graph)["output"]
    for node in range(40):
        messages = graph.node_columns[NODE]["x"][src[dst == node]]
        want = scipy.special.logsumexp(messages, axis=0) if len(messages) else np.zeros(WIDTH)
        np.testing.assert_allclose(found[node], want, rtol=1e-12)
        if len(messages):
            np.testing.assert_allclose(by_scatters[node], want, rtol=1e-12)


def test_every_aggregation_of_pyg_is_tried_or_refused_by_name() -> None:
    made_of_others = {"Aggregation", "MultiAggregation", "DegreeScalerAggregation"}
    refused = {kind.__name__ for kind in UNEXPRESSED}
    assert set(aggr.__all__) == (AGGREGATIONS.keys() - {"utils.add_remaining_self_loops"}) | refused | made_of_others
