"""Typed models beside PyTorch Geometric, file to file, for several numbers of relations over the same edges.

    python -m jobs.bench.typed --scale 20 --relations 6 90 --runs 3

Three node types; HGT and HeteroConv of SAGE on a table for each relation, RGCN on one table with a column of relations
(typed_graph.py). PyG's runs and ours are processes of their own, ours the fused tier without Spark. Our first output is
compared with PyG's, which fails the benchmark if it is another one. Sides take turns; a ratio is the median of those of
single rounds.

`--session` adds both tiers in one warm session of Spark, whose start does not count: who uses the distributed tier has
a cluster, and a session there. Each model is run once by each tier before it counts, with the bits of the first output.
What the distributed tier takes with the start of a session is measured once, as "first distributed".
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from jobs.bench.__main__ import CONSOLE, difference, read_output
from jobs.bench.measure import ROOT, Result, Run, keep, machine, run_python, say, timed
from jobs.bench.table import cores, gigabytes, ratio, table
from jobs.bench.typed_graph import TypedParameters, generate
from jobs.bench.typed_pyg import MODELS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLES = {"typed": ("hgt", "sage"), "plain": ("rgcn",)}
"""How the edges are given → the models that read them so."""
FUSED, DISTRIBUTED = "fused", "distributed"
SESSION = {tier: f"session {tier}" for tier in (FUSED, DISTRIBUTED)}
"""Tier → what its runs in the session are called."""


class Bench:
    """The files of one number of relations."""

    def __init__(self, tables: Path, work: Path, relations: int, models: Sequence[str]):
        self.tables, self.relations = tables, relations
        self.models = models
        self.forms = [form for form, names in TABLES.items() if set(names) & set(models)]
        self.work = work / f"relations-{relations}"

    def title(self, what: str) -> str:
        return f"{what}, {self.relations} relations"

    def output(self, side: str, model: str) -> Path:
        return self.work / "outputs" / f"{side}-{model}"


def form_of(model: str) -> str:
    return next(form for form, names in TABLES.items() if model in names)


# ---- the runs


def import_model(bench: Bench, model: str) -> Result:
    """A module to a model directory."""
    told = [*("--model", model), *("--relations", bench.relations), *("--output", bench.work / model)]
    said, usage = run_python("-m", "jobs.bench.typed_pyg", "save", *told)
    return Result(json.loads(said.splitlines()[-1]), usage)


def prepare(bench: Bench, form: str) -> Result:
    """Raw tables to a prepared graph."""
    if form == "typed":
        given = ["--graph-spec", bench.tables / "typed"]
    else:
        nodes, edges = (bench.tables / f"plain/{name}.parquet" for name in ("nodes", "edges"))
        given = ["--nodes", nodes, "--edges", edges, "--edge-features", "edge_type"]
    paths = [*given, *("--output", bench.work / f"graph-{form}"), "--overwrite", "--quiet"]
    return Result(usage=run_python("-c", CONSOLE, "prepare", *paths)[1])


def infer(bench: Bench, model: str, tier: str) -> Result:
    """A prepared graph and a model directory to tables; distributed, with a session that is started for it."""
    paths = [*("--graph", bench.work / f"graph-{form_of(model)}"), *("--model", bench.work / model)]
    told = [*("--output", bench.output(tier, model)), *("--tier", tier), "--overwrite", "--quiet"]
    return Result(usage=run_python("-c", CONSOLE, "infer", *paths, *told)[1])


def infer_here(bench: Bench, model: str, tier: str, spark: SparkSession) -> Result:
    """The same in a session that is there."""
    from pipeline import Settings, score

    paths = [bench.work / f"graph-{form_of(model)}", bench.work / model, bench.output(SESSION[tier], model)]
    report = score(*paths, overwrite=True, settings=Settings(tier=tier), spark=spark)
    return Result({f"superstep {step.number}": step.seconds for step in report.supersteps})


def pyg(bench: Bench, model: str) -> Result:
    """Raw tables to tables."""
    told = [*("--model", model), *("--relations", bench.relations), *("--tables", bench.tables)]
    said, usage = run_python("-m", "jobs.bench.typed_pyg", "run", *told, "--output", bench.output("pyg", model))
    return Result(json.loads(said.splitlines()[-1]), usage)


def outputs(bench: Bench, side: str, model: str) -> dict[str, Path]:
    """Node type → its table."""
    at = bench.output(side, model)
    if form_of(model) == "plain" and side != "pyg":
        return {"node": at}
    return {path.name: path for path in sorted(at.iterdir()) if path.is_dir()}


def largest_difference(bench: Bench, model: str, side: str) -> float:
    """Of the tables of all types; SystemExit if it is more than rounding."""
    ours, theirs = outputs(bench, side, model), outputs(bench, "pyg", model)
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{model}: PyG gives {', '.join(theirs)}; here are {', '.join(ours)}")
    return max(difference(ours[name], theirs[name]) for name in theirs)


def compare(bench: Bench, model: str, side: str) -> None:
    """SystemExit if the rows are not those of the fused run in a process of its own, bit for bit."""
    fused = outputs(bench, FUSED, model)
    for name, path in outputs(bench, side, model).items():
        (ids, values), (other_ids, other_values) = read_output(path), read_output(fused[name])
        if not np.array_equal(ids, other_ids) or values.tobytes() != other_values.tobytes():
            raise SystemExit(f"{side} {model}, {name}: other rows than those of the fused run")


def run_rounds(benches: Sequence[Bench], rounds: int, with_pyg: bool, spark: SparkSession | None) -> list[Run]:
    runs: list[Run] = []
    in_session = [] if spark is None else list(SESSION)

    def take(bench: Bench, number: int, what: str, job: Callable[[], Result]) -> Run:
        runs.append(timed(bench.title(what), number, job))
        return runs[-1]

    def take_here(bench: Bench, number: int, model: str, tier: str, first: str = "") -> None:
        assert spark is not None
        spark.sparkContext._jvm.System.gc()  # type: ignore[union-attr]
        take(bench, number, f"{first}{SESSION[tier]} {model}", partial(infer_here, bench, model, tier, spark))

    for bench in benches:
        for model in bench.models:
            take(bench, 0, f"import {model}", partial(import_model, bench, model))
        for form in bench.forms:
            prepare(bench, form)  # its kernels are compiled too
        for model in bench.models:
            if with_pyg:
                pyg(bench, model)
            for tier in (FUSED, DISTRIBUTED) if spark else (FUSED,):
                first = take(bench, 0, f"first {tier} {model}", partial(infer, bench, model, tier))
                if with_pyg:
                    first.max_difference = largest_difference(bench, model, tier)
            for tier in in_session:
                take_here(bench, 0, model, tier, "first ")
                compare(bench, model, SESSION[tier])
    for number in range(1, rounds + 1):
        for bench in benches:
            for form in bench.forms:
                take(bench, number, f"prepare {form}", partial(prepare, bench, form))
            for model in bench.models:
                if with_pyg:
                    take(bench, number, f"pyg {model}", partial(pyg, bench, model))
                take(bench, number, f"{FUSED} {model}", partial(infer, bench, model, FUSED))
                for tier in in_session:
                    take_here(bench, number, model, tier)
    return runs


# ---- what is said


def render(runs: Sequence[Run], benches: Sequence[Bench]) -> str:
    """A row for each job and number of relations."""
    by_what: dict[str, list[Run]] = {}
    for run in runs:
        by_what.setdefault(run.what, []).append(run)
    first, rows = benches[0], []
    jobs = [f"prepare {form}" for form in first.forms]
    ours = [FUSED, *SESSION.values()]
    kinds = ["import", "first fused", "first distributed", *(f"first {kind}" for kind in SESSION.values()), "pyg"]
    jobs += [f"{kind} {model}" for model in first.models for kind in [*kinds, *ours]]
    for job in jobs:
        kind, _, model = job.rpartition(" ")
        for bench in benches:
            found = by_what.get(bench.title(job))
            if found:
                pyg = by_what.get(bench.title(f"pyg {model}")) if kind in ours else None
                fused = by_what.get(bench.title(f"{SESSION[FUSED]} {model}")) if kind in SESSION.values() else None
                rows.append(row(bench.title(job), found, pyg, fused, by_what[first.title(job)]))
    head = ["", "seconds", "× PyG", "× PyG without its start", "× fused", "core-seconds", "× PyG", "× fused"]
    return table([*head, f"× {first.relations} relations", "peak memory", "difference"], rows) + "\n"


def row(
    title: str, found: Sequence[Run], pyg: Sequence[Run] | None, fused: Sequence[Run] | None, fewest: Sequence[Run]
) -> list[str]:
    """`fused`: in the same session. `fewest`: of the first number of relations."""
    differences = [run.max_difference for run in found if run.max_difference is not None]

    def beside(others: Sequence[Run] | None, of: Callable[[Run], float]) -> str:
        return f"{ratio(found, others, of):.2f}" if others else ""

    return [
        title,
        f"{median(run.seconds for run in found):.1f}",
        beside(pyg, lambda run: run.seconds),
        beside(pyg, lambda run: run.seconds - run.parts.get("import", 0)),
        beside(fused, lambda run: run.seconds),
        f"{median(map(cores, found)):.1f}",
        beside(pyg, cores),
        beside(fused, cores),
        beside(fewest, cores),
        gigabytes(median(run.peak_bytes for run in found)),
        f"{max(differences):.0e}" if differences else "",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work = given.work.resolve()
    parameters = [TypedParameters(given.scale, given.degree, number, seed=given.seed) for number in given.relations]
    benches = [Bench(generate(each, work), work / "typed", each.relations, given.models) for each in parameters]
    say(f"{sum(parameters[0].nodes.values()):,} nodes, {parameters[0].edges:,} edges")
    from pipeline.command.own_session import spark_session

    with spark_session() if given.session else nullcontext() as spark:
        runs = run_rounds(benches, given.runs, not given.skip_pyg, spark)
    about = {"parameters": [asdict(each) for each in parameters], "machine": machine()}
    text = render(runs, benches)
    keep(work, "typed", about, runs, text)
    for bench in benches:
        shutil.rmtree(bench.work)
    say(f"commit {about['machine']['commit']}")
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=20, help="2 ** SCALE nodes (20)")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--relations", type=int, nargs="+", default=[6, 90], help="numbers of relations (6 90)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models (all)")
    parser.add_argument("--session", action="store_true", help="both tiers in a warm session of Spark, too")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--skip-pyg", action="store_true", help="run our side only, which nothing is compared with")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
