"""The competitor of typed.py: typed models by PyTorch Geometric, in a process of its own, on all cores.

Comes in: the tables of typed_graph.py. Goes out: a table for each node type, and one line of JSON with the seconds of
each part. `save` makes the model directory for graphsweep, and tells what the import took.

    python -m jobs.bench.typed_pyg save --relations 6 --model hgt --output DIR
    python -m jobs.bench.typed_pyg run --tables DIR --relations 6 --model hgt --output DIR
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from jobs.bench.pyg import positions, write
from jobs.bench.typed_graph import metadata, triples

WIDTH, HEADS, LAYERS = 64, 4, 2
MODELS = {
    "hgt": "HGT, two layers 64→64→64, 4 heads",
    "sage": "HeteroConv of SAGE (mean), two layers 64→64→64",
    "rgcn": "RGCN by edge_type, two layers 64→64→64",
}


def build(name: str, relations: int) -> Any:
    """An unmodified stack of PyG's layers, seeded, ready for inference."""
    import torch
    from torch_geometric.nn import HeteroConv, HGTConv, RGCNConv, SAGEConv

    torch.manual_seed(0)
    kinds = metadata(relations)
    layer = {
        "hgt": lambda: HGTConv(WIDTH, WIDTH, kinds, HEADS),
        "sage": lambda: HeteroConv({each: SAGEConv((WIDTH, WIDTH), WIDTH) for each in kinds[1]}),
        "rgcn": lambda: RGCNConv(WIDTH, WIDTH, relations),
    }[name]

    class Typed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layer() for _ in range(LAYERS))

        def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
            for number, each in enumerate(self.layers):
                x_dict = each(x_dict, edge_index_dict)
                if number < LAYERS - 1:
                    x_dict = {kind: x.relu() for kind, x in x_dict.items()}
            return x_dict

    class Relational(Typed):
        def forward(self, x: Any, edge_index: Any, edge_type: Any) -> Any:
            for number, each in enumerate(self.layers):
                x = each(x, edge_index, edge_type)
                x = x.relu() if number < LAYERS - 1 else x
            return x

    return (Relational if name == "rgcn" else Typed)().eval()


def save(name: str, relations: int, output: Path) -> dict[str, float]:
    """The model directory. Seconds of the module, of its import, and of writing it."""
    from pipeline import Model

    times = [time.perf_counter()]
    net = build(name, relations)
    times.append(time.perf_counter())
    if name == "rgcn":
        model = Model.from_pyg(
            net, inputs={"edge_type": "edges.edge_type"}, features={"x": WIDTH, "edge_type": range(relations)}
        )
    else:
        features = {"x_dict": dict.fromkeys(metadata(relations)[0], WIDTH)}
        model = Model.from_pyg(net, metadata=metadata(relations), features=features)
    times.append(time.perf_counter())
    model.save(output, overwrite=True)
    times.append(time.perf_counter())
    parts = ("module", "import", "save")
    return {part: stop - start for part, start, stop in zip(parts, times, times[1:], strict=False)}


def run(name: str, tables: Path, relations: int, output: Path) -> dict[str, float]:
    """Files to files. Seconds of each part; `import` begins with the process."""
    seconds: dict[str, float] = {}

    @contextmanager
    def part(title: str, started: float | None = None) -> Iterator[None]:
        started = time.time() if started is None else started
        yield
        seconds[title] = seconds.get(title, 0.0) + time.time() - started

    with part("import", psutil.Process().create_time()):
        import pyarrow.parquet as pq
        import torch
        import torch_geometric.nn  # noqa: F401

    def features(nodes: Any) -> Any:
        return torch.from_numpy(nodes["x"].combine_chunks().values.to_numpy().reshape(len(nodes), -1).copy())

    ids: dict[str, Any] = {}
    given: list[Any]
    if name == "rgcn":
        with part("read"):
            nodes, edges = (pq.read_table(tables / f"plain/{part}.parquet") for part in ("nodes", "edges"))
            ids["node"], x = nodes["id"], features(nodes)
        with part("map ids"):
            given = [x, positions(nodes["id"], edges), torch.from_numpy(edges["edge_type"].to_numpy().copy())]
    else:
        x_dict, edge_index_dict = {}, {}
        with part("read"):
            for kind in metadata(relations)[0]:
                nodes = pq.read_table(tables / f"typed/nodes/{kind}.parquet")
                ids[kind], x_dict[kind] = nodes["id"], features(nodes)
        for source, relation, target in triples(relations):
            with part("read"):
                edges = pq.read_table(tables / f"typed/edges/{source}__{relation}__{target}.parquet")
            with part("map ids"):
                edge_index_dict[source, relation, target] = positions(ids[source], edges, ids[target])
        given = [x_dict, edge_index_dict]
    with part("forward"), torch.no_grad():
        found = build(name, relations)(*given)
        by_type = {"node": found} if name == "rgcn" else found
    with part("write"):
        for kind, values in by_type.items():
            write(ids[kind], values.numpy(), output / kind / "part-0.parquet")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("save", "run"):
        command = commands.add_parser(name)
        command.add_argument("--model", choices=MODELS, required=True)
        command.add_argument("--relations", type=int, required=True)
        command.add_argument("--output", type=Path, required=True)
        if name == "run":
            command.add_argument("--tables", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "save":
        print(json.dumps(save(given.model, given.relations, given.output)))
    else:
        print(json.dumps(run(given.model, given.tables, given.relations, given.output)))


if __name__ == "__main__":
    main()
