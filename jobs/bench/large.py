"""A graph that is large for the machine, from generating it to verified scores, by the console commands of a user.

    python -m jobs.bench.large --scale 26 --features 32 --work out/bench

Each command is a process of its own. Printed: seconds, core-seconds, the peak memory of all processes, what lies on the
disk after it, and the most that was taken of the disk meanwhile. Node ids are plain numbers, which are kind to the
disk. The model is a GraphSAGE (mean) of PyG, features → 32 → 16.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import ROOT, Result, Run, machine, run_python, say, timed
from jobs.bench.table import cores, gigabytes, table

CONSOLE = "from pipeline.cli import main; main()"
MODEL = (
    "import sys, torch; from torch_geometric.nn import GraphSAGE; from pipeline import Model; torch.manual_seed(0);"
    "net = GraphSAGE(int(sys.argv[1]), 32, num_layers=2, out_channels=16).eval();"
    "Model.from_pyg(net).save(sys.argv[2], overwrite=True)"
)
TITLES = {
    "prepare": "`graphsweep prepare`: raw tables → prepared graph",
    "infer": "`graphsweep infer --graph`: prepared graph → scores of all nodes",
    "verify": "`graphsweep verify`: nodes recomputed in float64 from the raw tables",
}


@contextmanager
def disk(path: Path) -> Iterator[list[int]]:
    """Most bytes that were taken of the disk, looked at twice a second; by others too."""
    before, taken, stop = shutil.disk_usage(path).used, [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            taken[0] = max(taken[0], shutil.disk_usage(path).used - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join()


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work = given.work.resolve()
    parameters = Parameters(given.scale, given.degree, given.features, given.seed, plain_ids=True)
    say(f"{parameters.nodes:,} nodes, {parameters.edges:,} edges")
    started = time.perf_counter()
    graph = generate_in_tasks(parameters, work)
    say(f"generated in {time.perf_counter() - started:.0f} s")
    model, prepared, scores = (work / "large" / name for name in ("model", "prepared", "scores"))
    model.parent.mkdir(parents=True, exist_ok=True)
    run_python("-c", MODEL, parameters.features, model)
    conf = work / "large" / "conf.toml"
    conf.write_text(
        f'scratch = "{work / "large" / "scratch"}"\n' + (f'task_memory = "{given.memory}"\n' if given.memory else "")
    )
    commands: dict[str, list[object]] = {
        "prepare": ["--nodes", graph / "nodes.parquet", "--edges", graph / "edges.parquet", "--output", prepared],
        "infer": ["--graph", prepared, "--model", model, "--output", scores],
        "verify": ["--graph", prepared, "--model", model, "--output", scores, "--sample", given.sample],
    }
    rows, runs = [], []
    for name, options in commands.items():
        run, taken, said = command(name, options, conf, work)
        runs.append({**asdict(run), "disk_bytes": taken, "said": said})
        left = {"prepare": prepared, "infer": scores}.get(name)
        rows.append(
            [TITLES[name], f"{run.seconds:.0f}", f"{cores(run):.0f}", gigabytes(run.peak_bytes), gigabytes(taken),
             gigabytes(size(left)) if left else ""]
        )  # fmt: skip
    text = table(["", "seconds", "core-seconds", "peak memory", "most taken of the disk", "left there"], rows)
    raw = {
        name: size(graph / f"{name}.parquet") or (graph / f"{name}.parquet").stat().st_size
        for name in ("nodes", "edges")
    }
    about = {"parameters": asdict(parameters), "machine": machine(), "raw_bytes": raw}
    (work / "large" / "large.json").write_text(json.dumps({**about, "runs": runs}, indent=1) + "\n")
    head = (
        f"R-MAT graph of {parameters.nodes:,} nodes and {parameters.edges:,} edges, {parameters.features} float32 "
        f"features; raw tables {gigabytes(sum(raw.values()))}. Commit {about['machine']['commit']}."
    )
    print(f"{head}\n\n{text}\n\n{runs[-1]['said']}")


def generate_in_tasks(parameters: Parameters, work: Path) -> Path:
    from pipeline.command.own_session import spark_session

    os.environ["PYTHONPATH"] = str(ROOT)  # Spark's workers import this package, which is not installed
    with spark_session() as spark:
        return generate(parameters, work, spark)


def command(name: str, options: Sequence[object], conf: Path, work: Path) -> tuple[Run, int, str]:
    """A console command: what it took, bytes of the disk, and what it said."""
    extra = ["--overwrite", "--conf", conf] if name != "verify" else []
    said: list[str] = []

    def job() -> Result:
        out, usage = run_python("-c", CONSOLE, name, *options, *extra)
        said.append(out)
        return Result(usage=usage)

    with disk(work) as taken:
        run = timed(name, 1, job)
    return run, taken[0], said[0].strip()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=26, help="2 ** SCALE nodes (26)")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--features", type=int, default=32, help="of a node (32)")
    parser.add_argument("--memory", help='what a task may use, "8g"; else what is free')
    parser.add_argument("--sample", type=int, default=100, help="nodes to verify (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
