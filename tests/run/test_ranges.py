"""Runs whose blocks send through an object store, as ranges of each other's files: the same bits as by any other way,
after kills too. The store is a real S3 server on this machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, prepare, score
from pipeline.blocks.rows import Row
from pipeline.errors import StorageError
from pipeline.job.status import status
from pipeline.prepared import PreparedGraph
from pipeline.preparing import by_step
from pipeline.preparing.stored import Written
from pipeline.run import by_superstep, ranges
from pipeline.run.mapped import write_arrays
from pipeline.run.ranges import Ranges
from pipeline.settings import Settings
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.places.s3 import Bucket, server
from tests.run.test_by_superstep import Killed, kill_at
from tests.run.test_edge_rows import keyed, model_of
from tests.run.test_tiers import BLOCKS, prepared_graph
from tests.whole import whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in server().environment.items():
        monkeypatch.setenv(name, value)
    return server().bucket(f"b{uuid.uuid4().hex}")


def run(bucket: Bucket, graph: PreparedGraph, name: str, at: Path, output: str = "o", **settings: object) -> None:
    given = Settings.of({"work_dir": bucket / "work", **settings})
    score(graph, build(name), at / output, settings=given)
    assert bucket.names() == ["work/_graphsweep.json"], "its files are gone"


# messages, softmax, self-loops with the block itself, totals, edges turned round, several values in one shipment
@pytest.mark.parametrize("name", ["sage", "gat", "gcn", "totals", "merging"])
def test_the_bits_of_the_block_program(prepared: PreparedGraph, bucket: Bucket, tmp_path: Path, name: str) -> None:
    run(bucket, prepared, name, tmp_path)
    for output in build(name).outputs:
        assert by_id(pq.read_table(tmp_path / "o"), output) == in_process(name, whole("mixed"), BLOCKS, output)


@pytest.mark.parametrize("wire", ["float32", "float16"])
def test_edges_that_are_pushed(skewed: PreparedGraph, bucket: Bucket, tmp_path: Path, wire: str) -> None:
    score(skewed, build("sage"), tmp_path / "fused", settings=Settings(tier="fused", wire=wire))
    run(bucket, skewed, "sage", tmp_path, wire=wire)
    assert pq.read_table(tmp_path / "o").equals(pq.read_table(tmp_path / "fused"))


def interrupted(bucket: Bucket, graph: PreparedGraph, at: Path, superstep: int, block: int) -> list[tuple[int, int]]:
    """What a run of sage computes that is killed before a block."""
    with pytest.MonkeyPatch.context() as patch:
        seen = kill_at(patch, superstep, block)
        with pytest.raises(Killed):
            run(bucket, graph, "sage", at, threads=1)
    return seen


def test_the_same_command_goes_on_where_a_run_was_killed(
    prepared: PreparedGraph, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    for superstep, block in [(0, 2), (1, 1), (2, 1)]:
        computed += interrupted(bucket, prepared, tmp_path, superstep, block)
        found = status(bucket / "work")
        assert (found.state, found.supersteps_done) == ("stopped", superstep)
        assert found.blocks_done == (block if superstep < 2 else 0), "of the result nothing is kept"
    computed += kill_at(monkeypatch, -1, -1)
    run(bucket, prepared, "sage", tmp_path)
    assert by_id(pq.read_table(tmp_path / "o")) == in_process("sage", whole("mixed"), BLOCKS)
    before = [entry for entry in computed if entry[0] < 2]
    assert sorted(before) == [(number, block) for number in range(2) for block in range(BLOCKS)], "each once"
    assert status(bucket / "work").state == "done"


@pytest.mark.parametrize("how", ["changed", "cut", "empty"])
def test_what_is_damaged_is_computed_again(prepared: PreparedGraph, bucket: Bucket, tmp_path: Path, how: str) -> None:
    interrupted(bucket, prepared, tmp_path, 1, 1)
    (name,) = (name for name in bucket.names() if name.endswith("superstep-0/00000"))
    content = bucket.get(name)
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    bucket.put(name, {"changed": changed, "cut": content[:middle], "empty": b""}[how])
    run(bucket, prepared, "sage", tmp_path)
    assert by_id(pq.read_table(tmp_path / "o")) == in_process("sage", whole("mixed"), BLOCKS)


def test_what_another_run_has_left_is_refused(prepared: PreparedGraph, bucket: Bucket, tmp_path: Path) -> None:
    interrupted(bucket, prepared, tmp_path, 1, 1)
    before = bucket.names()
    with pytest.raises(StorageError, match=r"holds what was left by a run with another model;.*Nothing was touched"):
        run(bucket, prepared, "gat", tmp_path)
    assert bucket.names() == before


def test_two_runs_in_one_work_directory(
    prepared: PreparedGraph, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = by_superstep.run_block, []

    def work(given: Any, files: Any, number: int, index: int) -> Iterator[pa.RecordBatch]:
        if not refused:
            with pytest.raises(StorageError, match=r"another run .* is writing there") as error:
                score(prepared, build("sage"), tmp_path / "p", settings=Settings(work_dir=bucket / "work"))
            refused.append(str(error.value))
        yield from real(given, files, number, index)

    monkeypatch.setattr(by_superstep, "run_block", work)
    run(bucket, prepared, "sage", tmp_path, threads=1)
    assert refused
    assert by_id(pq.read_table(tmp_path / "o")) == in_process("sage", whole("mixed"), BLOCKS)


def test_a_row_per_edge(bucket: Bucket, tmp_path: Path) -> None:
    graph = prepared_graph("mixed", tmp_path)
    score(graph, model_of("classified"), tmp_path / "o", settings=Settings(work_dir=bucket / "work"))
    assert keyed(pq.read_table(tmp_path / "o")) == keyed(infer(graph, model_of("classified")))


# ---- the ranges of a file


@pytest.fixture
def file(bucket: Bucket) -> str:
    arrays = {"ends/0": np.array([0, 2, 5, 70_000]), "to/0": np.arange(140_000, dtype=np.float32).reshape(-1, 2)}
    write_arrays(bucket / "w/00000", {**arrays, "part/1": np.array(3.0)}, checksum=True)
    return bucket / "w/00000"


def test_rows_of_an_array(file: str, bucket: Bucket) -> None:
    found = Ranges(file)
    assert found.array("ends/0", 1, 3).tolist() == [2, 5]
    assert found.array("part/1") == 3.0
    assert found.array("to/0", 69_999).tolist() == [[139_998.0, 139_999.0]]
    assert found.array("to/0", 5, 5).shape == (0, 2)
    assert not found.array("to/0", 0, 2).flags.writeable
    assert len(bucket.get("w/00000")) > ranges.HEAD, "the last row is a request of its own"


def test_files_that_are_not_as_they_should_be(file: str, bucket: Bucket) -> None:
    content = bucket.get("w/00000")
    with pytest.raises(StorageError, match=r"w/00000: is of another run: to/1 is missing"):
        Ranges(file).array("to/1")
    with pytest.raises(StorageError, match=r"w/00000: is damaged: to/0 has no rows 5 to 70001"):
        Ranges(file).array("to/0", 5, 70_001)
    for half in (content[:-1], content[:100], b"", b"\xff" * 100):
        bucket.put("w/00000", half)
        with pytest.raises(StorageError, match=r"w/00000: is damaged: "):
            Ranges(file)
    with pytest.raises(StorageError, match=r"w/00001: cannot be read: "):
        Ranges(bucket / "w/00001")


def test_a_header_that_is_longer_than_what_is_read_first(bucket: Bucket) -> None:
    write_arrays(bucket / "w/1", {f"own/{number}": np.full(3, number, np.int32) for number in range(2000)})
    assert Ranges(bucket / "w/1").array("own/1999").tolist() == [1999] * 3


# ---- preparing


def test_a_prepare_goes_on_where_it_was_killed(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = prepared_graph("mixed", tmp_path)
    tables = f"{tmp_path}/nodes.parquet", f"{tmp_path}/edges.parquet"
    graph = Graph.of_files(*tables, edge_features=["weight", "attr"])
    assert graph is not None
    real = by_step.write_part
    written: list[str] = []

    def dies(path: str, part: int, rows: Iterable[Row]) -> Written:
        if len(written) in (1, 3, 6):
            written.append("killed")
            raise Killed
        written.append(path)
        return real(path, part, rows)

    monkeypatch.setattr(by_step, "write_part", dies)
    given = {"blocks": BLOCKS, "work_dir": bucket / "work"}
    for _ in range(3):
        with pytest.raises(Killed):
            prepare(graph, bucket / "graph", **given)
        found = status(bucket / "work")
        assert (found.state, found.graph) == ("stopped", "preparing")
    found = prepare(graph, bucket / "graph", **given)
    assert found.fingerprint == want.fingerprint
    done = [path for path in written if path != "killed"]
    assert len(done) == len(set(done)), "nothing is done twice"
    inside = {name.partition("/")[0] for name in bucket.names()}
    assert inside == {"graph", "work"}
    assert [name for name in bucket.names() if name.startswith("work")] == ["work/_graphsweep.json"]
