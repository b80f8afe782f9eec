"""The table of reductions in COVERAGE.md is what imports give."""

from __future__ import annotations

from torch_geometric.nn import aggr

from pipeline.pyg.aggregations import UNEXPRESSED
from tests.pyg.aggregations import AGGREGATIONS, table
from tests.pyg.coverage import TABLE


def test_the_table_is_what_imports_give() -> None:
    rows = table()
    assert "|  |" not in rows, "a reduction that nothing of PyG becomes: say what does, or that nothing does"
    assert rows in TABLE.read_text(), "python -m tests.pyg.coverage writes it anew"


def test_every_aggregation_of_pyg_is_tried_or_refused_by_name() -> None:
    made_of_others = {"Aggregation", "MultiAggregation", "DegreeScalerAggregation"}
    refused = {kind.__name__ for kind in UNEXPRESSED}
    assert set(aggr.__all__) == (AGGREGATIONS.keys() - {"utils.add_remaining_self_loops"}) | refused | made_of_others
