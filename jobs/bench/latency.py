"""How long a web service waits: `infer` of small graphs in one Python process, without Spark, after a first call.

    python -m jobs.bench.latency --runs 30

R-MAT graphs of some 10^4 and 10^6 edges, 64 features, GraphSAGE 64→64→32 as formulas, so that torch is not needed.
Three requests: tables in memory that nobody has seen before; a prepared graph that is open already, all nodes; the
same, ten nodes. Each is made once before it counts. A service has to tell the median of the seconds, and what nineteen
of twenty stay below; core-seconds change less when the machine has other things to do. Answers to the third are
compared with those to the second, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs.bench.explain import build
from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import machine, say
from jobs.bench.table import table
from pipeline.graph import Graph
from pipeline.infer import infer
from pipeline.prepare import prepare

SIZES = {"10^4": (10, 10), "10^6": (16, 16)}
"""Edges → scale and degree of the graph."""
NAME = "GraphSAGE 64→64→32"
FEW = 10
QUANTILE = 0.95


@dataclass(frozen=True)
class Request:
    """What a service is asked for, again and again."""

    size: str
    what: str
    nodes: int
    edges: int
    seconds: Sequence[float]
    core_seconds: Sequence[float]

    @property
    def high(self) -> float:
        """Nineteen of twenty take no longer."""
        return float(np.quantile(self.seconds, QUANTILE))


def measure(size: str, scale: int, degree: int, runs: int, work: Path) -> list[Request]:
    """Asks for scores of one graph in three ways."""
    directory = generate(Parameters(scale=scale, degree=degree), work)
    nodes, edges = pq.read_table(directory / "nodes.parquet"), pq.read_table(directory / "edges.parquet")
    graph = prepare(Graph(nodes, edges), directory / "graph", overwrite=True)
    model = build(NAME)
    ids = nodes["id"].to_pylist()[:: max(1, len(nodes) // FEW)][:FEW]
    asked: dict[str, Callable[[], Any]] = {
        "tables in memory → all nodes": lambda: infer(Graph(nodes, edges), model),
        "prepared graph → all nodes": lambda: infer(graph, model),
        f"prepared graph → {FEW} nodes": lambda: infer(graph, model, targets=ids),
    }
    found = []
    answers = []
    for what, ask in asked.items():
        answers.append(ask())
        seconds, cores = [], []
        for _ in range(runs):
            began, started = time.process_time(), time.perf_counter()
            ask()
            seconds.append(time.perf_counter() - started)
            cores.append(time.process_time() - began)
        say(f"{size} edges, {what}: {median(seconds) * 1000:.1f} ms")
        found.append(Request(size, what, len(nodes), len(edges), seconds, cores))
    _compare(answers[1], answers[2])
    return found


def _compare(everything: Any, some: Any) -> None:
    """AssertionError unless rows of some nodes have the bits that they have among all."""
    of_all = dict(zip(everything["id"].to_pylist(), everything["output"].to_pylist(), strict=True))
    for id, row in zip(some["id"].to_pylist(), some["output"].to_pylist(), strict=True):
        assert row == of_all[id], f"node {id} has other numbers alone than among all"


def render(found: Sequence[Request], about: Mapping[str, Any]) -> str:
    runs = len(found[0].seconds)
    load = os.getloadavg()[0]
    rows = [
        [
            f"{each.what}, {each.nodes:,} nodes, {each.edges:,} edges",
            f"{median(each.seconds) * 1000:.1f}",
            f"{each.high * 1000:.1f}",
            f"{median(each.core_seconds) * 1000:.1f}",
        ]
        for each in found
    ]
    return (
        f"{NAME}; one process, no Spark; {runs} requests each, after a first one. {about['cores']} cores of "
        f"{about['cpu']}; load average {load:.1f}. Commit {about['commit']}.\n\n"
        + table(["", "milliseconds, median", "95 % stay below", "core-milliseconds, median"], rows)
        + "\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    given = parser.parse_args(arguments)
    logging.getLogger("graphsweep").setLevel(logging.WARNING)
    found = [each for size in given.sizes for each in measure(size, *SIZES[size], given.runs, given.work)]
    about = machine()
    text = render(found, about)
    (given.work / "latency.json").write_text(json.dumps({"about": about, "found": [asdict(each) for each in found]}))
    (given.work / "latency.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
