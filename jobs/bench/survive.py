"""What it costs that a run survives, and what some nodes cost: ways to run one model, as parts of its fused run.

    python -m jobs.bench.survive --scale 20 --runs 3

GraphSAGE 64→64→32 and GAT 64→4×16 as formulas, from a prepared R-MAT graph to a Parquet table. First in this process
without Spark, as the console command does it, then in one warm session. The ways take turns; each is run once before
it counts, and its rows are compared with those of the fused run, bit for bit. A ratio is the median of those of the
rounds.

A run with a work directory is stopped at the end of a superstep by an error in the driver: a warm session cannot lose
its driver. What is left in the directory is the same. The same call then goes on. Until it was stopped and from then
on, less an undisturbed run of the same round: that is what the stop has cost.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.__main__ import read_output
from jobs.bench.explain import build
from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import ROOT, Result, Run, keep, machine, say, timed
from jobs.bench.table import cores, ratio, table
from pipeline.graph import Graph
from pipeline.plan.plan import Plan
from pipeline.prepare import prepare
from pipeline.run.work import Work
from pipeline.score import score
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODELS = {"sage": "GraphSAGE 64→64→32", "gat": "GAT 64→4×16"}
PROCESS, SESSION = "process", "session"
TITLES = {PROCESS: "without Spark", SESSION: "in a session"}
SHARES = (0.001, 0.01, 0.1)


@dataclass(frozen=True)
class Way:
    """How a model is run."""

    title: str
    tier: str = "fused"
    keeps: bool = False
    """With a work directory."""
    share: float = 1.0
    """Of the nodes that are wanted."""
    stopped: int | None = None
    """At the end of this superstep, and then given again."""


FUSED = Way("fused")
KEPT = Way("distributed, work directory", "distributed", keeps=True)
SOME = tuple(Way(f"fused, {100 * share:g} % of the nodes", share=share) for share in SHARES)
GOALS = {
    ("distributed", "sage"): 1.5,
    ("distributed", "gat"): 1.7,
    **{("fused, work directory", model): 1.3 for model in MODELS},
    **{(way.title, model): 0.3 if way.share == SHARES[0] else 1.0 for way in SOME for model in MODELS},
}
"""Title of a way, model → at most so many times the fused run."""


@dataclass(frozen=True)
class Bench:
    """One model in one place: this process, or a session."""

    model: str
    work: Path
    spark: SparkSession | None

    @property
    def place(self) -> str:
        return PROCESS if self.spark is None else SESSION

    @property
    def ways(self) -> list[Way]:
        """Those with a work directory last: the run after one takes 0.5 s more, for files that the system lets go."""
        kept = Way("fused, work directory", keeps=True)
        if self.spark is None:
            return [FUSED, *SOME, kept]
        steps = len(Plan.of(build(MODELS[self.model])).steps)
        stopped = [Way(f"stopped after superstep {n}", "distributed", True, stopped=n) for n in range(steps - 1)]
        return [FUSED, Way("distributed", "distributed"), *SOME, KEPT, *stopped]

    def called(self, way: Way) -> str:
        return f"{self.model} {self.place} {way.title}"

    def output(self, way: Way) -> Path:
        return self.work / "outputs" / self.called(way).replace(" ", "-").replace("%", "percent")

    def targets(self, way: Way) -> Path | None:
        return None if way.share == 1 else self.work / f"targets-{way.share}.parquet"

    def run(self, way: Way) -> Result:
        settings = Settings(tier=way.tier, work_dir=str(self.work / "kept") if way.keeps else None)
        given: dict[str, Any] = {"overwrite": True, "settings": settings, "spark": self.spark}
        call = partial(
            score, self.work / "prepared", self.work / self.model, self.output(way), targets=self.targets(way), **given
        )
        if way.stopped is None:
            return Result({f"superstep {step.number}": step.seconds for step in call().supersteps})
        started = time.perf_counter()
        with stopped_after(way.stopped):
            call()
        between = time.perf_counter()
        call()
        return Result({"until stopped": between - started, "from then on": time.perf_counter() - between})


class Stopped(BaseException):
    """By the bench."""


@contextmanager
def stopped_after(superstep: int) -> Iterator[None]:
    """A run in here ends when a superstep is done and noted."""
    note = Work.note

    def noted(self: Work, number: int, stored: Sequence[Any]) -> None:
        note(self, number, stored)
        if number == superstep:
            raise Stopped

    try:
        Work.note = noted  # type: ignore[method-assign]
        yield
    except Stopped:
        return
    finally:
        Work.note = note  # type: ignore[method-assign]
    raise SystemExit(f"no run was stopped after superstep {superstep}")


# ---- rounds


def run_rounds(benches: Sequence[Bench], rounds: int) -> list[Run]:
    for bench in benches:
        for way in bench.ways:
            bench.run(way)
            compare(bench, way)
    runs = []
    for number in range(1, rounds + 1):
        for bench in benches:
            for way in bench.ways:
                if bench.spark is not None:
                    bench.spark.sparkContext._jvm.System.gc()  # type: ignore[union-attr]
                runs.append(timed(bench.called(way), number, partial(bench.run, way)))
    return runs


def compare(bench: Bench, way: Way) -> None:
    """SystemExit if the rows of a way are not those of the fused run."""
    ids, values = read_output(bench.output(FUSED))
    targets = bench.targets(way)
    if targets is not None:
        at = np.searchsorted(ids, np.sort(pq.read_table(targets)["id"].to_numpy()))
        ids, values = ids[at], values[at]
    found_ids, found = read_output(bench.output(way))
    if not np.array_equal(ids, found_ids) or not np.array_equal(values.view(np.int32), found.view(np.int32)):
        raise SystemExit(f"{bench.called(way)}: other rows than those of the fused run")


def write_targets(tables: Path, work: Path) -> None:
    ids = pq.read_table(tables / "nodes.parquet", columns=["id"])["id"].to_numpy()
    random = np.random.default_rng(0)
    for share in SHARES:
        some = random.choice(ids, max(1, round(share * len(ids))), replace=False)
        pq.write_table(pa.table({"id": some}), work / f"targets-{share}.parquet")


# ---- what is said


def render(runs: Sequence[Run], benches: Sequence[Bench], about: Mapping[str, Any]) -> str:
    """All ways; then what stops have cost."""
    by_what: dict[str, list[Run]] = {}
    for run in runs:
        by_what.setdefault(run.what, []).append(run)
    rows, stops = [], []
    for bench in benches:
        fused = by_what[bench.called(FUSED)]
        for way in bench.ways:
            found = by_what[bench.called(way)]
            if way.stopped is None:
                rows.append(row(bench, way, found, fused))
            else:
                stops.append(stop(bench, way, found, by_what[bench.called(KEPT)]))
    loads = [run.load for run in runs]
    title = (
        f"R-MAT graph of {1 << about['parameters']['scale']:,} nodes and "
        f"{about['parameters']['degree'] << about['parameters']['scale']:,} edges, {about['blocks']} blocks; prepared "
        f"graph → output. {about['machine']['cores']} cores of {about['machine']['cpu']}; load average before runs "
        f"{min(loads):.1f}–{max(loads):.1f}. Commit {about['machine']['commit']}."
    )
    parts = [title, table(["", "seconds", "× fused", "core-seconds", "× fused", "goal"], rows)]
    if stops:
        head = ["", "seconds until stopped", "from then on", "more than an undisturbed run", "goal"]
        parts.append(table(head, stops))
    return "\n\n".join(parts) + "\n"


def titled(bench: Bench, way: Way) -> str:
    return f"{MODELS[bench.model]}, {TITLES[bench.place]}: {way.title}"


def row(bench: Bench, way: Way, found: Sequence[Run], fused: Sequence[Run]) -> list[str]:
    goal = GOALS.get((way.title, bench.model))
    return [
        titled(bench, way),
        f"{median(run.seconds for run in found):.2f}",
        f"{ratio(found, fused, lambda run: run.seconds):.2f}",
        f"{median(map(cores, found)):.1f}",
        f"{ratio(found, fused, cores):.2f}",
        "" if goal is None else f"{goal:g}",
    ]


def stop(bench: Bench, way: Way, found: Sequence[Run], undisturbed: Sequence[Run]) -> list[str]:
    whole = {run.round: run.seconds for run in undisturbed}
    return [
        titled(bench, way),
        *(f"{median(run.parts[part] for run in found):.2f}" for part in ("until stopped", "from then on")),
        f"{median(sum(run.parts.values()) - whole[run.round] for run in found):+.2f}",
        "2",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    parameters = Parameters(given.scale, given.degree, seed=given.seed)
    tables, work = generate(parameters, given.work.resolve()), given.work.resolve() / "survive"
    work.mkdir(parents=True, exist_ok=True)
    write_targets(tables, work)
    for name in given.models:
        build(MODELS[name]).save(work / name, overwrite=True)
    raw = Graph.of_files(tables / "nodes.parquet", tables / "edges.parquet")
    assert raw is not None, "they are Parquet"
    prepare(raw, work / "prepared", given.blocks, overwrite=True)

    from pipeline.command.own_session import spark_session

    benches: list[Bench] = []
    runs: list[Run] = []
    for place in given.where:
        with nullcontext() if place == PROCESS else spark_session() as spark:
            own = [Bench(name, work, spark) for name in given.models]
            runs += run_rounds(own, given.runs)
            benches += own
    shutil.rmtree(work)
    about = {"parameters": asdict(parameters), "blocks": given.blocks, "machine": machine()}
    text = render(runs, benches, about)
    keep(given.work, "survive", about, runs, text)
    say(f"commit {about['machine']['commit']}")
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=20, help="2 ** SCALE nodes (20)")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--blocks", type=int, default=8, help="parts of the graph (8)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models (all)")
    parser.add_argument("--where", nargs="+", choices=TITLES, default=list(TITLES), help="without Spark, in a session")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
