"""Trained models on real graphs: the imported program, in float64, against the outputs stored beside the models.

The data set is found through GRAPHSWEEP_PARITY_DATA; its README says how it was made. The stored outputs are the
model's own in float64. Tolerance 1e-9 of the largest output: rows are summed in another order.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE

ROOT = os.environ.get("GRAPHSWEEP_PARITY_DATA")
MODELS = [
    ("cora", "gcn"), ("cora", "gat"), ("cora", "sage_mean"), ("facebook", "gin"), ("bitcoinotc", "gcn_weighted"),
    ("bitcoinotc", "gatv2_edge"),
]  # fmt: skip
COLUMNS = {"edge_weight": "weight", "edge_attr": "edge_attr"}

pytestmark = pytest.mark.skipif(not ROOT, reason="GRAPHSWEEP_PARITY_DATA does not name the folder of trained models")


def matrix(table, name):
    cells = table[name].combine_chunks()
    if hasattr(cells, "flatten"):
        flat = cells.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        return flat.reshape(len(cells), -1) if flat.size != len(cells) else flat
    return cells.to_numpy(zero_copy_only=False).astype(np.float64)


@pytest.mark.parametrize(("dataset", "name"), MODELS)
def test_trained_model(dataset, name):
    folder = Path(ROOT) / dataset
    spec = json.loads((folder / "models" / name / "model.json").read_text())
    module, _, kind = spec["class"].rpartition(".")
    net = getattr(importlib.import_module(module), kind)(**spec["args"])
    net.load_state_dict(load_file(folder / "models" / name / "model.safetensors"))
    optional = {key: f"edges.{key}" for key in spec["inputs"] if key in COLUMNS}
    program, weights, _ = import_module(net.eval(), inputs=optional)

    nodes, edges = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
    ids = {key: row for row, key in enumerate(nodes["id"].to_pylist())}
    src, dst = (np.array([ids[key] for key in edges[end].to_pylist()], np.int64) for end in ("src", "dst"))
    values = {key: matrix(edges, COLUMNS[key]) for key in optional}
    arrays = GraphArrays({NODE: len(ids)}, {EDGE: (src, dst)}, {NODE: {"x": matrix(nodes, "x")}}, {EDGE: values})
    found = interpret(program, weights, arrays)["embedding"]

    stored = pq.read_table(folder / "models" / name / "expected64.parquet")
    expected = matrix(stored, "out")[np.argsort([ids[key] for key in stored["id"].to_pylist()])]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale)
