"""The command line as a user has it: prepare, explain, infer, verify, and what each says in the end.

Everything runs in this process with the tests' own session, but for what is about processes.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare, verify
from pipeline.errors import SettingError
from pipeline.formula import interpret
from pipeline.job.raw_tables import RawTables
from tests.formulas import build
from tests.whole import whole


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """(nodes, edges) as Parquet; nodes also have the features as columns f0, f1, …"""
    directory, graph = tmp_path_factory.mktemp("tables"), whole("mixed")
    nodes = graph.nodes()
    for lane in range(graph.x.shape[1]):
        nodes = nodes.append_column(f"f{lane}", pa.array(graph.x[:, lane]))
    pa.parquet.write_table(nodes, directory / "nodes.parquet")
    pa.parquet.write_table(graph.edges(), directory / "edges.parquet")
    pa.csv.write_csv(nodes.drop_columns(["x"]), directory / "nodes.csv")
    pa.csv.write_csv(graph.edges().select(["src", "dst", "weight"]), directory / "edges.csv")
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sage"
    build("sage").save(path)
    return path


@pytest.fixture(scope="module")
def prepared(spark, tables, tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "g"
    done("prepare", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--output", path,
         "--edge-features", "weight, attr", "--blocks", 3)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def scores(spark, prepared, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "o"
    done("infer", "--graph", prepared, "--model", model, "--output", path)
    return path


@pytest.fixture
def prepared_in_memory(tmp_path):
    path = tmp_path / "memory"
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), path, 1)
    return path


def expected():
    graph, net = whole("mixed"), build("sage")
    outputs = interpret(net.program, net.weights, graph.arrays())["output"]
    return dict(zip(graph.ids, outputs, strict=True))


def assert_scores(ids, rows):
    witness = expected()
    assert sorted(ids) == sorted(witness)
    np.testing.assert_allclose(np.array(rows), np.array([witness[id] for id in ids]), atol=1e-5)


# ---- the way of a user


def test_prepare_says_what_it_made(spark, tables, tmp_path):
    result = done("prepare", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet",
                  "--output", tmp_path / "g", "--features", "f1,f0", "--undirected", "--quiet")  # fmt: skip
    graph = whole("mixed")
    both = 2 * len(graph.src) - int((graph.src == graph.dst).sum())
    assert re.search(rf"graph of {len(graph.ids):,} nodes and {both:,} edges \(.* self-loops, largest in-degree",
                     result.stdout)  # fmt: skip
    assert str(tmp_path / "g") in result.stdout
    warned = r"[\d:]+ --undirected, and \d+ of the [\d,]+ edges have their reverse in the table too: [^\n]*\n"
    assert re.fullmatch(warned, result.stderr)
    from pipeline import open_graph

    assert open_graph(str(tmp_path / "g")).schema.nodes == {"node": {"x": 2}}


@pytest.mark.slow
def test_a_repeated_prepare_is_told_to_do_nothing(tables, tmp_path):
    """In processes of their own: without Spark."""

    def prepared(*options):
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "prepare", "--output", tmp_path / "g"]
        command += ["--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--features", "f0"]
        finished = subprocess.run([*map(str, command), *options], capture_output=True, text=True, check=False)
        return finished.returncode, finished.stdout, finished.stderr

    code, said, _ = prepared("--if-same", "skip")
    assert (code, "written to" in said) == (0, True)
    made = sorted((tmp_path / "g").rglob("*"))
    code, said, _ = prepared("--if-same", "skip")
    assert (code, said.endswith(f"; already there, in {tmp_path}/g\n")) == (0, True)
    assert sorted((tmp_path / "g").rglob("*")) == made
    code, _, said = prepared("--if-same", "skip", "--undirected")
    assert (code, "undirected was false, now true; give another path, or --overwrite" in said) == (2, True)
    assert prepared("--if-same", "jump")[::2] == (2, "graphsweep: --if-same is 'jump'; accepted: skip\n")
    code, said, _ = prepared("--if-same", "skip", "--undirected", "--overwrite")
    assert (code, "written to" in said) == (0, True)


def test_infer_scores_every_node(scores):
    table = pa.parquet.read_table(scores)
    assert table.column_names == ["id", "output"]
    assert_scores(table["id"].to_pylist(), table["output"].to_pylist())


def test_infer_says_what_it_did(spark, prepared, model, tmp_path):
    result = done("infer", "--graph", prepared, "--model", model, "--output", tmp_path / "o", "--tier", "distributed")
    count = len(whole("mixed").ids)
    assert re.search(rf"scored   {count} nodes in [\d.]+ s: the rest over 3 stages", result.stdout)
    assert "tier     distributed: asked for" in result.stdout
    assert f"written  {tmp_path / 'o'} (parquet)" in result.stdout
    assert re.search(r"^\d\d:\d\d:\d\d graph of .* in 3 blocks$", result.stderr, re.MULTILINE)
    assert re.search(rf"superstep 2: {count} nodes, computed in", result.stderr)
    quiet = done("infer", "--graph", prepared, "--model", model, "--output", tmp_path / "o", "--overwrite", "--quiet")
    assert quiet.stderr == ""
    assert not logging.getLogger("graphsweep").handlers


def test_infer_from_raw_tables_leaves_nothing_behind(spark, tables, model, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = done("infer", "--nodes", tables / "nodes.csv", "--edges", tables / "edges.csv", "--model", model,
                  "--features", ",".join(f"f{lane}" for lane in range(6)), "--output", tmp_path / "o",
                  "--format", "csv", "--classify")  # fmt: skip
    assert os.listdir(tmp_path) == ["o"]
    assert "preparing" in result.stdout
    parts = [pa.csv.read_csv(part) for part in (tmp_path / "o").glob("*.csv")]
    table = pa.concat_tables(parts).to_pandas()
    assert_scores(table["id"].tolist(), table[[f"output_{lane}" for lane in range(4)]].to_numpy())
    assert {"predicted", "probability"} < set(table.columns)


@pytest.mark.slow
def test_tables_of_this_machine_are_prepared_without_spark(prepared, tables, tmp_path):
    """In a process of its own, that could not: there is no Java. The same graph, to the bit."""
    process = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "prepare", "--nodes", tables / "nodes.parquet",
         "--edges", tables / "edges.parquet", "--edge-features", "weight, attr", "--blocks", "3",
         "--output", tmp_path / "g"],
        capture_output=True, text=True, check=False, env={**os.environ, "JAVA_HOME": "/nowhere"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    from pipeline import open_graph

    assert open_graph(str(tmp_path / "g")).fingerprint == open_graph(str(prepared)).fingerprint


def test_raw_tables_of_this_machine_take_no_spark(tables, model, tmp_path, monkeypatch, no_session):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("pipeline.cli.given._session", lambda *_: pytest.fail("Spark was started"))
    result = done("infer", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--model", model,
                  "--output", tmp_path / "o")  # fmt: skip
    assert re.search(r"in [\d.]+ s: preparing [\d.]+ s, (compiling [\d.]+ s, )?supersteps", result.stdout)
    assert "tier     fused, without Spark: " in result.stdout
    table = pa.parquet.read_table(tmp_path / "o")
    assert_scores(table["id"].to_pylist(), table["output"].to_pylist())
    assert os.listdir(tmp_path) == ["o"], "the prepared graph has gone"


@pytest.mark.parametrize("options", [["--tier", "distributed"], ["--conf", "conf.toml"]])
@pytest.mark.parametrize("here", [True, False])
def test_what_takes_spark_gets_it(spark, tables, model, tmp_path, monkeypatch, no_session, options, here):
    """The tables are prepared before; a cluster, whose machines do not see that, reads them itself."""
    started, read = [], []
    (tmp_path / "conf.toml").write_text('write = "spark"')
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def start(verbose, small, meanwhile):
        meanwhile()
        started.append(small)
        yield spark

    def read_by_spark(self, spark, **options):
        read.append(1)
        return Graph.read(spark, self.nodes, self.edges, **options)

    monkeypatch.setattr("pipeline.cli.given._session", start)
    monkeypatch.setattr(RawTables, "read", read_by_spark)
    if not here:
        monkeypatch.setattr("pipeline.job.score.is_local", lambda session: False)
    result = done("infer", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--model", model,
                  "--output", tmp_path / "o", *options)  # fmt: skip
    assert started == [True], "it has little to do"
    assert len(read) == (0 if here else 1)
    assert "without Spark" not in result.stdout


def test_edges_against_their_direction(spark, tables, prepared, tmp_path):
    build("both_ends").save(tmp_path / "model")
    refused = run("infer", "--graph", prepared, "--model", tmp_path / "model", "--output", tmp_path / "o")
    assert refused.exit_code == 2
    assert "prepare it with --reverse" in refused.output
    done("prepare", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--output",
         tmp_path / "g", "--edge-features", "weight", "--blocks", 3, "--reverse")  # fmt: skip
    arguments = "--graph", tmp_path / "g", "--model", tmp_path / "model", "--output"
    done("infer", *arguments, tmp_path / "o")
    assert done("verify", *arguments, tmp_path / "o", "--sample", 200).stdout.endswith("PASS\n")
    assert "against the edges" in done("explain", *arguments[:-1]).stdout
    done("infer", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--model",
         tmp_path / "model", "--output", tmp_path / "raw")  # fmt: skip
    # the manifest of any graph of these tables tells where they are, whichever directions it stores
    raw = done("verify", "--graph", prepared, "--model", tmp_path / "model", "--output", tmp_path / "raw")
    assert raw.stdout.endswith("PASS\n")


def test_explain_says_what_would_be_done(prepared, model, monkeypatch):
    monkeypatch.setattr("pipeline.cli.given._session", lambda verbose: pytest.fail("Spark was started"))
    result = done("explain", "--graph", prepared, "--model", model, "--tier", "fused")
    assert "superstep 2" in result.stdout
    assert "fused: asked for" in result.stdout
    pulled = done("explain", "--graph", prepared, "--model", model, "--exchange", "pull")
    assert "rows +" not in pulled.stdout
    wrong = run("explain", "--graph", prepared, "--model", model, "--exchange", "pul")
    assert wrong.exit_code == 2
    assert "exchange is 'pul'; accepted: auto, pull; did you mean 'pull'?" in wrong.output


@pytest.mark.slow
def test_explain_starts_no_jvm(prepared, model):
    """In a process of its own, that could not: there is no Java."""
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        "try:\n main(sys.argv[1:])\nfinally:\n assert 'py4j' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "--graph", prepared, "--model", model],
        env={**os.environ, "JAVA_HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "superstep 0" in done.stdout


def test_verify_passes(spark, prepared, model, scores):
    result = done("verify", "--graph", prepared, "--model", model, "--output", scores, "--sample", 20, "--seed", 5)
    assert re.search(r"recomputed 20 of 20 sampled nodes in float64 from the raw tables: 2 hops", result.stdout)
    assert result.stdout.endswith("PASS\n")


def test_verify_of_all_nodes(spark, prepared, model, scores):
    result = done("verify", "--graph", prepared, "--model", model, "--output", scores, "--sample", "all")
    assert "sampled nodes in float64 from the raw tables: the whole graph" in result.stdout
    assert result.stdout.endswith("PASS\n")
    wrong = run("verify", "--graph", prepared, "--model", model, "--output", scores, "--sample", "every")
    assert wrong.exit_code == 2
    assert "sample is every; accepted: a whole number from 1, or all" in wrong.output


def test_verify_fails_with_exit_code_3(spark, prepared, scores, tmp_path):
    net = build("sage")
    changed = {name: array * 1.01 for name, array in net.weights.items()}
    type(net)(net.program, changed, net.columns).save(tmp_path / "other")
    result = run("verify", "--graph", prepared, "--model", tmp_path / "other", "--output", scores, "--sample", 5)
    assert result.exit_code == 3
    assert result.stdout.endswith("FAIL\n")


def test_verify_of_other_tables(spark, prepared, model, scores, tables, tmp_path):
    edges = pa.parquet.read_table(tables / "edges.parquet")
    pa.parquet.write_table(edges[: len(edges) // 2], tmp_path / "half.parquet")
    result = run("verify", "--graph", prepared, "--model", model, "--output", scores,
                 "--edges", tmp_path / "half.parquet", "--sample", 20)  # fmt: skip
    assert result.exit_code == 3, result.output


# ---- settings and options


def test_options_go_before_the_conf_file(spark, prepared, model, tmp_path):
    (tmp_path / "run.toml").write_text('tier = "fused"\n')
    common = ["infer", "--graph", prepared, "--model", model, "--conf", tmp_path / "run.toml"]
    assert "tier     fused" in done(*common, "--output", tmp_path / "a").stdout
    assert "tier     distributed" in done(*common, "--output", tmp_path / "b", "--tier", "distributed").stdout


@pytest.mark.parametrize("command", ["prepare", "infer", "explain", "verify", "export"])
def test_help(command):
    result = done(command, "--help")
    assert f"graphsweep {command}" in result.stdout
    assert all(len(line) <= 110 for line in result.stdout.splitlines())


def test_version():
    assert re.fullmatch(r"graphsweep \d+\.\d+\.\d+\n", done("--version").stdout)


# ---- export


MODULE = """
import torch
from torch_geometric.nn import GCNConv

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = GCNConv(6, 4)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight).relu()

class Kinds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(7, 3)
        self.conv = GCNConv(9, 4)

    def forward(self, x, edge_index, kind):
        return self.conv(torch.cat([x, self.table(kind)], 1), edge_index)

class Random(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(6, 4)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)

class OfData(Net):
    def forward(self, data):
        return self.conv(data.x, data.edge_index, data.edge_weight)

class OfMatrix(Net):
    def __init__(self):
        super().__init__()
        self.conv.normalize = False

    def forward(self, x, adj_t):
        return self.conv(x, adj_t)

class Forgets(Net):
    def __init__(self):
        super().__init__()
        self.decoder = torch.nn.Linear(4, 6)

class Sorts(Net):
    def forward(self, x, edge_index):
        return self.conv(x.sort(dim=0).values, edge_index)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The user's own module, in the directory where the command is run."""
    pytest.importorskip("torch_geometric")
    (tmp_path / "mynet.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "mynet"
    sys.modules.pop("mynet", None)


def test_export(module, tmp_path):
    from safetensors.torch import save_file

    from pipeline import Model

    sys.path.insert(0, str(tmp_path))
    import mynet

    net = mynet.Net()
    save_file({name: 2 * tensor for name, tensor in net.state_dict().items()}, tmp_path / "w.safetensors")
    result = done("export", "mynet:Net", "--checkpoint", "w.safetensors", "--output", "m",
                  "--input", "edge_weight=edges.amount", "--features", 6)  # fmt: skip
    assert "model from mynet.Net: reads edges.amount (1), nodes.x (6); gives output (4)" in result.stdout
    saved = Model.load("m")
    assert saved.inputs == {"nodes.x": 6, "edges.amount": 1}
    doubled = 2 * net.conv.lin.weight.detach().numpy()
    assert any(np.allclose(array, doubled) for array in saved.weights.values())


def test_export_names_classes(module, tmp_path):
    from pipeline import Model

    (tmp_path / "names.txt").write_text("a\nb\nc, d\ne\n")
    common = ["export", "mynet:Random", "--untrained", "--output", "m"]
    assert "classes of output: a, b, c, d, e" not in done(*common).stdout
    said = done(*common, "--classes", "names.txt", "--overwrite").stdout
    assert "classes of output: a, b, c, d, e\n" in said
    assert Model.load("m").classes == {"output": ("a", "b", "c, d", "e")}
    result = run(*common, "--classes", "a,b", "--overwrite")
    assert result.exit_code == 2
    assert "2 classes are named for output 'output', which has 4 numbers in a row" in result.output
    assert Model.load("m").classes == {"output": ("a", "b", "c, d", "e")}, "what was there stays"


def test_export_says_where_the_weights_come_from(module, tmp_path):
    import hashlib

    from safetensors.torch import save_file

    from pipeline import Model

    sys.path.insert(0, str(tmp_path))
    import mynet

    save_file(mynet.Net().state_dict(), tmp_path / "w.safetensors")
    result = done("export", "mynet:Net", "--checkpoint", "w.safetensors", "--output", "m", "--quiet")
    digest = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    line = f"weights: checkpoint w.safetensors, SHA-256 {digest}\n"
    assert line in result.stdout
    assert line in str(Model.load("m"))
    assert "forward ran without: edge_weight\n" in result.stdout
    assert result.stderr == ""
    result = done("export", "mynet:Net", "--output", "m2", "--quiet")
    assert "weights: as mynet:Net made them, without a checkpoint\n" in result.stderr
    assert "weights: as mynet:Net made them, without a checkpoint\n" in str(Model.load("m2"))


def test_export_refuses_random_weights(module):
    result = run("export", "mynet:Random", "--output", "m")
    assert result.exit_code == 2
    assert (
        "graphsweep: mynet:Random makes other weights each time that it is called (conv.lin.weight): they are random, "
        "not trained; give the file of the trained ones, --checkpoint FILE, or say that it is meant: --untrained\n"
    ) in result.stderr
    assert not os.path.exists("m")
    result = done("export", "mynet:Random", "--output", "m", "--untrained")
    assert "weights: random, as mynet:Random made them, without a checkpoint\n" in result.stdout


EXPORTED = {
    "a column": (["mynet:OfData", "--input", "edge_weight=edges.amount"], {"nodes.x": 6, "edges.amount": 1}),
    "none": (["mynet:OfData", "--input", "edge_weight=none"], {"nodes.x": 6}),
    "values": (["mynet:OfMatrix", "--input", "adj_t=edge_index+edges.amount"], {"nodes.x": 6, "edges.amount": 1}),
    "normalised": (["mynet:OfMatrix", "--input", "adj_t=edge_index+gcn_norm"], {"nodes.x": 6}),
    "ones": (["mynet:OfMatrix", "--input", "adj_t=edge_index+none"], {"nodes.x": 6}),
    "unused": (["mynet:Forgets", "--unused", "decoder.*"], {"nodes.x": 6}),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_export_is_told_what_forward_takes(module, name):
    from pipeline import Model

    arguments, reads = EXPORTED[name]
    result = done("export", *arguments, "--output", "m")
    assert Model.load("m").inputs == reads
    if name == "unused":
        assert "weights that are never read: decoder.weight, decoder.bias\n" in result.stdout


def test_a_model_remembers_its_columns_from_export_to_scores(spark, module, tables, tmp_path):
    from pipeline import Model

    names = ",".join(f"f{lane}" for lane in range(6))
    done("export", "mynet:Net", "--output", "m", "--columns", names, "--training", tables / "nodes.parquet")
    trained = Model.load("m").training["nodes.x"]
    assert trained.names == tuple(names.split(","))
    assert len(trained.ranges) == 6
    raw = ["--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--model", "m"]
    result = run("infer", *raw, "--features", "f1,f0,f2,f3,f4,f5", "--output", tmp_path / "o")
    assert result.exit_code == 2
    assert "nodes.x is made of columns that are in another order than in training.\nnow:  " in result.stderr
    assert f"give them as in training: --features {names}\n" in result.stderr
    assert not (tmp_path / "o").exists()
    done("infer", *raw, "--output", tmp_path / "o")  # the columns that it remembers
    done("export", "mynet:Net", "--output", "m2", "--columns", ",".join(reversed(names.split(","))))
    prepared = tmp_path / "g"
    done("prepare", "--nodes", tables / "nodes.parquet", "--edges", tables / "edges.parquet", "--features", names,
         "--output", prepared)  # fmt: skip
    result = run("infer", "--graph", prepared, "--model", "m2", "--output", tmp_path / "o2")
    assert result.exit_code == 2
    assert "in another order than in training" in result.stderr


@pytest.mark.parametrize("told", [[], ["--features", "x,sort=kind"]])
def test_integers_from_export_to_scores(spark, module, tables, tmp_path, told):
    import torch

    graph, column = whole("mixed"), "sort" if told else "kind"
    result = done("export", "mynet:Kinds", "--output", "m", "--input", f"kind=nodes.{column}")
    assert f"nodes.{column} (1)" in result.stdout
    kind = np.arange(len(graph.ids)) % 7
    nodes = pa.parquet.read_table(tables / "nodes.parquet").append_column("kind", pa.array(kind))
    pa.parquet.write_table(nodes, tmp_path / "nodes.parquet")
    done("infer", "--nodes", tmp_path / "nodes.parquet", "--edges", tables / "edges.parquet", "--model", "m",
         "--output", tmp_path / "o", *told)  # fmt: skip
    import mynet

    ends = torch.tensor(np.stack([graph.src, graph.dst]))
    with torch.no_grad():
        want = mynet.Kinds()(torch.from_numpy(graph.x), ends, torch.from_numpy(kind)).numpy()
    scores = pa.parquet.read_table(tmp_path / "o")
    rows = [graph.ids.index(node) for node in scores["id"].to_pylist()]
    np.testing.assert_allclose(np.array(scores["output"].to_pylist()), want[rows], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mynet:Nat"], "mynet has no 'Nat'; did you mean 'Net'?"),
        (["mynet"], "model reference 'mynet': write package.module:factory"),
        (["nonet:Net"], "No module named 'nonet'"),
        (
            ["torch.nn:Linear"],
            "torch.nn:Linear() fails: TypeError: Linear.__init__() missing 2 required positional arguments: "
            "'in_features' and 'out_features'; a factory takes no arguments: write a function that makes the module",
        ),
        (["mynet:Net", "--checkpoint", "w.pt"], "checkpoint w.pt does not exist"),
        (["mynet:Net", "--input", "edge_weight"], "--input edge_weight: write NAME=TABLE.COLUMN"),
        (["mynet:Net", "--input", "edge_weight=weight"], "--input edge_weight=weight: write NAME=TABLE.COLUMN"),
        (
            ["mynet:OfData"],
            "forward reads data.edge_weight, which inputs does not name: give --input edge_weight=edges.COLUMN, or "
            "--input edge_weight=none if data has none",
        ),
        (
            ["mynet:OfMatrix"],
            "--input adj_t=edge_index+edges.COLUMN, or --input adj_t=edge_index+gcn_norm if PyG's gcn_norm made it "
            "before training, or --input adj_t=edge_index+none if all of them are 1",
        ),
        (["mynet:Forgets"], "accept it: --unused 'decoder.weight' --unused 'decoder.bias'"),
        (
            ["mynet:Net", "--columns", "a,b"],
            "training gives nodes.x the columns a, b: 2, and the model reads 6",
        ),
        (["mynet:Sorts"], "sort"),
    ],
)
def test_export_refuses(module, arguments, message):
    result = run("export", *arguments, "--output", "m")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not os.path.exists("m")


def test_a_checkpoint_that_is_not_there_is_told_at_once(tmp_path, monkeypatch):
    """Before torch is imported, which takes seconds."""
    monkeypatch.setitem(sys.modules, "pipeline.pyg.load", None)
    (tmp_path / "folder").mkdir()
    for path, what in ((tmp_path / "none.pt", "does not exist"), (tmp_path / "folder", "is not a file")):
        result = run("export", "module:factory", "--checkpoint", path, "--output", tmp_path / "out" / "m")
        assert (result.exit_code, result.stderr) == (2, f"graphsweep: the checkpoint {path} {what}\n")


def test_tables_that_verify_needs_are_asked_for_in_the_words_of_the_command(prepared_in_memory, model, tmp_path):
    pa.parquet.write_table(pa.table({"id": [1]}), tmp_path / "o.parquet")
    result = run("verify", "--graph", prepared_in_memory, "--model", model, "--output", tmp_path / "o.parquet")
    words = f"graphsweep: {prepared_in_memory} was prepared from DataFrames: give the nodes table, --nodes\n"
    assert (result.exit_code, result.stderr) == (2, words)
    with pytest.raises(SettingError, match="was prepared from DataFrames: give the nodes table, nodes=…"):
        verify(prepared_in_memory, model, tmp_path / "o.parquet")


def test_export_without_torch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pipeline.pyg.load", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("pipeline.pyg")]:
        monkeypatch.delitem(sys.modules, name)
    result = run("export", "mynet:Net", "--output", tmp_path / "m")
    assert result.exit_code == 2
    assert "export needs torch: pip install 'graphsweep[torch]'" in result.stderr
