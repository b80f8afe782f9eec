"""Trained models of typed graphs, from raw tables to a table for each type of nodes, against what PyG gave.

The tables and models are of the folder that GRAPHSWEEP_PARITY_DATA names; their licences keep them out of the project.
OpenFlights is four types of nodes, with ids of text and of numbers, and nine of edges. AIFB is one table of edges with
90 relations; its RGCN is a mean and a linear map for each, here a type of edges (to import a module of so many layers
takes minutes: it is written as formulas).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file as numpy_file
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from pipeline import Model, cli, open_graph
from pipeline.formula import Program, Relation, Value, linear, node_input, relu, weight
from pipeline.formula.program import output_key
from pipeline.formula.spaces import Edges, Nodes
from pipeline.schema import EdgeType
from pipeline.score import score

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(os.environ.get("GRAPHSWEEP_PARITY_DATA", ""))
pytestmark = pytest.mark.skipif(
    "GRAPHSWEEP_PARITY_DATA" not in os.environ,
    reason="GRAPHSWEEP_PARITY_DATA does not name the folder of trained models, which is not in the project",
)
BLOCKS = (1, 3, 8)
THING = "thing"  # AIFB's only type of nodes


def run(*arguments: object) -> str:
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def allowed(spec: Mapping[str, Any], node_type: str) -> float:
    """Four times what float32 cost PyG itself, or a millionth of the largest output."""
    about = spec["outputs"][node_type]
    return max(4 * float(about["max_abs_f32_minus_f64"]), 1e-6 * float(about["max_abs_out"]))


def assert_scores(output: Path, expected: Path, most: float) -> None:
    """A table of scores has a row for each that is expected, and no number is further away."""
    found, wanted = (pq.read_table(path).sort_by("id") for path in (output, expected))
    assert found["id"].to_pylist() == wanted["id"].to_pylist()
    scores, exact = np.array(found["output"].to_pylist()), np.array(wanted["out"].to_pylist())
    assert float(np.abs(scores - exact).max()) <= most


def bits(output: Path) -> dict[str, Any]:
    return {str(path.relative_to(output)): pq.read_table(path) for path in sorted(output.rglob("*.parquet"))}


# ---- OpenFlights: a table for each type


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """graph.toml, and the models."""
    here, data = tmp_path_factory.mktemp("flights"), ROOT / "openflights"
    about = json.loads((data / "dataset.json").read_text())
    parts = [f'[nodes.{name}]\npath = "{data}/nodes_{name}.parquet"\n' for name in about["node_types"]]
    parts += [
        f'[[edges]]\ntype = {json.dumps(name.split("__"))}\npath = "{data}/edges_{name}.parquet"\n'
        for name in about["edge_types"]
    ]
    (here / "graph.toml").write_text("\n".join(parts))
    for name in MODELS:
        folder = data / "models" / name
        spec = json.loads((folder / "model.json").read_text())
        net = source_of(folder, spec)
        net.load_state_dict(load_file(folder / "model.safetensors"))
        metadata = (list(about["node_types"]), [tuple(each) for each in spec["args"]["edge_types"]])
        Model.from_pyg(net.eval(), metadata=metadata).save(here / name)
    return here


MODELS = ("hetero_sage",)


def source_of(folder: Path, spec: Mapping[str, Any]) -> nn.Module:
    loaded = importlib.util.spec_from_file_location(f"trained_{folder.name}", folder / spec["module_file"])
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    made = getattr(module, spec["class"])(**spec["args"])
    assert isinstance(made, nn.Module)
    return made


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_openflights(flights: Path, name: str, blocks: int, tmp_path: Path, no_session: None) -> None:
    said = run("prepare", "--graph-spec", flights / "graph.toml", "--output", tmp_path / "g", "--blocks", blocks)
    assert "airport 7,697, airline 6,161, country 240, equipment 220" in said
    run("infer", "--graph", tmp_path / "g", "--model", flights / name, "--output", tmp_path / "o")
    folder = ROOT / "openflights" / "models" / name
    spec = json.loads((folder / "model.json").read_text())
    assert {path.name for path in (tmp_path / "o").iterdir() if path.is_dir()} == set(spec["outputs"])
    for node_type in spec["outputs"]:
        of_target = node_type == spec["target_type"]
        expected = folder / ("expected64.parquet" if of_target else f"expected64_{node_type}.parquet")
        assert_scores(tmp_path / "o" / node_type, expected, allowed(spec, node_type))


def test_the_same_bits_from_raw_tables_and_by_tasks(spark: SparkSession, flights: Path, tmp_path: Path) -> None:
    """Prepared beforehand or for the run, in this process or by Spark, in one task or a stage for each exchange."""
    graph, model = tmp_path / "g", flights / MODELS[0]
    run("prepare", "--graph-spec", flights / "graph.toml", "--output", graph, "--blocks", 3)
    reports = {
        tier: score(open_graph(graph), model, tmp_path / tier, settings={"tier": tier}, spark=spark)
        for tier in ("fused", "distributed")
    }
    assert {report.tier for report in reports.values()} == {"fused", "distributed"}
    raw = ["--graph-spec", flights / "graph.toml", "--model", model, "--output", tmp_path / "raw", "--blocks", 3]
    run("infer", *raw)
    expected = bits(tmp_path / "fused")
    assert expected
    for other in ("distributed", "raw"):
        found = bits(tmp_path / other)
        assert found.keys() == expected.keys()
        assert all(found[name].equals(table) for name, table in expected.items())


# ---- AIFB: one table for all types of edges


def relational_means(weights: Mapping[str, np.ndarray], relations: Sequence[str]) -> Model:
    """PyG's RGCN with a type of edges for each relation: x root + bias, and of each relation the mean of x weight."""
    x, made = node_input("x", (weights["conv1.root"].shape[0],), Nodes(THING)), {}
    for layer in ("conv1", "conv2"):
        found = linear(x, read(made, f"{layer}.root", weights[f"{layer}.root"].T))
        found += read(made, f"{layer}.bias", weights[f"{layer}.bias"])
        for relation, matrix in zip(relations, weights[f"{layer}.weight"], strict=True):
            edges = Relation(Edges(EdgeType(THING, relation, THING)))
            found += edges.mean(edges.src(linear(x, read(made, f"{layer}.{relation}", matrix.T))))
        x = relu(found) if layer == "conv1" else found
    return Model(Program({output_key(THING, "output"): x}), made)


def read(made: dict[str, np.ndarray], name: str, array: np.ndarray) -> Value:
    made[name] = np.ascontiguousarray(array)
    return weight(name, array.shape)


@pytest.fixture(scope="module")
def aifb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """graph.toml: the relations of one table; and the model."""
    here, data = tmp_path_factory.mktemp("aifb"), ROOT / "aifb"
    nodes = pq.read_table(data / "nodes.parquet")
    pq.write_table(nodes.append_column("kind", [[THING] * len(nodes)]), here / "nodes.parquet")
    relations = [str(number) for number in range(90)]
    types = ",\n".join(f"    {{type = {json.dumps([THING, number, THING])}}}" for number in relations)
    (here / "graph.toml").write_text(
        f'[nodes]\npath = "nodes.parquet"\ntype = "kind"\n\n'
        f'[edges]\npath = "{data}/edges.parquet"\nrelation = "rel"\ntypes = [\n{types}\n]\n'
    )
    relational_means(numpy_file(data / "models" / "rgcn" / "model.safetensors"), relations).save(here / "model")
    return here


@pytest.mark.parametrize("blocks", BLOCKS)
def test_aifb(aifb: Path, blocks: int, tmp_path: Path, no_session: None) -> None:
    run("prepare", "--graph-spec", aifb / "graph.toml", "--output", tmp_path / "g", "--blocks", blocks)
    prepared = open_graph(tmp_path / "g")
    assert (len(prepared.edge_counts), sum(prepared.edge_counts.values())) == (90, 58_086)
    run("infer", "--graph", tmp_path / "g", "--model", aifb / "model", "--output", tmp_path / "o")
    folder = ROOT / "aifb" / "models" / "rgcn"
    spec = json.loads((folder / "model.json").read_text())
    assert_scores(tmp_path / "o" / THING, folder / "expected64.parquet", allowed(spec, "node"))
