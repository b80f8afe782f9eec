"""A typed R-MAT graph of three node types and any number of relations, as Parquet tables for the benchmark.

Comes in: parameters. Goes out: a directory with the tables of every type, as `--graph-spec` takes them, and beside them
the same edges as one table whose column edge_type is the number of the relation. The same parameters give the same
tables, and another number of relations gives the same edges, split in another way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.graph import Ids, draw_edges, spread

HALVINGS = {"account": 1, "device": 2, "merchant": 2}  # of 2 ** scale nodes, each type has 2 ** -halvings
PAIRS = (
    ("account", "account"), ("account", "device"), ("device", "account"),
    ("account", "merchant"), ("merchant", "account"), ("device", "merchant"),
)  # fmt: skip
Triple = tuple[str, str, str]


@dataclass(frozen=True)
class TypedParameters:
    scale: int = 20
    """2 ** scale nodes of all types together."""
    degree: int = 16
    """Edges per node."""
    relations: int = 6
    """At least one for each pair of types."""
    features: int = 64
    seed: int = 1

    def __post_init__(self) -> None:
        if self.relations < len(PAIRS):
            raise SystemExit(
                f"{self.relations} relations; there are {len(PAIRS)} pairs of types, each has at least one"
            )

    @property
    def nodes(self) -> dict[str, int]:
        return {name: 1 << (self.scale - halvings) for name, halvings in HALVINGS.items()}

    @property
    def edges(self) -> int:
        return self.degree << self.scale

    @property
    def name(self) -> str:
        return f"typed-scale{self.scale}-degree{self.degree}-relations{self.relations}-seed{self.seed}"


def triples(relations: int) -> list[Triple]:
    """Relation k is between the types of pair k, counted round and round."""
    ends = [PAIRS[number % len(PAIRS)] for number in range(relations)]
    return [(source, f"r{number}", target) for number, (source, target) in enumerate(ends)]


def metadata(relations: int) -> tuple[list[str], list[Triple]]:
    return list(HALVINGS), triples(relations)


def generate(parameters: TypedParameters, work: Path) -> Path:
    """The directory below `work`, made if it is not there: `typed`, `plain`, and parameters.json, written last."""
    directory = work / parameters.name
    done, text = directory / "parameters.json", json.dumps(asdict(parameters))
    if not done.is_file() or done.read_text() != text:
        for part in ("typed/nodes", "typed/edges", "plain"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        _write_nodes(parameters, directory)
        _write_edges(parameters, directory)
        done.write_text(text)
    return directory


def _write_nodes(parameters: TypedParameters, directory: Path) -> None:
    random = np.random.default_rng([parameters.seed, 0])
    first, all_ids, all_x = 0, [], []
    for name, count in parameters.nodes.items():
        x = random.standard_normal((count, parameters.features), np.float32)
        _write(directory / f"typed/nodes/{name}.parquet", _rows(spread(np.arange(count)), x))
        all_ids.append(spread(np.arange(first, first + count)))
        all_x.append(x)
        first += count
    _write(directory / "plain/nodes.parquet", _rows(np.concatenate(all_ids), np.concatenate(all_x)))


def _rows(ids: Ids, x: npt.NDArray[np.float32]) -> dict[str, pa.Array]:
    offsets = np.arange(len(x) + 1, dtype=np.int32) * x.shape[1]
    return {"id": pa.array(ids), "x": pa.ListArray.from_arrays(pa.array(offsets), pa.array(x.reshape(-1)))}


def _write_edges(parameters: TypedParameters, directory: Path) -> None:
    src, dst, pair = _drawn(parameters)
    relation = _relations(parameters, pair)
    order = np.argsort(relation, kind="stable")
    ends = np.searchsorted(relation[order], np.arange(parameters.relations + 1))
    for number, (source, name, target) in enumerate(triples(parameters.relations)):
        mine = order[ends[number] : ends[number + 1]]
        table = {"src": pa.array(spread(src[mine])), "dst": pa.array(spread(dst[mine]))}
        _write(directory / f"typed/edges/{source}__{name}__{target}.parquet", table)
    starts = _starts(parameters.nodes)
    of_pair = np.array([[starts[end] for end in ends] for ends in PAIRS])
    whole = {
        "src": pa.array(spread(src + of_pair[pair, 0])),
        "dst": pa.array(spread(dst + of_pair[pair, 1])),
        "edge_type": pa.array(relation),
    }
    _write(directory / "plain/edges.parquet", whole)


def _starts(nodes: Mapping[str, int]) -> dict[str, int]:
    """The first number of each type among all nodes."""
    return dict(zip(nodes, np.cumsum([0, *nodes.values()])[:-1].tolist(), strict=True))


def _drawn(parameters: TypedParameters) -> tuple[Ids, Ids, Ids]:
    """src and dst among the nodes of their types, and the pair of types of each edge."""
    random = np.random.default_rng([parameters.seed, 1])
    src, dst = draw_edges(random, parameters.edges, parameters.scale)
    pair = random.integers(0, len(PAIRS), parameters.edges)
    halvings = np.array([[HALVINGS[end] for end in ends] for ends in PAIRS])
    return src >> halvings[pair, 0], dst >> halvings[pair, 1], pair


def _relations(parameters: TypedParameters, pair: Ids) -> Ids:
    """One of the relations of each edge's pair, all as likely."""
    counts = np.bincount(np.arange(parameters.relations) % len(PAIRS))
    random = np.random.default_rng([parameters.seed, 2])
    return pair + len(PAIRS) * random.integers(0, counts[pair])


def _write(path: Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path, row_group_size=1 << 20, use_dictionary=False, compression="zstd")
