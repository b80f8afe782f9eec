"""A cluster whose machines have disks of their own, each worker in a mount namespace: who shares what is found out."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare
from tests.formulas import build
from tests.spark.standalone import Standalone, cluster
from tests.whole import whole

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces of Linux"),
]

PRIVATE = ["unshare", "-m"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "-r", "-m"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all share; and `own`, which is another disk on every machine."""
    directory, graph = tmp_path_factory.mktemp("disks"), whole("mixed")
    (directory / "own").mkdir()
    for where in (directory, directory / "own"):
        pq.write_table(graph.nodes(), where / "nodes.parquet")
        pq.write_table(graph.edges(), where / "edges.parquet")
        tables = Graph.of_files(str(where / "nodes.parquet"), str(where / "edges.parquet"))
        assert tables is not None
        prepare(tables, str(where / "graph"), blocks=2)
    build("sage").save(str(directory / "model"))
    return directory


@pytest.fixture(scope="module")
def apart(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    script = place / "apart.sh"
    script.write_text(f'mount -t tmpfs none "{place}/own" && exec "$@"\n')
    by = [*PRIVATE, "sh", str(script)]
    with cluster(tmp_path_factory.mktemp("apart"), workers=(by, by)) as found:
        yield found


@pytest.fixture(scope="module")
def said(apart: Standalone, place: Path) -> Mapping[str, Any]:
    """What the library says, call by call in one session."""
    own, graph = f"{place}/own", f"{place}/graph"
    tables = [f"{place}/nodes.parquet", f"{place}/edges.parquet"]
    cases = [
        ["shared", "score", graph, f"{place}/out", {}],
        ["output", "score", graph, f"{own}/out", {}],
        ["output by its scheme", "score", graph, f"file://{own}/new/out", {}],
        ["output by spark", "score", graph, f"{own}/out", {"write": "spark"}],
        ["graph", "score", f"{own}/graph", f"{place}/none", {}],
        ["graph by workers", "score", f"{own}/graph", f"{place}/none", {"read": "worker"}],
        ["prepared", "prepare", tables, f"{own}/made", {}],
        ["scratch", "score", tables, f"{place}/none", {"scratch": own}],
        ["raw", "score", tables, f"{place}/raw", {"scratch": f"{place}/scratch"}],
        ["relative", "score", "graph", "relative", {}],
        ["relative raw", "score", ["nodes.parquet", "edges.parquet"], "./new/raw", {"scratch": "scratch"}],
        ["relative output", "score", "graph", "own/out", {}],
        ["relative graph", "score", "own/graph", "none", {}],
        ["relative scratch", "score", ["nodes.parquet", "edges.parquet"], "none", {"scratch": "own"}],
        ["command", "command", graph, f"{own}/scores", {}],
        ["relative prepared", "prepare", ["nodes.parquet", "edges.parquet"], "own/made", {}],
    ]
    (place / "cases.json").write_text(json.dumps(cases))
    done = apart.submit(Path(__file__).with_name("attempts.py"), "cases.json", "model", cwd=place)
    answers = dict(json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID "))
    assert list(answers) == [case[0] for case in cases], done.stdout
    return answers


UNSHARED = (
    "StorageError: {}: the tasks on host {} do not share its directory with this process, or may not write there; {}"
)
UNSEEN = "StorageError: {}/graph/manifest.json: the tasks on host {} do not see what is here; {}"


def test_what_is_not_shared_is_refused(said: Mapping[str, Any], place: Path) -> None:
    """Before any work; what Spark's executors wrote there would be lost as well."""
    own, host = f"{place}/own", socket.gethostname()
    remedy = "give a path that all machines share, or of a file system that they do"
    for name, output in {
        "output": f"{own}/out",
        "output by its scheme": f"file://{own}/new/out",
        "output by spark": f"{own}/out",
    }.items():
        assert said[name] == UNSHARED.format(output, host, remedy)
    for name in ("graph", "graph by workers"):
        assert said[name] == UNSEEN.format(own, host, "give a prepared graph at a path that all machines share")
    assert said["relative output"] == UNSHARED.format("own/out", host, remedy)
    assert said["relative graph"] == said["graph"]
    assert said["relative scratch"] == said["scratch"]
    assert said["relative prepared"] == UNSHARED.format("own/made", host, "give a path that all machines share")
    assert said["prepared"] == UNSHARED.format(f"{own}/made", host, "give a path that all machines share")
    scratch, _, rest = said["scratch"].partition(": the tasks")
    assert scratch == f"StorageError: {own}/graph"
    assert rest.endswith('set "scratch" to a directory that all machines share')


def test_what_is_shared_is_written(said: Mapping[str, Any], place: Path) -> None:
    for name, output in {"shared": "out", "raw": "raw", "relative": "relative", "relative raw": "new/raw"}.items():
        assert said[name] == pq.read_table(place / output).num_rows == 200, name


def test_a_refusal_leaves_nothing(said: Mapping[str, Any], place: Path) -> None:
    assert sorted(os.listdir(place / "own")) == ["edges.parquet", "graph", "nodes.parquet"]
    assert not (place / "none").exists()
    assert not (place / "scratch").exists()
    assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_the_command(said: Mapping[str, Any]) -> None:
    code, text = said["command"]
    assert code == 2, text
    assert text.count("do not share its directory with this process") == 1, text
    assert "nodes scored" not in text
