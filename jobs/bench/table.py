"""What bench.py measured, as Markdown for docs/performance.md.

Comes in: runs. Goes out: text. Medians over rounds; a ratio is the median of the ratios of single rounds.
Core-seconds are there because they change less than seconds when a machine has other things to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from jobs.bench.measure import Run

MODELS = {"sage": "GraphSAGE (mean), two layers 64→64→32", "gat": "GAT, one layer 64→4×16"}
ALONE = {
    "prepare": "graphsweep, prepare: raw tables → prepared graph",
    "cold": "graphsweep, console command in a new process: raw tables → GraphSAGE's output",
    "submitted": "the same by spark-submit, from the start of its JVM",
}
JOBS = {
    "pyg": "PyG: read, map ids, forward, write",
    "distributed": "graphsweep, distributed: prepared graph → output",
    "fused": "graphsweep, fused: prepared graph → output",
}
OTHERS = {
    "flights first": "`graphsweep infer` on data/flights, no kernel compiled before",
    "flights again": "the same, from then on",
    "kernels compiled": "kernels of both models, compiled by a new process",
    "kernels loaded": "the same, loaded from the cache by another process",
}


def render(runs: Sequence[Run], about: Mapping[str, Any]) -> str:
    by_what: dict[str, list[Run]] = {}
    for run in runs:
        by_what.setdefault(run.what, []).append(run)
    return "\n\n".join([headline(runs, about), comparison(by_what), parts(by_what), others(by_what)]) + "\n"


def headline(runs: Sequence[Run], about: Mapping[str, Any]) -> str:
    given, machine = about["parameters"], about["machine"]
    nodes, memory = 1 << given["scale"], gigabytes(machine["memory_bytes"])
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    loads = [run.load for run in runs]
    return (
        f"R-MAT graph of {nodes:,} nodes and {nodes * given['degree']:,} edges, {given['features']} float32 features; "
        f"{about['blocks']} blocks. {machine['cores']} cores of {machine['cpu']}, {memory}; "
        f"load average before runs {min(loads):.1f}–{max(loads):.1f}. Commit {machine['commit']}; {versions}."
    )


def comparison(by_what: Mapping[str, list[Run]]) -> str:
    """Both sides; ratios to PyG with the start of its process, and without."""
    head = ["", "seconds", "× PyG", "× PyG without its start", "core-seconds", "× PyG", "peak memory", "difference"]
    rows = [row(by_what, what, title, "sage") for what, title in ALONE.items()]
    for model, title in MODELS.items():
        rows.append([f"**{title}**", *[""] * 7])
        rows += [row(by_what, f"{job} {model}", JOBS[job], model) for job in JOBS]
    return table(head, rows)


def row(by_what: Mapping[str, list[Run]], what: str, title: str, model: str) -> list[str]:
    runs, others = by_what[what], by_what[f"pyg {model}"]
    differences = [run.max_difference for run in runs if run.max_difference is not None]
    return [
        title,
        seconds(runs),
        f"{ratio(runs, others, lambda run: run.seconds):.2f}",
        f"{ratio(runs, others, lambda run: run.seconds - run.parts.get('import', 0)):.2f}",
        f"{median(map(cores, runs)):.1f}",
        f"{ratio(runs, others, cores):.2f}",
        gigabytes(median(run.peak_bytes for run in runs)),
        f"{max(differences):.0e}" if differences else "",
    ]


def cores(run: Run) -> float:
    return sum(run.cpu.values())


def ratio(runs: Sequence[Run], others: Sequence[Run], of: Callable[[Run], float]) -> float:
    by_round = {run.round: run for run in others}
    return median(of(run) / of(by_round[run.round]) for run in runs)


def parts(by_what: Mapping[str, list[Run]]) -> str:
    """Where the time goes, as far as a run knows it."""
    rows = []
    for what, runs in by_what.items():
        if what not in OTHERS:
            rows.append([what, seconds(runs), medians([run.parts for run in runs]), medians([run.cpu for run in runs])])
    head = ["", "seconds", "of which (distributed: summed over tasks that run side by side)", "core-seconds"]
    return table(head, rows)


def medians(found: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(f"{name} {median(part.get(name, 0) for part in found):.1f}" for name in found[0])


def others(by_what: Mapping[str, list[Run]]) -> str:
    return table(
        ["", "seconds"], [[title, seconds(by_what[what])] for what, title in OTHERS.items() if what in by_what]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(runs: Sequence[Run]) -> str:
    return f"{median(run.seconds for run in runs):.1f}"


def gigabytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"
