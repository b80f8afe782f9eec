"""Modules in half or double precision: the change that float32 makes is measured and said."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, SAGEConv

from pipeline.model import Model
from pipeline.pyg import imported


@pytest.mark.parametrize(
    ("kind", "least", "most"), [(torch.float16, 1e-5, 1e-1), (torch.bfloat16, 1e-4, 1), (torch.float64, 1e-9, 1e-5)]
)
def test_the_change_is_measured(kind, least, most):
    torch.manual_seed(0)
    (note,) = imported(SAGEConv(16, 8).to(kind).eval()).notes
    found = re.fullmatch(
        rf"the module is {str(kind)[6:]}; graphsweep computes in float32: on random graphs an output changes by "
        r"at most ([\d.e+-]+), where the largest is ([\d.e+-]+)",
        note,
    )
    assert found, note
    assert least < float(found[1]) < most
    assert 0.1 < float(found[2]) < 100


def test_a_module_in_float32_needs_no_word():
    assert imported(SAGEConv(16, 8).eval()).notes == ()


def test_it_is_said_at_the_import_and_by_print(caplog):
    with caplog.at_level(logging.WARNING, "graphsweep"):
        model = Model.from_pyg(GCNConv(16, 8).double().eval())
    assert [record.getMessage() for record in caplog.records] == list(model.about.notes)
    assert "note: the module is float64; graphsweep computes in float32: on random graphs" in str(model)


def test_a_module_that_does_not_run_in_its_precision_here():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(16, 4)

        def forward(self, x, edge_index):
            if x.dtype is torch.float16:
                raise RuntimeError("only on a GPU")
            return self.lin(x)

    (note,) = imported(Fails().half().eval()).notes
    assert note.startswith(
        "the module is float16; graphsweep computes in float32; what that changes could not be measured"
    )
    assert "only on a GPU" in note
