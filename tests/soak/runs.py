"""Commands that are killed at a random moment, and given again until they end: what they leave is always whole.

Comes in: a directory with a graph, its tables and two models. Goes out: what was wrong after a kill, or at the end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import Graph, prepare
from pipeline.blocks.storage import MANIFEST
from pipeline.job.status import status
from pipeline.places.marker import MARKER
from pipeline.prepared import open_graph
from tests.formulas import build
from tests.whole import whole

COMMAND = [sys.executable, "-c", "import sys; from pipeline.cli import main; main(sys.argv[1:])"]
MODELS = ("sage", "gat")
KEPT = "prepare with work directory"
KINDS = ("work directory", "no work directory", "overwrite", "raw tables", "prepare", "prepare again", KEPT)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)  # what kill -9 and a scheduler send


def made(at: Path) -> Mapping[str, pa.Table]:
    """Tables, a prepared graph and models in a directory. Model → the scores of a run that nobody disturbs."""
    graph = whole("mixed")
    pq.write_table(graph.nodes(), at / "nodes.parquet")
    pq.write_table(graph.edges(), at / "edges.parquet")
    prepare(Graph(graph.nodes(), graph.edges()), at / "graph", blocks=3)
    (at / "tmp").mkdir()
    scores = {}
    for name in MODELS:
        build(name).save(at / name)
        done = run(at, infer(at, name, at / "undisturbed" / name))
        assert done.returncode == 0, done.stderr
        scores[name] = table(at / "undisturbed" / name)
    return scores


def infer(at: Path, model: str, output: Path, *more: object) -> list[object]:
    return ["infer", "--graph", at / "graph", "--model", at / model, "--output", output, *more]


def environment(at: Path) -> dict[str, str]:
    return {**os.environ, "JAVA_HOME": "/nowhere", "TMPDIR": str(at / "tmp")}


def run(at: Path, arguments: list[object]) -> subprocess.CompletedProcess[str]:
    given = [*COMMAND, *map(str, arguments)]
    return subprocess.run(given, env=environment(at), capture_output=True, text=True, check=False)


def killed(at: Path, arguments: list[object], after: float, how: signal.Signals) -> bool:
    """Whether a command was still at work when the signal came."""
    given = [*COMMAND, *map(str, arguments)]
    process = subprocess.Popen(given, env=environment(at), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    return process.wait() != 0


def table(path: Path) -> pa.Table:
    return pq.read_table(path).sort_by("id").combine_chunks()


def is_there(kind: str, result: Path) -> bool:
    """Scores appear with their directory; a prepared graph is there when its manifest is."""
    return (result / MANIFEST if kind.startswith("prepare") else result).exists()


def list_of(path: Path) -> list[str]:
    return os.listdir(path) if path.is_dir() else []


def is_pythons(path: Path) -> bool:
    """tempfile.gettempdir() tries whether a directory can be written, by a file of eight letters."""
    return len(path.name) == 8 and path.is_file() and path.read_bytes() in (b"", b"blat")


@dataclass
class Soak:
    """Runs one after the other, each with kills of its own."""

    at: Path
    scores: Mapping[str, pa.Table]
    random: random.Random
    seconds: float
    """That a command takes, about."""
    runs: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)
    """Other bytes, nothing at all, what cannot be read."""
    left: list[str] = field(default_factory=list)
    """Files that are nobody's, and that the next run did not remove."""

    @staticmethod
    def begun(at: Path, seed: int) -> Soak:
        scores, started = made(at), time.monotonic()
        assert run(at, infer(at, MODELS[0], at / "undisturbed" / "timed")).returncode == 0
        return Soak(at, scores, random.Random(seed), time.monotonic() - started)

    def play(self, kind: str) -> None:
        """A command of a kind, killed one to three times, and then given once more."""
        out = self.at / f"out{self.runs}"
        out.mkdir()
        model, old = self.random.sample(MODELS, 2)
        arguments = self._arguments(kind, model, out)
        if kind == "overwrite":
            shutil.copytree(self.at / "undisturbed" / old, out / "result")
        if kind == "prepare again":
            shutil.copytree(self.at / "graph", out / "result")
        stopped = False
        for _ in range(self.random.randint(1, 3)):
            after = self.random.uniform(0.3, 1.05) * self.seconds
            stopped = killed(self.at, arguments, after, self.random.choice(SIGNALS))
            if not stopped:
                break
            self.kills += 1
            self._check(kind, out, {model, old} if kind == "overwrite" else {model}, "after a kill")
        # a prepare that was killed when its graph was in place, and not yet its end noted, is ended by the same command
        again = kind in ("overwrite", "prepare again") or (
            stopped and kind == KEPT and (out / "work").exists() and status(out / "work").state != "done"
        )
        if again or not is_there(kind, out / "result"):
            done = run(self.at, arguments)
            if done.returncode != 0:
                self.wrong.append(f"{kind}: the command did not end: {done.stderr[-500:]}")
        self._check(kind, out, {model}, "at the end")
        left = [name for name in os.listdir(out) if name not in ("result", "work")]
        scratch = [name for name in os.listdir(self.at / "tmp") if not is_pythons(self.at / "tmp" / name)]
        kept = [name for name in list_of(out / "work") if name != MARKER]
        inside = [name for name in list_of(out / "result") if "graphsweep-lock" in name]
        if left or scratch or kept or inside:
            self.left.append(f"{kind}: {left}, {scratch}, {kept}, {inside}")
        shutil.rmtree(out)
        self.runs += 1

    def _arguments(self, kind: str, model: str, out: Path) -> list[object]:
        result, raw = out / "result", ["--nodes", self.at / "nodes.parquet", "--edges", self.at / "edges.parquet"]
        if kind == "work directory":
            return infer(self.at, model, result, "--work-dir", out / "work")
        if kind == "overwrite":
            return infer(self.at, model, result, "--overwrite")
        if kind == "raw tables":
            return ["infer", *raw, "--blocks", 3, "--model", self.at / model, "--output", result]
        if kind == "prepare":
            return ["prepare", *raw, "--blocks", 3, "--output", result]
        if kind == KEPT:
            return ["prepare", *raw, "--blocks", 3, "--output", result, "--work-dir", out / "work"]
        if kind == "prepare again":
            return ["prepare", *raw, "--blocks", 3, "--output", result, "--overwrite"]
        return infer(self.at, model, result)

    def _check(self, kind: str, out: Path, models: set[str], when: str) -> None:
        """What is in place is whole, and is one of these; after a kill there may be nothing."""
        result = out / "result"
        if not is_there(kind, result):
            if when == "at the end":
                self.wrong.append(f"{kind}: nothing is there at the end")
            return
        try:
            if kind.startswith("prepare"):
                self._check_graph(result)
            elif not any(table(result).equals(self.scores[model]) for model in models):
                self.wrong.append(f"{kind}: other scores {when}")
        except Exception as error:  # whatever it is, it is a finding
            self.wrong.append(f"{kind}: cannot be read {when}: {type(error).__name__}: {error}")

    def _check_graph(self, path: Path) -> None:
        found, expected = open_graph(path), open_graph(self.at / "graph")
        for index in range(found.blocks):
            found.block(index)  # its checksum is compared
        if found.fingerprint != expected.fingerprint:
            self.wrong.append("prepare: another graph")


def soak(at: Path, seed: int, runs: int, minutes: float, say: Any = print) -> Soak:
    """So many runs, of all kinds in turns, or until the time is over."""
    found, started = Soak.begun(at, seed), time.monotonic()
    for number in range(runs):
        found.play(KINDS[number % len(KINDS)])
        if number % 50 == 49 or found.wrong:
            say(f"{found.runs} runs, {found.kills} kills, {len(found.wrong)} wrong")
        if found.wrong or time.monotonic() - started > 60 * minutes:
            break
    return found
