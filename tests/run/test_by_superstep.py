"""Runs through files: the bits of the block program, whatever was done before and whoever did it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, explain, prepare, score
from pipeline.blocks.block import LOOPS
from pipeline.errors import SettingError, StorageError
from pipeline.explain import Explanation
from pipeline.formula import relu
from pipeline.plan.plan import Plan
from pipeline.prepared import PreparedGraph
from pipeline.run import by_superstep, through_files
from pipeline.run.kept import Kept
from pipeline.schema import EDGE
from pipeline.settings import Settings
from tests.bits import by_id, in_process
from tests.formulas import FORMULAS, build
from tests.places.small_disk import small_disk
from tests.run.test_tiers import BLOCKS, prepared_graph
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")


def run(graph: PreparedGraph, name: str, at: Path, output: str = "o", **settings: Any) -> pa.Table:
    score(graph, build(name), at / output, settings=Settings(work_dir=str(at / "work"), **settings))
    return pq.read_table(at / output)


def left(at: Path) -> list[str]:
    return sorted(os.listdir(at / "work"))


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_the_bits_of_the_block_program(prepared: PreparedGraph, tmp_path: Path, name: str) -> None:
    table = run(prepared, name, tmp_path)
    for output in build(name).outputs:
        assert by_id(table, output) == in_process(name, whole("mixed"), BLOCKS, output)
    assert left(tmp_path) == ["_graphsweep.json"]


@pytest.mark.parametrize("kind", ["no edges", "one node", "loops only", "hub", "skewed"])
def test_the_same_on_awkward_graphs(tmp_path: Path, kind: str) -> None:
    graph = prepared_graph(kind, tmp_path, reverse=True)
    assert by_id(run(graph, "gat", tmp_path)) == in_process("gat", whole(kind), BLOCKS)


@pytest.mark.parametrize("exchange", ["auto", "pull"])
@pytest.mark.parametrize(
    ("name", "wire"), [("sage", "float32"), ("sage", "float16"), ("merging", "float32"), ("merging", "bfloat16")]
)
def test_the_same_with_every_exchange(
    skewed: PreparedGraph, tmp_path: Path, name: str, exchange: str, wire: str
) -> None:
    settings = Settings(tier="fused", exchange=exchange, wire=wire)
    score(skewed, build(name), tmp_path / "fused", settings=settings)
    want = pq.read_table(tmp_path / "fused")
    assert run(skewed, name, tmp_path, exchange=exchange, wire=wire).equals(want)


def test_what_several_types_of_edges_send_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HGT of 90 relations wrote the same rows 30 times: 15 GB were mapped, of 2^18 nodes."""
    rng = np.random.default_rng(3)
    nodes = pa.table({"id": np.arange(50), "x": list(rng.normal(size=(50, 4)).astype(np.float32))})
    kinds = [("node", f"r{number}", "node") for number in range(3)]
    edges = {kind: pa.table({end: rng.integers(0, 50, 90) for end in ("src", "dst")}) for kind in kinds}

    def formula(g: Any, x: Any) -> Any:
        h, k = relu(x["node"]), x["node"] * 3.0
        return {"node": {"output": sum(g[kind].sum(g[kind].src(h)) + g[kind].max(g[kind].src(k)) for kind in kinds)}}

    model = Model.from_formula(formula, {}, {"node": {"x": 4}, **{kind: {} for kind in kinds}})
    graph = prepare(Graph({"node": nodes}, edges, features={"node": "x"}), tmp_path / "graph", blocks=BLOCKS)
    assert [len(each.values) for each in Plan.of(model).steps[0].ships] == [2, 2, 2]
    bytes_of: list[int] = []
    real = through_files.write_arrays

    def write(path: str, arrays: Any, checksums: bool) -> Any:
        bytes_of.append(sum(array.nbytes for name, array in arrays.items() if "rows" not in Path(path).parts))
        return real(path, arrays, checksums)

    monkeypatch.setattr(through_files, "write_arrays", write)
    ways = {"fused": Settings(tier="fused"), "kept": Settings(work_dir=str(tmp_path / "work"))}
    for name, settings in ways.items():
        score(graph, model, tmp_path / name, settings=settings)
    tables = [pq.read_table(tmp_path / name / "node") for name in ways]
    assert tables[0].equals(tables[1])
    assert sum(bytes_of) == 50 * (4 + 4) * 4
    found = Explanation.of(graph, model, ways["kept"]).kept
    blocks = [graph.block(index) for index in range(BLOCKS)]
    lists = sum(len(rows) for b in blocks for by in b.sends.values() for to, rows in by.items() if to != LOOPS)
    assert found is not None
    assert found.bytes_written == sum(bytes_of) + 4 * lists


# ---- runs that are killed


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, superstep: int, block: int) -> list[tuple[int, int]]:
    """The run ends before it computes a block. Returns what it has computed: superstep and block."""
    seen: list[tuple[int, int]] = []
    real = by_superstep.run_block
    dead = threading.Event()  # a thread that has begun with the next block goes on for a while

    def work(run: Any, files: Any, number: int, index: int) -> Iterator[pa.RecordBatch]:
        if (number, index) == (superstep, block):
            dead.set()
        if dead.is_set():
            raise Killed
        seen.append((number, index))
        yield from real(run, files, number, index)

    monkeypatch.setattr(by_superstep, "run_block", work)
    return seen


@pytest.mark.parametrize("name", ["sage", "graph_norm", "totals"])
def test_the_same_command_goes_on_where_a_run_was_killed(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Killed before each block of each superstep, one after the other, in one work directory."""
    steps = len(Plan.of(build(name)).steps)
    computed: list[list[tuple[int, int]]] = []
    for number in range(steps):
        for block in range(BLOCKS):
            with monkeypatch.context() as patch:
                computed.append(kill_at(patch, number, block))
                with pytest.raises(Killed):
                    run(prepared, name, tmp_path, threads=1)
            assert os.listdir(tmp_path) == ["work"], "of the output nothing"
    with monkeypatch.context() as patch:
        computed.append(kill_at(patch, -1, -1))
        table = run(prepared, name, tmp_path)
    output = next(iter(build(name).outputs))
    assert by_id(table, output) == in_process(name, whole("mixed"), BLOCKS, output)
    inside = [entry for seen in computed for entry in seen if entry[0] < steps - 1]
    assert sorted(inside) == [(number, block) for number in range(steps - 1) for block in range(BLOCKS)], "each once"
    assert left(tmp_path) == ["_graphsweep.json"]


KILL = """
import os, signal, sys
from pipeline import Graph, Model, explain, prepare, score
from pipeline.blocks.block import LOOPS
from pipeline.run import by_superstep
from pipeline.settings import Settings
from tests.formulas import build
real = by_superstep.run_block
def work(run, files, number, index):
    if (number, index) == (int(sys.argv[3]), int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)
    yield from real(run, files, number, index)
by_superstep.run_block = work
score(sys.argv[1], build("sage"), sys.argv[2] + "/o", settings=Settings(work_dir=sys.argv[2] + "/work", threads=1))
"""


@pytest.mark.parametrize(("superstep", "block"), [(0, 0), (1, 1), (2, 2)])
def test_a_process_that_is_killed(prepared: PreparedGraph, tmp_path: Path, superstep: int, block: int) -> None:
    """By kill -9, with its lock and what it was writing."""
    given = [sys.executable, "-c", KILL, prepared.path, tmp_path, str(superstep), str(block)]
    done = subprocess.run([*map(str, given)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert by_id(run(prepared, "sage", tmp_path)) == in_process("sage", whole("mixed"), BLOCKS)
    assert sorted(os.listdir(tmp_path)) == ["o", "work"], "what the killed run left beside the output is gone"


def interrupted(graph: PreparedGraph, at: Path, monkeypatch: pytest.MonkeyPatch, superstep: int = 1) -> Path:
    """The work directory of a run of sage that was killed in a superstep, before its block 1."""
    with monkeypatch.context() as patch:
        kill_at(patch, superstep, 1)
        with pytest.raises(Killed):
            run(graph, "sage", at, threads=1)
    return at / "work"


@pytest.mark.parametrize("name", ["superstep-0/00000", "superstep-1/00000", "rows/00002"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone", "zero"])
def test_what_is_damaged_is_computed_again(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    (file,) = interrupted(prepared, tmp_path, monkeypatch).glob(f"*/{name}")
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"changed": changed, "cut": content[:middle], "zero": bytes(len(content))}[how])
    assert by_id(run(prepared, "sage", tmp_path)) == in_process("sage", whole("mixed"), BLOCKS)


def test_what_another_run_has_left_is_refused(
    prepared: PreparedGraph, skewed: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = interrupted(prepared, tmp_path, monkeypatch)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    for graph, name, settings, what in [
        (skewed, "sage", {}, "another graph;"),
        (prepared, "gat", {}, "another model;"),
        (prepared, "sage", {"wire": "float16"}, "other settings;"),
        (skewed, "gat", {"exchange": "pull"}, "another graph, another model and other settings;"),
    ]:
        with pytest.raises(StorageError, match=f"work: holds what was left by a run with {what}.*Nothing was touched"):
            run(graph, name, tmp_path, **settings)
    monkeypatch.setattr("pipeline.run.transport.package_hash", lambda: "other")
    with pytest.raises(StorageError, match="another version of graphsweep"):
        run(prepared, "sage", tmp_path)
    assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert os.listdir(tmp_path) == ["work"]


def test_a_work_directory_that_is_done_serves_another_run(prepared: PreparedGraph, tmp_path: Path) -> None:
    run(prepared, "sage", tmp_path)
    assert by_id(run(prepared, "gat", tmp_path, "p")) == in_process("gat", whole("mixed"), BLOCKS)


def test_what_a_task_of_another_run_still_writes_is_not_taken(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of a run was killed, its tasks were not; the run was ended by the same command, and another one has
    begun in the same directory when they write their files, whole and with the right names."""
    work = interrupted(prepared, tmp_path, monkeypatch)
    shutil.copytree(work, tmp_path / "late")
    run(prepared, "sage", tmp_path)
    shutil.copytree(tmp_path / "late", work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("_graphsweep.json"))
    assert by_id(run(prepared, "gat", tmp_path, "p")) == in_process("gat", whole("mixed"), BLOCKS)


@pytest.mark.parametrize("content", ["a file", "a marker of another product", "scores", "graph"])
def test_what_is_no_work_directory_is_refused(prepared: PreparedGraph, tmp_path: Path, content: str) -> None:
    work = tmp_path / "work"
    if content == "scores":
        score(prepared, build("sage"), work)
    elif content == "graph":
        shutil.copytree(prepared.path, work)
    else:
        work.mkdir()
        name = "data.csv" if content == "a file" else "_graphsweep.json"
        (work / name).write_text(json.dumps({"product": "other", "kind": "work"}))
    before = sorted(os.listdir(work))
    with pytest.raises(StorageError, match=r"work: .*another path.*Nothing was touched"):
        run(prepared, "sage", tmp_path)
    assert sorted(os.listdir(work)) == before
    assert os.listdir(tmp_path) == ["work"]


def test_two_runs_in_one_work_directory(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = by_superstep.run_block
    refused: list[str] = []

    def work(given: Any, files: Any, number: int, index: int) -> Iterator[pa.RecordBatch]:
        if not refused:
            with pytest.raises(StorageError, match=r"another run .* is writing there") as error:
                score(prepared, build("sage"), tmp_path / "p", settings=Settings(work_dir=str(tmp_path / "work")))
            refused.append(str(error.value))
        yield from real(given, files, number, index)

    monkeypatch.setattr(by_superstep, "run_block", work)
    table = run(prepared, "sage", tmp_path, threads=1)
    assert refused
    assert by_id(table) == in_process("sage", whole("mixed"), BLOCKS)


def test_a_full_disk(tmp_path: Path) -> None:
    """The run says which, and how full; with more room it goes on, and has the same bits."""
    nodes = pa.table({"id": range(20_000), "x": pa.array([[1.0] * 6] * 20_000, pa.list_(pa.float32()))})
    pq.write_table(nodes, tmp_path / "nodes.parquet")
    pq.write_table(pa.table({"src": [1, 7], "dst": [2, 9]}), tmp_path / "edges.parquet")
    tables = Graph.of_files(str(tmp_path / "nodes.parquet"), str(tmp_path / "edges.parquet"))
    assert tables is not None
    graph = prepare(tables, tmp_path / "graph", blocks=BLOCKS)
    score(graph, build("sage"), tmp_path / "fused")
    with small_disk(tmp_path / "small", "300k") as disk:
        with pytest.raises(StorageError) as error:
            run(graph, "sage", disk, output="../o")
        assert re.fullmatch(
            rf"{disk}/work/\w+/superstep-0: cannot be written: No space left on device "
            r"\([0-9,]+ of 307,200 bytes are free in .*/superstep-0\)",
            str(error.value),
        )
        assert not (tmp_path / "o").exists()
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        assert run(graph, "sage", disk, output="../o").equals(pq.read_table(tmp_path / "fused"))
        assert left(disk) == ["_graphsweep.json"]
    assert sorted(os.listdir(tmp_path)) == ["edges.parquet", "fused", "graph", "nodes.parquet", "o", "small"]


def test_settings_that_cannot_be(prepared: PreparedGraph, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="transport is shuffle, but work_dir keeps files"):
        Settings(transport="shuffle", work_dir="work")
    with pytest.raises(StorageError, match="dbfs:/work: a place of dbfs: can be reached by Spark only"):
        score(prepared, build("sage"), tmp_path / "o", settings=Settings(work_dir="dbfs:/work"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["graph/inside", "o", "o/inside", "."])
def test_a_work_directory_touches_neither_input_nor_output(tmp_path: Path, place: str) -> None:
    graph = prepared_graph("mixed", tmp_path, reverse=True)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(SettingError, match="Nothing was touched"):
        score(graph, build("sage"), tmp_path / "o", settings=Settings(work_dir=str(tmp_path / place)))
    assert sorted(os.listdir(tmp_path)) == before


# ---- what explain says of it


def kept(graph: PreparedGraph, name: str, at: Path, **settings: Any) -> Kept:
    found = Explanation.of(graph, build(name), Settings(work_dir=str(at / "work"), **settings)).kept
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["sage", "gat", "merging", "totals", "graph_norm"])
def test_explain_says_what_the_directory_costs(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The bytes of all arrays that a run writes there, but for their headers."""
    written: list[int] = []
    real = through_files.write_arrays

    def write(path: str, arrays: Any, checksums: bool) -> Any:
        written.append(sum(array.nbytes for array in arrays.values()))
        return real(path, arrays, checksums)

    monkeypatch.setattr(through_files, "write_arrays", write)
    found = kept(prepared, name, tmp_path)
    assert (found.supersteps_done, found.blocks_done, found.refused) == (0, 0, None)
    assert not (tmp_path / "work").exists(), "explain writes nothing"
    run(prepared, name, tmp_path)
    lists = sum(len(rows) for block in map(prepared.block, range(BLOCKS)) for rows in block.sends[EDGE].values())
    told = 12 * BLOCKS * BLOCKS  # of each list to whom, and where it ends
    assert abs(sum(written) - found.bytes_written) <= told + 4 * lists
    assert 0 < found.bytes_at_once <= found.bytes_written


def test_explain_says_what_is_there(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 1, 2)
        with pytest.raises(Killed):
            run(prepared, "sage", tmp_path, threads=1)
    files = sorted(path for path in (tmp_path / "work").rglob("*"))
    found = kept(prepared, "sage", tmp_path)
    assert (found.supersteps_done, found.blocks_done, found.refused) == (1, 2, None)
    lines = explain(prepared, build("sage"), Settings(work_dir=str(tmp_path / "work")))
    assert f"{tmp_path / 'work'}\n" in lines, "a path is in one piece, however long it is"
    said = " ".join(lines.split())
    assert f"sends through files in {tmp_path / 'work'}, which outlast the process" in said
    assert "1 of 3 supersteps of this run are there: it would go on in superstep 1, of which 2 blocks are done" in said
    other = kept(prepared, "gat", tmp_path)
    assert other.refused is not None
    assert "holds what was left by a run with another model" in other.refused
    assert "other settings" in str(kept(prepared, "sage", tmp_path, wire="float16").refused)
    assert sorted(path for path in (tmp_path / "work").rglob("*")) == files, "nothing was touched"
    run(prepared, "sage", tmp_path)
    assert kept(prepared, "sage", tmp_path).supersteps_done == 0
    (tmp_path / "work" / "_graphsweep.json").unlink()
    (tmp_path / "work" / "mine").write_text("")
    assert "exists, and is no work directory of ours" in str(kept(prepared, "sage", tmp_path).refused)


def test_explain_while_a_run_works_there(
    prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, said = by_superstep.run_block, []

    def work(run: Any, files: Any, number: int, index: int) -> Iterator[pa.RecordBatch]:
        said.append(kept(prepared, "sage", tmp_path).refused)
        yield from real(run, files, number, index)

    monkeypatch.setattr(by_superstep, "run_block", work)
    run(prepared, "sage", tmp_path, threads=1)
    assert said
    assert all("another process is working there" in str(refused) for refused in said)
