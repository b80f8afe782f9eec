"""Typed models beside PyTorch Geometric, file to file, for several numbers of relations over the same edges.

    python -m jobs.bench.typed --scale 20 --relations 6 90 --runs 3

Three node types; HGT and HeteroConv of SAGE on a table for each relation, RGCN on one table with a column of relations
(typed_graph.py). Each run is a process of its own, the fused tier without Spark; `--tiers fused distributed` runs both.
Our first output of a tier is compared with PyG's, which fails the benchmark if it is another one. Sides take turns; a
ratio is the median of those of single rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from jobs.bench.__main__ import CONSOLE, difference
from jobs.bench.measure import ROOT, Result, Run, keep, machine, run_python, say, timed
from jobs.bench.table import cores, gigabytes, ratio, table
from jobs.bench.typed_graph import TypedParameters, generate
from jobs.bench.typed_pyg import MODELS

TABLES = {"typed": ("hgt", "sage"), "plain": ("rgcn",)}
"""How the edges are given → the models that read them so."""
TIERS = ("fused", "distributed")


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
    """A prepared graph and a model directory to tables; distributed, with a session of Spark that is started for it."""
    paths = [*("--graph", bench.work / f"graph-{form_of(model)}"), *("--model", bench.work / model)]
    told = [*("--output", bench.output(tier, model)), *("--tier", tier), "--overwrite", "--quiet"]
    return Result(usage=run_python("-c", CONSOLE, "infer", *paths, *told)[1])


def pyg(bench: Bench, model: str) -> Result:
    """Raw tables to tables."""
    told = [*("--model", model), *("--relations", bench.relations), *("--tables", bench.tables)]
    said, usage = run_python("-m", "jobs.bench.typed_pyg", "run", *told, "--output", bench.output("pyg", model))
    return Result(json.loads(said.splitlines()[-1]), usage)


def largest_difference(bench: Bench, model: str, tier: str) -> float:
    """Of the tables of all types; SystemExit if it is more than rounding."""
    theirs = sorted(path.name for path in bench.output("pyg", model).iterdir())
    ours = bench.output(tier, model)
    if form_of(model) == "plain":
        return difference(ours, bench.output("pyg", model) / theirs[0])
    if theirs != (found := sorted(path.name for path in ours.iterdir() if path.is_dir())):
        raise SystemExit(f"{model}: PyG gives {', '.join(theirs)}; here are {', '.join(found)}")
    return max(difference(ours / name, bench.output("pyg", model) / name) for name in theirs)


def run_rounds(benches: Sequence[Bench], rounds: int, with_pyg: bool, tiers: Sequence[str]) -> list[Run]:
    runs: list[Run] = []

    def take(bench: Bench, number: int, what: str, job: Callable[[], Result]) -> Run:
        runs.append(timed(bench.title(what), number, job))
        return runs[-1]

    for bench in benches:
        for model in bench.models:
            take(bench, 0, f"import {model}", partial(import_model, bench, model))
        for form in bench.forms:
            prepare(bench, form)  # its kernels are compiled too
        for model in bench.models:
            if with_pyg:
                pyg(bench, model)
            for tier in tiers:
                first = take(bench, 0, f"first {tier} {model}", partial(infer, bench, model, tier))
                if with_pyg:
                    first.max_difference = largest_difference(bench, model, tier)
    for number in range(1, rounds + 1):
        for bench in benches:
            for form in bench.forms:
                take(bench, number, f"prepare {form}", partial(prepare, bench, form))
            for model in bench.models:
                if with_pyg:
                    take(bench, number, f"pyg {model}", partial(pyg, bench, model))
                for tier in tiers:
                    take(bench, number, f"{tier} {model}", partial(infer, bench, model, tier))
    return runs


# ---- what is said


def render(runs: Sequence[Run], benches: Sequence[Bench], tiers: Sequence[str]) -> str:
    """A row for each job and number of relations."""
    by_what: dict[str, list[Run]] = {}
    for run in runs:
        by_what.setdefault(run.what, []).append(run)
    first, rows = benches[0], []
    jobs = [f"prepare {form}" for form in first.forms]
    kinds = ["import", *(f"first {tier}" for tier in tiers), "pyg", *tiers]
    jobs += [f"{kind} {model}" for model in first.models for kind in kinds]
    for job in jobs:
        tier, _, model = job.partition(" ")
        for bench in benches:
            found = by_what.get(bench.title(job))
            if found:
                beside = by_what.get(bench.title(f"pyg {model}")) if tier in tiers else None
                rows.append(row(bench.title(job), found, beside, by_what[first.title(job)]))
    head = [
        "",
        "seconds",
        "× PyG",
        "core-seconds",
        "× PyG",
        f"× {first.relations} relations",
        "peak memory",
        "difference",
    ]
    return table(head, rows) + "\n"


def row(title: str, found: Sequence[Run], pyg: Sequence[Run] | None, fewest: Sequence[Run]) -> list[str]:
    differences = [run.max_difference for run in found if run.max_difference is not None]
    return [
        title,
        f"{median(run.seconds for run in found):.1f}",
        f"{ratio(found, pyg, lambda run: run.seconds):.2f}" if pyg else "",
        f"{median(map(cores, found)):.1f}",
        f"{ratio(found, pyg, cores):.2f}" if pyg else "",
        f"{ratio(found, fewest, cores):.2f}",
        gigabytes(median(run.peak_bytes for run in found)),
        f"{max(differences):.0e}" if differences else "",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work = given.work.resolve()
    parameters = [TypedParameters(given.scale, given.degree, number, seed=given.seed) for number in given.relations]
    benches = [Bench(generate(each, work), work / "typed", each.relations, given.models) for each in parameters]
    say(f"{sum(parameters[0].nodes.values()):,} nodes, {parameters[0].edges:,} edges")
    runs = run_rounds(benches, given.runs, not given.skip_pyg, given.tiers)
    about = {"parameters": [asdict(each) for each in parameters], "machine": machine()}
    text = render(runs, benches, given.tiers)
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
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=TIERS[:1], help="which tiers (fused)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--skip-pyg", action="store_true", help="run our side only, which nothing is compared with")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
