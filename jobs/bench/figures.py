"""All figures of the documents in one command: each bench in turn, and one document of what they print.

    python -m jobs.bench.figures

Takes two hours on two cores, 25 GB of memory and 50 GB of disk; nothing else should run meanwhile. What each
bench prints is kept, so a run that was interrupted goes on where it stopped, as long as the commit is the same. --only
runs some of them, and --print writes the document from what there is.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jobs.bench.measure import ROOT, machine, say
from jobs.bench.table import gigabytes

DOCUMENT = ROOT / "docs" / "figures.md"
PLOT = "growth.png"


@dataclass(frozen=True)
class Bench:
    """One of the commands."""

    name: str
    title: str
    arguments: str
    """The module of jobs/, and its options."""
    files: tuple[str, ...] = ()
    """What it leaves in its directory beside what it prints."""


BENCHES = (
    Bench("machine", "PyG and graphsweep on one machine, file to file", "bench --scale 20 --runs 3", ("bench.json",)),
    Bench(
        "growth",
        "How time grows with the graph",
        "bench.rivals.growth --scales 16 18 20 22 --hub 0 --runs 3 --plot",
        ("growth.json", PLOT),
    ),
    Bench("hub", "A hub", "bench.rivals.growth --scales 18 --hub 0.1 --runs 3", ("growth.json",)),
    Bench(
        "spark",
        "Plain Spark",
        "bench.rivals --scale 20 --runs 3 --contenders pyg prepare fused distributed spark",
        ("rivals.json",),
    ),
    Bench(
        "wide",
        "Plain Spark, 256 features and 256 hidden lanes",
        "bench.rivals --scale 16 --features 256 --model wide --runs 1 --contenders prepare fused distributed spark",
        ("rivals.json",),
    ),
    Bench(
        "khop",
        "Neighbourhoods cut around nodes",
        "bench.rivals --scale 16 --runs 1 --seeds 256 --contenders prepare fused distributed 'khop 1' 'khop 1024'",
        ("rivals.json",),
    ),
    Bench("prepare", "What columns and options add to prepare", "bench.prepare --scale 20 --runs 3", ("prepare.json",)),
    Bench("layers", "Computing alone, without Spark and files", "bench.layers --scale 18 --runs 3"),
    Bench("explain", "What explain expects", "bench.explain", ("explain.json",)),
    Bench(
        "survive",
        "What it costs that a run survives; some nodes",
        "bench.survive --scale 20 --runs 3",
        ("survive.json",),
    ),
    Bench("large", "A billion edges", "bench.large --scale 26 --features 32", ("large/large.json",)),
)


def run(bench: Bench, work: Path, commit: str | None) -> None:
    """SystemExit if it fails; what the others printed stays."""
    kept = directory(work)
    kept.mkdir(parents=True, exist_ok=True)
    module, *options = shlex.split(bench.arguments)
    say(f"---- {bench.name}: python -m jobs.{bench.arguments}")
    command = [sys.executable, "-W", "ignore", "-m", f"jobs.{module}", *options, "--work", str(work)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{bench.name}: exit code {done.returncode}")
    for file in bench.files:
        shutil.copyfile(work / file, kept / f"{bench.name}{Path(file).suffix}")
    said = {"commit": commit, "arguments": bench.arguments, "printed": done.stdout.strip()}
    (kept / f"{bench.name}.said.json").write_text(json.dumps(said, indent=1) + "\n")


def said(bench: Bench, work: Path) -> dict[str, Any] | None:
    """What it printed the last time, with its arguments and commit."""
    path = directory(work) / f"{bench.name}.said.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def directory(work: Path) -> Path:
    return work / "figures"


def render(work: Path, about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    parts = [
        "# Figures",
        "`python -m jobs.bench.figures` runs the benches below one after another and writes this document. "
        f"{about['cores']} cores of {about['cpu']}, {gigabytes(about['memory_bytes'])} of memory; "
        f"{versions}. Written on {date.today():%Y-%m-%d}.",
    ]
    for bench in BENCHES:
        found = said(bench, work)
        if found:
            parts += [f"## {bench.title}", f"`python -m jobs.{found['arguments']}`, commit {found['commit']}:"]
            parts += [f"![Growth]({PLOT})"] * (PLOT in bench.files) + [found["printed"]]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work, about = given.work.resolve(), machine()
    work.mkdir(parents=True, exist_ok=True)
    for bench in BENCHES:
        if given.print or bench.name not in given.only:
            continue
        before = said(bench, work)
        current = (about["commit"], bench.arguments)
        if given.again or before is None or (before["commit"], before["arguments"]) != current:
            run(bench, work, about["commit"])
    given.document.parent.mkdir(parents=True, exist_ok=True)
    given.document.write_text(render(work, about))
    drawn = directory(work) / PLOT
    if drawn.exists():
        shutil.copyfile(drawn, given.document.parent / PLOT)
    say(f"{given.document}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = tuple(bench.name for bench in BENCHES)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="some of the benches")
    parser.add_argument("--again", action="store_true", help="those too that have figures of this commit")
    parser.add_argument("--print", action="store_true", help="run nothing, write the document")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="what is written (docs/figures.md)")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
