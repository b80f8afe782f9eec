"""Trained models on real graphs: the imported program, in float64, against the outputs stored beside the models.

The data set is found through GRAPHSWEEP_PARITY_DATA; its README says how it was made. The stored outputs are the
model's own in float64. Tolerance 1e-9 of the largest output: rows are summed in another order.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE, EdgeType

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
    found = interpret(program, weights, arrays)["output"]

    assert_stored(found, folder / "models" / name / "expected64.parquet", ids)


def assert_stored(found, path, ids):
    """Compares rows, in the order of the ids' numbers, with a stored output."""
    stored = pq.read_table(path)
    expected = matrix(stored, "out")[np.argsort([ids[key] for key in stored["id"].to_pylist()])]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale)


def written(folder, name):
    """A trained model whose class is in a file beside it."""
    spec = json.loads((folder / "models" / name / "model.json").read_text())
    source = importlib.util.spec_from_file_location(name, folder / "models" / name / spec["module_file"])
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    net = getattr(module, spec["class"])(**spec["args"])
    net.load_state_dict(load_file(folder / "models" / name / "model.safetensors"))
    return net.eval()


def numbered(path):
    """Table, and id → number of the row."""
    table = pq.read_table(path)
    return table, {key: row for row, key in enumerate(table["id"].to_pylist())}


@pytest.mark.parametrize("name", ["hetero_sage", "hgt"])
def test_typed_model(name):
    folder = Path(ROOT) / "openflights"
    program, weights, _ = import_module(written(folder, name))
    tables = {path.stem.removeprefix("nodes_"): numbered(path) for path in sorted(folder.glob("nodes_*.parquet"))}
    ends = {}
    for path in sorted(folder.glob("edges_*.parquet")):
        kind, edges = EdgeType(*path.stem.removeprefix("edges_").split("__")), pq.read_table(path)
        both = ((kind.source, "src"), (kind.target, "dst"))
        ends[kind] = tuple(np.array([tables[t][1][key] for key in edges[end].to_pylist()], np.int64) for t, end in both)
    columns = {kind: {"x": matrix(table, "x")} for kind, (table, _) in tables.items()}
    arrays = GraphArrays({kind: len(ids) for kind, (_, ids) in tables.items()}, ends, columns)
    found = interpret(program, weights, arrays)
    assert "airport" in program.output_types
    for kind in program.output_types:
        (key,) = (each for each in found if each.startswith(f"{kind}."))
        stored = "expected64.parquet" if kind == "airport" else f"expected64_{kind}.parquet"
        assert_stored(found[key], folder / "models" / name / stored, tables[kind][1])


def test_relations_as_a_column():
    folder = Path(ROOT) / "aifb"
    inputs, features = {"edge_type": "edges.rel"}, {"edge_type": range(90), "x": 90}
    program, weights, _ = import_module(written(folder, "rgcn"), inputs=inputs, features=features)
    nodes, ids = numbered(folder / "nodes.parquet")
    edges = pq.read_table(folder / "edges.parquet")
    src, dst = (np.array([ids[key] for key in edges[end].to_pylist()], np.int64) for end in ("src", "dst"))
    kinds = edges["rel"].to_numpy().astype(np.float64)
    columns = {NODE: {"x": matrix(nodes, "x")}}, {EDGE: {"edge_type": kinds}}
    arrays = GraphArrays({NODE: len(ids)}, {EDGE: (src, dst)}, *columns)
    found = interpret(program, weights, arrays)["output"]
    assert_stored(found, folder / "models" / "rgcn" / "expected64.parquet", ids)
