"""What `prepare` costs, and what each column or option adds: one command, one table, JSON beside it.

    python -m jobs.bench.prepare --scale 20 --runs 3

The same R-MAT graph in every row, as its Parquet tables have it or with something more; each variant is a process of
its own that runs the console command, without Spark. Variants take turns; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import ROOT, Result, Run, machine, run_python, say, timed
from jobs.bench.table import cores, gigabytes, ratio, table

CONSOLE = "from pipeline.cli import main; main()"
PLAIN = "plain"
WIDE = 8


@dataclass(frozen=True)
class Variant:
    """One row: what the tables have more than the plain ones, and what the command is told."""

    title: str
    tables: str = PLAIN
    options: tuple[str, ...] = ()


VARIANTS = (
    Variant("64 features, edges without columns"),
    Variant("+ one number for each edge", "weight", ("--edge-features", "weight")),
    Variant(f"+ an array of {WIDE} for each edge", "attr", ("--edge-features", "attr")),
    Variant("+ 64 features more for each node", "wide"),
    Variant("+ ids are text", "text"),
    Variant("+ --undirected (twice the edges)", options=("--undirected",)),
    Variant("+ --reverse (edges stored both ways)", options=("--reverse",)),
)


# ---- the tables


def write_tables(plain: Path, work: Path) -> dict[str, Path]:
    """Variant's tables → directory; each has both tables, unchanged ones as links."""
    change: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
        "weight": ("edges", partial(with_numbers, name="weight", width=1)),
        "attr": ("edges", partial(with_numbers, name="attr", width=WIDE)),
        "wide": ("nodes", twice_as_wide),
    }
    made = {PLAIN: plain}
    for name in dict.fromkeys(variant.tables for variant in VARIANTS if variant.tables != PLAIN):
        made[name] = work / f"{plain.name}-{name}"
        if (made[name] / "done").exists():
            continue
        shutil.rmtree(made[name], ignore_errors=True)
        made[name].mkdir(parents=True)
        for part in ("nodes", "edges"):
            found = pq.read_table(plain / f"{part}.parquet")
            if name == "text":
                write(made[name], part, as_text(found))
            elif change[name][0] == part:
                write(made[name], part, change[name][1](found))
            else:
                os.symlink(plain / f"{part}.parquet", made[name] / f"{part}.parquet")
        (made[name] / "done").write_text("")
    return made


def write(directory: Path, part: str, rows: pa.Table) -> None:
    pq.write_table(rows, directory / f"{part}.parquet", row_group_size=1 << 20)


def with_numbers(edges: pa.Table, name: str, width: int) -> pa.Table:
    values = np.random.default_rng(0).random(len(edges) * width, np.float32)
    column = pa.array(values) if width == 1 else pa.FixedSizeListArray.from_arrays(pa.array(values), width)
    return edges.append_column(name, column if width == 1 else column.cast(pa.list_(pa.float32())))


def twice_as_wide(nodes: pa.Table) -> pa.Table:
    x = nodes["x"].combine_chunks()
    matrix = x.flatten().to_numpy().reshape(len(nodes), -1)
    values = pa.array(np.concatenate([matrix, matrix], axis=1).reshape(-1))
    wide = pa.FixedSizeListArray.from_arrays(values, 2 * matrix.shape[1]).cast(x.type)
    return nodes.set_column(1, "x", wide)


def as_text(rows: pa.Table) -> pa.Table:
    """Ids of up to 25 characters."""
    for at, name in enumerate(rows.column_names):
        if name in ("id", "src", "dst"):
            texts = pc.binary_join_element_wise("node-", rows[name].cast(pa.string()), "")
            rows = rows.set_column(at, name, texts)
    return rows


# ---- the runs


def prepare(variant: Variant, tables: Path, output: Path) -> Result:
    paths = [*("--nodes", tables / "nodes.parquet"), *("--edges", tables / "edges.parquet"), *("--output", output)]
    _, usage = run_python("-c", CONSOLE, "prepare", *paths, "--overwrite", "--quiet", *variant.options)
    return Result(usage=usage)


def render(runs: Sequence[Run]) -> str:
    by_what = {variant.title: [run for run in runs if run.what == variant.title] for variant in VARIANTS}
    first = by_what[VARIANTS[0].title]
    rows = [
        [
            title,
            f"{median(run.seconds for run in found):.1f}",
            f"{ratio(found, first, lambda run: run.seconds):.2f}",
            f"{median(map(cores, found)):.1f}",
            f"{ratio(found, first, cores):.2f}",
            gigabytes(median(run.peak_bytes for run in found)),
            gigabytes(found[0].parts["stored"]),
        ]
        for title, found in by_what.items()
    ]
    return table(["", "seconds", "× first", "core-seconds", "× first", "peak memory", "on disk"], rows) + "\n"


def stored(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=20, help="2 ** SCALE nodes (20)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    given = parser.parse_args(arguments)
    work, parameters = given.work.resolve(), Parameters(given.scale)
    tables = write_tables(generate(parameters, work), work / "variants")
    output = work / "prepared-variant"
    prepare(VARIANTS[0], tables[PLAIN], output)  # kernels are compiled, files in the page cache
    runs: list[Run] = []
    for number in range(1, given.runs + 1):
        for variant in VARIANTS:
            runs.append(timed(variant.title, number, partial(prepare, variant, tables[variant.tables], output)))
            runs[-1].parts["stored"] = stored(output)
    shutil.rmtree(output)
    about = {"parameters": asdict(parameters), "machine": machine(), "runs": [asdict(run) for run in runs]}
    (work / "prepare.json").write_text(json.dumps(about, indent=1) + "\n")
    (work / "prepare.md").write_text(render(runs))
    say(f"commit {about['machine']['commit']}")
    print(render(runs))


if __name__ == "__main__":
    main()
