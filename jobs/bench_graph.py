"""An R-MAT graph as two Parquet tables, for bench.py. The same parameters give the same tables.

Comes in: parameters. Goes out: `nodes.parquet` (id, x), `edges.parquet` (src, dst) and `parameters.json`, which is
written last: a directory that has it is used again.

Ids are spread over all of int64 by a mix that can be inverted. Nodes stay in R-MAT's own order, hubs first: that is
kind to whoever computes in the order of the table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

# probabilities of the four quadrants, as in Graph500; d is the rest
A, B, C = 0.57, 0.19, 0.19
EDGE_ROWS, NODE_ROWS = 1 << 20, 1 << 17  # of a row group

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parameters:
    scale: int = 20
    """2 ** scale nodes."""
    degree: int = 16
    """Edges per node."""
    features: int = 64
    seed: int = 1

    @property
    def nodes(self) -> int:
        return 1 << self.scale

    @property
    def edges(self) -> int:
        return self.nodes * self.degree


def generate(parameters: Parameters, work: Path) -> Path:
    """The directory of the graph below `work`, made if it is not there."""
    directory = work / "rmat-scale{scale}-degree{degree}-features{features}-seed{seed}".format(**asdict(parameters))
    done, text = directory / "parameters.json", json.dumps(asdict(parameters))
    if not done.is_file() or done.read_text() != text:
        directory.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        write_nodes(parameters, directory / "nodes.parquet")
        write_edges(parameters, directory / "edges.parquet")
        done.write_text(text)
    return directory


def write_nodes(parameters: Parameters, path: Path) -> None:
    schema = pa.schema({"id": pa.int64(), "x": pa.list_(pa.float32())})
    with pq.ParquetWriter(path, schema) as writer:
        for chunk, start in enumerate(range(0, parameters.nodes, NODE_ROWS)):
            numbers = np.arange(start, min(start + NODE_ROWS, parameters.nodes))
            random = np.random.default_rng([parameters.seed, 0, chunk])
            x = random.standard_normal((len(numbers), parameters.features), np.float32)
            offsets = np.arange(len(x) + 1, dtype=np.int32) * parameters.features
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(x.reshape(-1)))
            writer.write_table(pa.table([pa.array(spread(numbers)), lists], schema=schema), NODE_ROWS)


def write_edges(parameters: Parameters, path: Path) -> None:
    schema = pa.schema({"src": pa.int64(), "dst": pa.int64()})
    with pq.ParquetWriter(path, schema) as writer:
        for chunk, start in enumerate(range(0, parameters.edges, EDGE_ROWS)):
            random = np.random.default_rng([parameters.seed, 1, chunk])
            ends = draw_edges(random, min(EDGE_ROWS, parameters.edges - start), parameters.scale)
            writer.write_table(pa.table([pa.array(spread(end)) for end in ends], schema=schema), EDGE_ROWS)


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
