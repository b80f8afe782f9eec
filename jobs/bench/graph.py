"""An R-MAT graph of any size as two Parquet tables, for the benchmarks. The same parameters give the same tables.

    python -m jobs.bench.graph --scale 26 --features 32 --plain-ids --work out/bench

Comes in: parameters. Goes out: `nodes.parquet` (id, x), `edges.parquet` (src, dst) and `parameters.json`, which is
written last: a directory that has it is used again. A table is drawn in chunks, each with a seed of its own, and a
file holds PART_CHUNKS of them: a small table is one file, a large one a directory of them. Here the files are written
one after another, in Spark as tasks of which each holds one chunk in memory; the files are the same.

Ids are spread over all of int64 by a mix that can be inverted, or plain: the nodes' numbers. Nodes stay in R-MAT's own
order, hubs first: that is kind to whoever computes in the order of the table.

A hub, if there is to be one, is the last node, which has hardly an edge without: a share of all edges has it as their
one end (`dst`, unless said otherwise) instead of the end that was drawn; nothing else changes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# probabilities of the four quadrants, as in Graph500; d is the rest
A, B, C = 0.57, 0.19, 0.19
PART_CHUNKS = 16  # of a file: 16.8M edges, 268 MB

SCHEMAS = {
    "nodes": pa.schema({"id": pa.int64(), "x": pa.list_(pa.float32())}),
    "edges": pa.schema({"src": pa.int64(), "dst": pa.int64()}),
}

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parameters:
    scale: int = 20
    """2 ** scale nodes."""
    degree: int = 16
    """Edges per node."""
    features: int = 64
    seed: int = 1
    hub: float = 0.0
    """Share of all edges that have the last node at one end."""
    hub_end: str = "dst"
    """Which end: src or dst."""
    plain_ids: bool = False
    """Ids are the nodes' numbers, which take less of the disk: at scale 26 an edge has 6.9 bytes instead of 16."""

    edge_rows: int = 1 << 20
    """Of a chunk: drawn from one seed, held in memory, written as one row group."""
    node_rows: int = 1 << 17

    def __post_init__(self) -> None:
        if not 0 <= self.hub <= 1:
            raise SystemExit(f"a hub has between 0 and 1 of all edges, not {self.hub}")
        if self.hub_end not in ("src", "dst"):
            raise SystemExit(f"a hub is at src or dst, not at {self.hub_end}")

    @property
    def nodes(self) -> int:
        return 1 << self.scale

    @property
    def edges(self) -> int:
        return self.nodes * self.degree

    @property
    def name(self) -> str:
        """Of the directory; what is as usual is left out."""
        parts = [f"rmat-scale{self.scale}-degree{self.degree}-features{self.features}-seed{self.seed}"]
        parts += [f"hub{self.hub:g}-{self.hub_end}"] if self.hub else []
        parts += ["plain"] if self.plain_ids else []
        return "-".join(parts)

    def ids(self, numbers: Ids) -> Ids:
        return numbers if self.plain_ids else spread(numbers)


def generate(parameters: Parameters, work: Path, spark: SparkSession | None = None) -> Path:
    """The directory of the graph below `work`, made if it is not there; by tasks of a session that sees `work`."""
    directory = work / parameters.name
    done, text = directory / "parameters.json", json.dumps(asdict(parameters))
    if not done.is_file() or done.read_text() != text:
        directory.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        files = [file for table in SCHEMAS for file in parts(parameters, directory, table)]
        if spark is None:
            for file in files:
                write(parameters, *file)
        else:
            write_in_tasks(spark, parameters, files)
        done.write_text(text)
    return directory


# ---- files


Part = tuple[str, str, int, int]
"""Table, path, first chunk, and the one after the last."""


def parts(parameters: Parameters, directory: Path, table: str) -> list[Part]:
    """The files of a table that is to be written anew."""
    rows, step = parameters.nodes, parameters.node_rows
    if table == "edges":
        rows, step = parameters.edges, parameters.edge_rows
    chunks, path = -(-rows // step), directory / f"{table}.parquet"
    remove(path)  # of other parameters, or of a run that was interrupted
    if chunks <= PART_CHUNKS:
        return [(table, str(path), 0, chunks)]
    path.mkdir(exist_ok=True)
    return [
        (table, str(path / f"part-{number:05d}.parquet"), start, min(start + PART_CHUNKS, chunks))
        for number, start in enumerate(range(0, chunks, PART_CHUNKS))
    ]


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(parameters: Parameters, table: str, path: str, start: int, stop: int) -> None:
    """A file appears when it is whole, so that a task may be tried again."""
    draw = node_chunk if table == "nodes" else edge_chunk
    # random numbers do not compress, but the zero bytes of plain ids do; a dictionary serves neither
    with pq.ParquetWriter(f"{path}.part", SCHEMAS[table], use_dictionary=False, compression="zstd") as writer:
        for chunk in range(start, stop):
            columns = draw(parameters, chunk)
            writer.write_table(pa.table(columns, schema=SCHEMAS[table]), max(len(columns[0]), 1))
    os.replace(f"{path}.part", path)


def write_in_tasks(spark: SparkSession, parameters: Parameters, files: list[Part]) -> None:
    """Runs a job: a task per file."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch["id"].to_pylist():
                write(parameters, *files[number])
            yield batch

    spark.range(0, len(files), 1, len(files)).mapInArrow(work, "id long").count()


# ---- chunks


def node_chunk(parameters: Parameters, chunk: int) -> list[pa.Array]:
    start = chunk * parameters.node_rows
    numbers = np.arange(start, min(start + parameters.node_rows, parameters.nodes))
    random = np.random.default_rng([parameters.seed, 0, chunk])
    x = random.standard_normal((len(numbers), parameters.features), np.float32)
    offsets = np.arange(len(x) + 1, dtype=np.int32) * parameters.features
    return [pa.array(parameters.ids(numbers)), pa.ListArray.from_arrays(pa.array(offsets), pa.array(x.reshape(-1)))]


def edge_chunk(parameters: Parameters, chunk: int) -> list[pa.Array]:
    start = chunk * parameters.edge_rows
    count = min(parameters.edge_rows, parameters.edges - start)
    random = np.random.default_rng([parameters.seed, 1, chunk])
    src, dst = draw_edges(random, count, parameters.scale)
    if parameters.hub:
        # evenly among all edges: of the first n, hub * n
        before = np.floor(np.arange(start, start + count + 1) * parameters.hub)
        (src if parameters.hub_end == "src" else dst)[np.diff(before) > 0] = parameters.nodes - 1
    return [pa.array(parameters.ids(end)) for end in (src, dst)]


def draw_edges(random: np.random.Generator, count: int, scale: int) -> tuple[Ids, Ids]:
    """src and dst numbers: bit by bit, each edge goes into one of four quadrants of the adjacency matrix."""
    src, dst = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for _ in range(scale):
        drawn = random.random(count, np.float32)
        low = drawn >= A + B  # the lower half of the rows
        right = ((drawn >= A) & ~low) | (drawn >= A + B + C)
        src, dst = 2 * src + low, 2 * dst + right
    return src, dst


def spread(numbers: Ids) -> Ids:
    """Different numbers → different ids (the finaliser of splitmix64)."""
    mixed = numbers.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).view(np.int64)


# ---- the command


def main() -> None:
    from pipeline.command.own_session import spark_session

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--work", type=Path, default=Path("out/bench"), help="directory for all files (out/bench)")
    given = parser.parse_args()
    with spark_session() as spark:
        print(generate(parameters_of(given), given.work.resolve(), spark))


def add_arguments(parser: argparse.ArgumentParser, scale: int = 20) -> None:
    """Those of Parameters."""
    parser.add_argument("--scale", type=int, default=scale, help=f"2 ** SCALE nodes ({scale})")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--features", type=int, default=64, help="float32 numbers per node (64)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--hub", type=float, default=0.0, help="share of all edges that one node has at one end (0)")
    parser.add_argument("--hub-end", choices=("src", "dst"), default="dst", help="which end that is (dst)")
    parser.add_argument("--plain-ids", action="store_true", help="the nodes' numbers, not spread over all of int64")


def parameters_of(given: argparse.Namespace) -> Parameters:
    return Parameters(given.scale, given.degree, given.features, given.seed, given.hub, given.hub_end, given.plain_ids)


if __name__ == "__main__":
    main()
