"""Whole commands whose tables, graphs and scores lie in an object store: a real S3 server on this machine.

What a command does with a store that is only imagined is in tests/places and tests/result; here is what a user has:
a URI, and credentials in the environment.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Model, cli
from pipeline.errors import ModelError
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.places.s3 import Bucket, Fault, Server, server
from tests.whole import whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

BLOCKS = 3


@pytest.fixture(scope="module")
def store() -> Server:
    return server()


@pytest.fixture
def bucket(store: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Empty, and of a name that nothing in this process has opened before."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAVA_HOME", "/nowhere")  # what this process cannot read is left to Spark, which is not meant
    return store.bucket(f"b{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("tables")
    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    for name in ("sage", "gat"):
        build(name).save(at / name)
    return at


@pytest.fixture
def full(bucket: Bucket, tables: Path) -> Bucket:
    """With the tables in it."""
    for name in ("nodes", "edges"):
        bucket.put(f"in/{name}.parquet", (tables / f"{name}.parquet").read_bytes())
    return bucket


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def done(*arguments: object) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return str(result.output)


def raw(bucket: Bucket) -> list[object]:
    features = ["--edge-features", "weight, attr"]
    return ["--nodes", bucket / "in/nodes.parquet", "--edges", bucket / "in/edges.parquet", *features]


def prepared(bucket: Bucket, name: str = "graph") -> str:
    done("prepare", *raw(bucket), "--blocks", BLOCKS, "--output", bucket / name)
    return bucket / name


def scores(bucket: Bucket, name: str) -> pa.Table:
    """As a reader of tables sees them."""
    return pq.read_table(f"{bucket.name}/{name}", filesystem=bucket.store)


def expected(name: str) -> Any:
    return in_process(name, whole("mixed"), BLOCKS)


def test_prepare_infer_verify_and_overwrite(full: Bucket, tables: Path) -> None:
    graph = prepared(full)
    infer = ["infer", "--graph", graph, "--model", tables / "sage", "--output", full / "o"]
    assert "fused" in done("explain", "--graph", graph, "--model", tables / "sage").output
    done(*infer)
    assert by_id(scores(full, "o")) == expected("sage")
    verify = ["verify", "--graph", graph, "--model", tables / "sage", "--output", full / "o", *raw(full)[:4]]
    assert "100 of 100" in done(*verify).output
    assert "exists already; give another path, or --overwrite" in refused(*infer)
    assert by_id(scores(full, "o")) == expected("sage"), "what was there is untouched"
    done("infer", "--graph", graph, "--model", tables / "gat", "--output", full / "o", "--overwrite")
    assert by_id(scores(full, "o")) == expected("gat")
    assert {name.partition("/")[0] for name in full.names()} == {"in", "graph", "o"}, "and nothing else is left"


def test_raw_tables_and_targets(full: Bucket, tables: Path) -> None:
    done("infer", *raw(full), "--model", tables / "sage", "--output", full / "o", "--blocks", BLOCKS)
    assert by_id(scores(full, "o")) == expected("sage")
    wanted = pq.read_table(tables / "nodes.parquet").slice(0, 5).select(["id"])
    sink = pa.BufferOutputStream()
    pq.write_table(wanted, sink)
    full.put("in/targets.parquet", sink.getvalue().to_pybytes())
    some = ["--targets", full / "in/targets.parquet"]
    done("infer", "--graph", prepared(full), "--model", tables / "sage", "--output", full / "t", *some)
    found = by_id(scores(full, "t"))
    assert found == {node: expected("sage")[node] for node in wanted["id"].to_pylist()}


# ---- a store that does not answer as it should


def each(number: int, how: str) -> Fault:
    """Every so many requests one fails; asked again it is answered."""
    failed: set[tuple[str, ...]] = set()

    def fault(request: dict[str, Any], count: int) -> str | None:
        key = request["REQUEST_METHOD"], request["PATH_INFO"], request["QUERY_STRING"], request.get("HTTP_RANGE", "")
        if count % number < number - 1 or key in failed:
            return None
        failed.add(key)
        return how

    return fault


@pytest.mark.parametrize("how", ["503", "drop"])
def test_requests_that_fail_for_once_change_nothing(full: Bucket, tables: Path, how: str) -> None:
    with full.server.failing(each(7, how)):
        done("infer", *raw(full), "--model", tables / "sage", "--output", full / "o", "--blocks", BLOCKS)
        assert full.server.failed > 3
    assert by_id(scores(full, "o")) == expected("sage")
    assert {name.partition("/")[0] for name in full.names()} == {"in", "o"}


def test_a_table_that_cannot_be_read_says_why_spark_is_asked_for(full: Bucket) -> None:
    def denied(request: dict[str, Any], count: int) -> str | None:
        return "denied" if "/in/nodes" in request["PATH_INFO"] else None

    with full.server.failing(denied):
        said = refused("prepare", *raw(full), "--output", full / "graph")
    assert f"{full / 'in/nodes.parquet'}: cannot be read without Spark: " in said
    assert "ACCESS_DENIED" in said
    assert "Spark needs Java" in said


def after(number: int) -> Fault:
    """As if the credentials of a long job had expired."""
    return lambda request, count: "denied" if count >= number else None


@pytest.mark.parametrize("command", ["prepare", "infer"])
def test_a_store_that_gives_nothing_any_more(full: Bucket, tables: Path, command: str) -> None:
    """One error, wherever it comes, and the next run ends as if nothing had been. From the moment that all is in place
    only what lies beside it has to go, and stays until the next run."""
    if command == "infer":
        given = ["infer", "--graph", prepared(full), "--model", tables / "sage", "--output", full / "o"]
    else:
        given = ["prepare", *raw(full), "--blocks", BLOCKS, "--output", full / "o"]
    done(*given, "--overwrite")
    full.server.requests.clear()
    done(*given, "--overwrite")
    needed = len(full.server.requests)
    codes = []
    for number in range(3, needed, needed // 6):
        with full.server.failing(after(number)):
            result = run(*given, "--overwrite")
        codes.append(result.exit_code)
        assert ("ACCESS_DENIED" if result.exit_code else "stays until the next run") in result.output, (number, result)
        assert "Traceback" not in result.output
    assert codes[:-1] == [2] * (len(codes) - 1)
    assert codes[-1] in (0, 2)
    done(*given, "--overwrite")
    if command == "infer":
        assert by_id(scores(full, "o")) == expected("sage")
    else:
        done("infer", "--graph", full / "o", "--model", tables / "sage", "--output", full / "s")
        assert by_id(scores(full, "s")) == expected("sage")
    assert {name.partition("/")[0] for name in full.names()} <= {"in", "graph", "o", "s"}


@pytest.fixture
def model(full: Bucket, tables: Path) -> str:
    """In the store, as a copy of its directory."""
    for file in sorted((tables / "sage").iterdir()):
        full.put(f"models/sage/{file.name}", file.read_bytes())
    return full / "models/sage"


def test_a_model_there(full: Bucket, model: str, tables: Path) -> None:
    """Of its directory three files are read."""
    full.put("models/sage/pickled.pkl", b"nobody reads it")
    graph, before = prepared(full), len(full.server.requests)
    assert Model.load(model).fingerprint == Model.load(tables / "sage").fingerprint
    read = [path for method, path in full.server.requests[before:] if method == "GET"]
    files = {path.rpartition("/")[2] for path in read if path.startswith(f"/{full.name}/models/sage/")}
    assert sorted(files) == ["_graphsweep.json", "model.json", "weights.safetensors"]
    done("explain", "--graph", graph, "--model", model)
    done("infer", "--graph", graph, "--model", model, "--output", full / "o")
    assert by_id(scores(full, "o")) == expected("sage")
    verify = ["verify", "--graph", graph, "--model", model, "--output", full / "o", *raw(full)[:4]]
    assert "100 of 100" in done(*verify).output
    said = refused("infer", "--graph", graph, "--model", model, "--output", full / "models", "--overwrite")
    assert "the output holds the model" in said


def test_models_there_that_are_none(full: Bucket, model: str) -> None:
    with pytest.raises(ModelError, match=rf"^{full / 'models'} holds no model\.json: it is not a saved model$"):
        Model.load(full / "models")
    weights = bytearray(full.get("models/sage/weights.safetensors"))
    weights[-1] ^= 1
    full.put("models/sage/weights.safetensors", bytes(weights))
    with pytest.raises(ModelError, match=rf"^{model}/weights\.safetensors is damaged, or was changed: "):
        Model.load(model)
    full.put("models/sage/model.json", b"{}")
    with pytest.raises(ModelError, match=rf"^{model}/model\.json has format "):
        Model.load(model)
    with full.server.failing(lambda request, count: "denied" if request["PATH_INFO"].endswith("model.json") else None):
        said = refused("infer", *raw(full), "--model", model, "--output", full / "o")
    assert f"{model}: cannot be read: " in said


def writes(request: dict[str, Any], count: int) -> str | None:
    return "denied" if request["REQUEST_METHOD"] in ("PUT", "POST") else None


def test_a_bucket_that_cannot_be_written(full: Bucket, tables: Path) -> None:
    graph = prepared(full)
    before = full.names()
    with full.server.failing(writes):
        for command in (
            ["infer", "--graph", graph, "--model", tables / "sage", "--output", full / "o"],
            ["prepare", *raw(full), "--blocks", BLOCKS, "--output", full / "g"],
        ):
            said = refused(*command)
            assert f"{command[-1]}: cannot be written: " in said
            assert "ACCESS_DENIED" in said
    assert full.names() == before
