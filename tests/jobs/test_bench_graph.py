"""The benchmark's graphs: the same tables however they are written, a hub of the share that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.bench import graph as bench_graph
from jobs.bench.graph import Parameters, draw_edges, generate, spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

SMALL = {
    "scale": 7,
    "degree": 4,
    "features": 3,
    "edge_rows": 50,
    "node_rows": 20,
}  # 11 and 7 chunks, the last ones short


def read(directory: Path, table: str) -> list[np.ndarray]:
    found = pq.read_table(directory / f"{table}.parquet")
    return [np.array(found[name].to_pylist()) for name in found.column_names]


def test_the_rows_are_the_same_in_one_file_and_in_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    parameters = Parameters(**SMALL, hub=0.2)
    one = generate(parameters, tmp_path / "one")
    assert (one / "edges.parquet").is_file()
    monkeypatch.setattr(bench_graph, "PART_CHUNKS", 4)
    parts = generate(parameters, tmp_path / "parts")
    tasks = generate(parameters, tmp_path / "tasks", spark)
    for table, files in (("edges", 3), ("nodes", 2)):
        names = [f"part-{number:05d}.parquet" for number in range(files)]
        for cut in (parts, tasks):
            assert sorted(path.name for path in (cut / f"{table}.parquet").iterdir()) == names
            for column, expected in zip(read(cut, table), read(one, table), strict=True):
                np.testing.assert_array_equal(column, expected)
        for name in names:
            assert (parts / f"{table}.parquet" / name).read_bytes() == (tasks / f"{table}.parquet" / name).read_bytes()


def test_every_chunk_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """What the first generator of this benchmark wrote, chunk by chunk."""
    src, dst = read(generate(Parameters(**SMALL), tmp_path), "edges")
    assert len(src) == 512
    expected = [draw_edges(np.random.default_rng([1, 1, chunk]), min(50, 512 - 50 * chunk), 7) for chunk in range(11)]
    np.testing.assert_array_equal(src, spread(np.concatenate([ends[0] for ends in expected])))
    np.testing.assert_array_equal(dst, spread(np.concatenate([ends[1] for ends in expected])))
    assert len({tuple(ends[0]) for ends in expected}) == 11


@pytest.mark.parametrize("end", ["src", "dst"])
def test_a_hub_has_its_share_at_one_end_and_changes_nothing_else(tmp_path: Path, end: str) -> None:
    plain = dict(
        zip(("src", "dst"), read(generate(Parameters(**SMALL, plain_ids=True), tmp_path), "edges"), strict=True)
    )
    parameters = Parameters(**SMALL, hub=0.13, hub_end=end, plain_ids=True)
    found = dict(zip(("src", "dst"), read(generate(parameters, tmp_path), "edges"), strict=True))
    other = "src" if end == "dst" else "dst"
    np.testing.assert_array_equal(found[other], plain[other])
    moved = found[end] != plain[end]
    assert (found[end][moved] == 127).all()
    assert (found[end] == 127).sum() == 66 + (plain[end][~moved] == 127).sum()  # 0.13 of 512
    assert abs(moved[:256].sum() - 33) <= 1  # all over the table, not in one chunk


def test_plain_ids_are_the_numbers_of_the_same_graph(tmp_path: Path) -> None:
    parameters = Parameters(**SMALL, plain_ids=True)
    plain, mixed = generate(parameters, tmp_path), generate(Parameters(**SMALL), tmp_path)
    assert plain != mixed
    np.testing.assert_array_equal(read(plain, "nodes")[0], np.arange(128))
    for numbers, ids in zip(read(plain, "edges"), read(mixed, "edges"), strict=True):
        np.testing.assert_array_equal(spread(numbers), ids)
    np.testing.assert_array_equal(read(plain, "nodes")[1], read(mixed, "nodes")[1])


def test_a_directory_is_used_again_only_when_it_is_whole_and_the_same(tmp_path: Path) -> None:
    directory = generate(Parameters(**SMALL), tmp_path)
    (directory / "edges.parquet").write_bytes(b"kept")
    generate(Parameters(**SMALL), tmp_path)
    assert (directory / "edges.parquet").read_bytes() == b"kept"
    (directory / "parameters.json").unlink()  # as if it had been interrupted
    generate(Parameters(**SMALL), tmp_path)
    first = read(directory, "edges")[0]
    assert len(first) == 512
    (directory / "nodes.parquet").unlink()
    (directory / "nodes.parquet").mkdir()
    (directory / "nodes.parquet" / "part-00007.parquet").write_bytes(b"of another run")
    assert generate(Parameters(**{**SMALL, "edge_rows": 64}), tmp_path) == directory
    assert (read(directory, "edges")[0] != first).any()
    assert len(read(directory, "nodes")[0]) == 128


@pytest.mark.parametrize("wrong", [{"hub": 1.5}, {"hub": 0.1, "hub_end": "both"}])
def test_a_hub_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SystemExit, match="hub"):
        Parameters(**{**SMALL, **wrong})
