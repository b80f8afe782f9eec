"""The competitor of bench.py: the same models by PyTorch Geometric, in a process of its own, on all cores.

Comes in: the Parquet files of a graph, a model's weights. Goes out: the table that graphsweep writes, and one line of
JSON with the seconds of each part. Knows nothing of Spark; of graphsweep only how to save a model for it.

    python -m jobs.bench.pyg models --models DIR --features 64
    python -m jobs.bench.pyg run --graph DIR --models DIR --model sage --output FILE
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

HIDDEN, OUT = 64, 32
HEADS, HEAD_LANES = 4, 16


def build(name: str, features: int) -> Any:
    """An unmodified module of torch_geometric, seeded, ready for inference."""
    import torch
    from torch_geometric.nn import GATConv, GraphSAGE

    torch.manual_seed(0)
    net = {
        "sage": lambda: GraphSAGE(features, HIDDEN, num_layers=2, out_channels=OUT),
        "wide": lambda: GraphSAGE(features, features, num_layers=2, out_channels=OUT),
        "gat": lambda: GATConv(features, HEAD_LANES, HEADS),
    }[name]()
    return net.eval()


def save_models(names: list[str], features: int, directory: Path) -> None:
    """Each model twice: its weights for PyG, and a model directory for graphsweep."""
    from safetensors.torch import save_file

    from pipeline import Model

    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        net = build(name, features)
        save_file(net.state_dict(), directory / f"{name}.safetensors")
        Model.from_pyg(net).save(directory / name, overwrite=True)


def run(name: str, graph: Path, models: Path, output: Path, order: str) -> dict[str, float]:
    """Files to file. Seconds of each part; `import` begins with the process."""
    seconds: dict[str, float] = {}

    @contextmanager
    def part(title: str, started: float | None = None) -> Iterator[None]:
        started = time.time() if started is None else started
        yield
        seconds[title] = time.time() - started

    with part("import", psutil.Process().create_time()):
        import pyarrow.parquet as pq
        import torch
        import torch_geometric.nn  # noqa: F401
        from safetensors.torch import load_file
    with part("read"):
        nodes, edges = pq.read_table(graph / "nodes.parquet"), pq.read_table(graph / "edges.parquet")
        x = torch.from_numpy(nodes["x"].combine_chunks().values.to_numpy().reshape(len(nodes), -1).copy())
    with part("map ids"):
        edge_index = positions(nodes["id"], edges)
        if order == "sorted":
            edge_index = sorted_edges(edge_index, len(nodes))
    with part("forward"), torch.no_grad():
        net = build(name, x.shape[1])
        net.load_state_dict(load_file(models / f"{name}.safetensors"))
        out = net(x, edge_index)
    with part("write"):
        write(nodes["id"], out.numpy(), output)
    return seconds


def positions(ids: Any, edges: Any, targets: Any = None) -> Any:
    """(2, edges) int64: where src and dst are among the nodes; dst among `targets` if these are of another type.
    pandas' hash table is the fastest of those tried (8M ids under load: pandas 1.4 s on one core, pyarrow 2.0 s, a sort
    and torch.searchsorted 6.7 s)."""
    import numpy as np
    import pandas as pd
    import torch

    indexes = [pd.Index(each.to_numpy()) for each in ((ids,) if targets is None else (ids, targets))]
    for index in indexes:
        index.get_indexer(index[:1])  # builds the hash table, which the threads then share
    found = np.empty((2, len(edges)), np.int64)

    def look(job: tuple[int, str, int]) -> None:
        row, column, chunk = job
        start, given = chunk * CHUNK, edges[column].slice(chunk * CHUNK, CHUNK).to_numpy()
        found[row, start : start + len(given)] = indexes[row % len(indexes)].get_indexer(given)

    chunks = range(-(-len(edges) // CHUNK))
    with ThreadPoolExecutor() as pool:
        list(pool.map(look, [(row, name, chunk) for row, name in enumerate(("src", "dst")) for chunk in chunks]))
    if (found < 0).any():
        raise SystemExit("an edge ends at no node")
    return torch.from_numpy(found)


CHUNK = 1 << 20


def sorted_edges(edge_index: Any, nodes: int) -> Any:
    """PyG's own class for edges in the order of their destinations, for which it has faster sums."""
    from torch_geometric import EdgeIndex

    return EdgeIndex(edge_index, sparse_size=(nodes, nodes)).sort_by("col").values


def write(ids: Any, values: Any, output: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
    output.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ids, "output": lists}), output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models")
    models.add_argument("--features", type=int, default=64)
    models.add_argument("--names", nargs="+", default=["sage", "gat"])
    one = commands.add_parser("run")
    one.add_argument("--graph", type=Path, required=True)
    one.add_argument("--model", required=True)
    one.add_argument("--output", type=Path, required=True)
    one.add_argument("--order", choices=("coo", "sorted"), default="coo")
    for command in (models, one):
        command.add_argument("--models", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "models":
        save_models(given.names, given.features, given.models)
    else:
        print(json.dumps(run(given.model, given.graph, given.models, given.output, given.order)))


if __name__ == "__main__":
    main()
