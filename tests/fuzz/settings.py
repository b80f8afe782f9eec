"""Hostile settings and command lines: what a user, a script or an environment may give instead of what is meant.

TOML files and mappings with anything for any setting, and all commands with hostile values for their options, in this
process. Allowed are exit codes 0 and 2, and 1 of a verification that does not pass; never a traceback.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from pipeline import Settings, cli
from pipeline.cli import given
from pipeline.errors import SettingError
from pipeline.settings import ACCEPTED
from tests.fuzz.models import good, graph, plain_loops, root
from tests.fuzz.mutations import NAMES, NUMBERS, Random, damage, hostile

GOOD: dict[str, list[Any]] = {
    "tier": ["auto", "fused"],
    "blocks": [1, 3, "auto"],
    "task_memory": ["4g", "512m", 1 << 33, "auto"],
    "threads": [1, 2],
    "read": ["auto", "worker"],
    "write": ["auto", "worker"],
    "scratch": ["auto"],
    "transport": ["auto", "files"],
    "work_dir": ["auto"],
    "exchange": ["auto", "pull"],
    "wire": ["float32", "float16", "bfloat16"],
}
PATHS = [
    "",
    "-",
    "--",
    ".",
    "..",
    "/",
    "/dev/null",
    "/nowhere/x",
    "~",
    "file:///nowhere",
    "file:",
    "s3://",
    "://",
    "a" * 5000,
]
PATHS += ["$HOME", "*", "[", "{a", "a\nb", "ü", "-rf", "http://[", "gopher://x", "C:\\x", " ", "a\0b", "a\udcff"]


def play(case: int, directory: Path) -> str:
    random = np.random.default_rng([4, case])
    if case % 3 == 0:
        return mapping(random)
    path = directory / "run.toml"
    path.write_bytes(toml(random))
    if case % 3 == 1:
        settings = Settings.load(path)
        str(settings).encode()
        return "loaded"
    return command(random, directory)


def mapping(random: Random) -> str:
    given = {
        (name if random.integers(8) else str(hostile(random))): _value(name, random)
        for name in random.choice(list(ACCEPTED), random.integers(1, 4), replace=False).tolist()
    }
    taken = Settings.taken(given if random.integers(10) else hostile(random))
    assert Settings.of({field: getattr(taken, field) for field in ACCEPTED}) == taken
    return "taken"


def _value(name: str, random: Random) -> Any:
    return GOOD[name][random.integers(len(GOOD[name]))] if random.integers(2) else hostile(random)


def toml(random: Random) -> bytes:
    lines = []
    for name in random.choice(list(ACCEPTED), random.integers(0, 4), replace=False).tolist():
        value = _value(name, random)
        if isinstance(value, str):
            text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        else:
            text = str(value).lower() if isinstance(value, bool | float) else str(value)
        lines.append(f"{name} = {text}")
        if random.integers(10) == 0:
            lines.append(lines[-1])
    content = "\n".join(lines).encode(errors="surrogatepass")
    which = random.integers(10)
    if which == 0:
        return damage(content, random)
    if which == 1:
        return content + b"\nx = " + b"[" * 5000
    return content


# ---- command lines


def command(random: Random, directory: Path) -> str:
    """One command, most of its options as they should be."""
    out = directory / "out"
    tables = ["--nodes", str(root() / "nodes.parquet"), "--edges", str(root() / "edges.parquet")]
    commands: dict[str, list[str]] = {
        "prepare": [*tables, "--output", str(out), "--edge-features", "weight,attr", "--blocks", "2"],
        "infer": ["--graph", graph().path, "--model", str(good(0)), "--output", str(out)],
        "explain": ["--graph", graph().path, "--model", str(good(0))],
        "verify": ["--graph", graph().path, "--model", str(good(0)), "--output", scores(), "--sample", "3"],
    }
    name = str(random.choice(list(commands)))
    arguments = list(commands[name])
    if name != "verify" and name != "prepare":
        arguments += ["--conf", str(directory / "run.toml")] if random.integers(3) == 0 else []
    for _ in range(random.integers(1, 3)):
        which = random.integers(5)
        at = int(random.integers(len(arguments)))
        if which < 3:
            arguments[at] = _text(random)
        elif which == 3:
            option = OPTIONS[random.integers(len(OPTIONS))]
            arguments += [option, *([] if option in FLAGS else [_text(random)])]
        else:
            del arguments[at]
    if random.integers(12) == 0:
        name = _text(random)
    with plain_loops(), _no_spark():
        result = CliRunner().invoke(cli.app, [name, *arguments])
    said = result.output
    assert "Traceback" not in said, said[-4000:]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    allowed = (0, 2, 3) if name == "verify" and "FAIL" in result.stdout else (0, 2)
    assert result.exit_code in allowed, f"exit code {result.exit_code} of {[name, *arguments]}: {said[-2000:]}"
    assert len(said) < 30_000 or "Usage:" in said, f"{len(said):,} letters: {said[:300]}"  # the parser repeats all
    if result.exit_code == 2:
        assert said.strip(), "refused without a word"
        assert not out.exists(), "something is left"
    for place in [out, *Path.cwd().iterdir()] if result.exit_code == 0 else []:  # `--output x` is a place too
        shutil.rmtree(place, ignore_errors=True)
    return f"exit code {result.exit_code}"


FLAGS = ("--undirected", "--reverse", "--drop-dangling", "--overwrite", "--classify", "--quiet", "--help", "--version")
OPTIONS = [
    *FLAGS, "--id", "--src", "--dst", "--features", "--edge-features", "--nodes-format", "--edges-format", "--blocks",
    "--tier", "--exchange", "--types", "--conf", "--format", "--sample", "--seed", "--limit", "--tolerance",
    "--nonsense", "-x",
    "--nodes", "--edges",
]  # fmt: skip


def _text(random: Random) -> str:
    which = random.integers(4)
    if which == 0:
        return str(NUMBERS[random.integers(len(NUMBERS))])
    chosen = PATHS if which == 1 else NAMES
    return chosen[random.integers(len(chosen))]


_made: list[str] = []


def scores() -> str:
    if not _made:
        from pipeline import Model, score

        with plain_loops():
            score(graph(), Model.load(good(0)), str(root() / "scores"), settings=Settings(threads=1))
        _made.append(str(root() / "scores"))
    return _made[0]


class _Started(SettingError):
    """A session would be started: what comes of it is of other tests."""


@contextmanager
def _no_spark() -> Iterator[None]:
    def start(*_: Any, **__: Any) -> Any:
        raise _Started("Spark would be started")

    session, given._session = given._session, start
    try:
        yield
    finally:
        given._session = session
