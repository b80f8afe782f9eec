"""graphsweep against what else runs on Spark, and PyG: one command, one table, JSON beside it.

    python -m jobs.bench.rivals --scale 20 --runs 3 --limit 900
    python -m jobs.bench.rivals --scale 18 --features 256 --model wide
    python -m jobs.bench.rivals --scale 14 --contenders prepare fused distributed "khop 1" --seeds 0

All of them compute GraphSAGE's output for the same Parquet files, file to file, in turns, each in a process of its own
(contender.py) in which everything is warm, but for PyG. The outputs are compared with PyG's, or with the first
that there is. A contender that fails or is not done within --limit has a row that says so, and is left out of later
rounds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.bench.__main__ import TOLERANCE, read_output
from jobs.bench.graph import Parameters, add_arguments, generate, parameters_of
from jobs.bench.measure import ROOT, machine, run_python, say
from jobs.bench.rivals.contender import Outcome, Task, contend
from jobs.bench.rivals.rivals_table import render
from jobs.bench.rivals.spark import FASTEST, FORMS
from jobs.bench.rivals.work import CONTENDERS

NO_JAR = "left out: GRAPHFRAMES_JAR is not set"
NO_OUTPUT = ("prepare",)


def make_task(parameters: Parameters, work: Path, model: str = "sage", **options: Any) -> Task:
    """The graph, and both forms of the model."""
    graph = generate(parameters, work)
    task = Task(str(graph), str(work), parameters.nodes, parameters.edges, model, **options)
    given = [*("--features", parameters.features), *("--names", model)]
    run_python("-m", "jobs.bench.pyg", "models", "--models", task.models, *given)
    return task


def run_round(task: Task, names: Sequence[str], round: int, limit: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    witness: Path | None = None
    for name in names:
        if name == "graphframes" and not os.environ.get("GRAPHFRAMES_JAR"):
            outcomes.append(Outcome(name, failed=NO_JAR))
            continue
        outcome = contend(name, task, round, limit)
        outcomes.append(outcome)
        if outcome.run is None or name in NO_OUTPUT:
            continue
        output = task.output(name)
        if witness is None:
            witness = output
            continue
        try:
            outcome.run.max_difference = difference(output, witness)
        except ValueError as error:
            outcome.failed, outcome.run = f"failed: {error}", None
            say(f"round {round}: {name}: {outcome.failed}")
    return outcomes


def difference(output: Path, witness: Path) -> float:
    """Largest of all numbers. ValueError if that is more than rounding, or a row is nowhere in the witness."""
    (ids, values), (all_ids, all_values) = read_output(output), read_output(witness)
    at = np.minimum(np.searchsorted(all_ids, ids), len(all_ids) - 1)
    if not len(ids) or len(np.unique(ids)) < len(ids) or not np.array_equal(all_ids[at], ids):
        raise ValueError("it has other rows")
    found = float(np.abs(values - all_values[at]).max())
    if not found <= TOLERANCE:
        raise ValueError(f"it is off by {found:g}; rounding is at most {TOLERANCE:g}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work, parameters = given.work.resolve(), parameters_of(given)
    say(f"{parameters.nodes:,} nodes, {parameters.edges:,} edges")
    task = make_task(parameters, work, given.model, blocks=given.blocks, form=given.form, seeds=given.seeds)
    about = {"parameters": asdict(parameters), "task": asdict(task), "limit": given.limit, "machine": machine()}
    outcomes: list[Outcome] = []
    for round in range(1, given.runs + 1):
        lost = {outcome.name for outcome in outcomes if outcome.failed}
        outcomes += run_round(task, [name for name in given.contenders if name not in lost], round, given.limit)
        # after each round: what is there so far survives whatever comes
        rows = [asdict(outcome) for outcome in outcomes]
        (work / "rivals.json").write_text(json.dumps({**about, "outcomes": rows}, indent=1) + "\n")
        (work / "rivals.md").write_text(render(outcomes, about))
    print((work / "rivals.md").read_text())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--model", choices=("sage", "wide"), default="sage", help="64 or as many hidden as features")
    parser.add_argument("--blocks", type=int, default=8, help="parts of the graph (8)")
    parser.add_argument("--form", choices=tuple(FORMS), default=FASTEST, help=f"how plain Spark sums ({FASTEST})")
    parser.add_argument("--seeds", type=int, default=256, help="nodes that k-hop scores, or 4 batches (256); 0: all")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one contender in a round (900)")
    parser.add_argument("--contenders", nargs="+", choices=tuple(CONTENDERS), default=tuple(CONTENDERS))
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
