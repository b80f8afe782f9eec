"""The process that cases are played in: bounded memory, one temporary directory, and a record of what Python does.

Comes in: the name of a kind, and numbers of cases on stdin. Goes out: a line of JSON for each. An audit hook sees files
opened for writing, programs started, connections made and texts compiled: outside of the case's own directory, or with
anything of the hostile input in a compiled text, the case has failed, whatever else came of it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import GraphsweepError

Play = Callable[[int, Path], str]

CANARY = "canary_of_the_fuzz"  # in every hostile name and text; no compiled text may hold it
MEMORY = 6 << 30  # of addresses, most of which libraries only reserve: 2 GB before any case
STARTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket.connect")
CHANGED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")
MADE_FROM = ("os.rename", "os.symlink", "os.link")  # the second path is the one that appears
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """What Python's audit events say of a case. Audit hooks stay for as long as the process lives."""

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = tuple(allowed)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._notice)

    @contextmanager
    def case(self) -> Iterator[list[str]]:
        """What it saw while this is open."""
        self.seen = []
        self.on = True
        try:
            yield self.seen
        finally:
            self.on = False

    def _notice(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in STARTED:
            self.seen.append(f"{event} {given!r}")
        elif event == "open" and isinstance(given[2], int) and given[2] & WRITING:
            self._changed(event, given[0])
        elif event in CHANGED:
            self._changed(event, given[1] if event in MADE_FROM else given[0])
        elif event == "compile" and given[0] is not None:
            text = given[0] if isinstance(given[0], bytes) else str(given[0]).encode(errors="replace")
            if CANARY.encode() in text:
                self.seen.append(f"compiled what the input says: {given[0]!r}")

    def _changed(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return  # of a file that is open already
        where = os.path.realpath(os.fsdecode(path))
        if not where.startswith(self.allowed) and where != os.devnull:
            self.seen.append(f"{event} {where}")


def outcome(play: Play, case: int, directory: Path) -> str:
    """How a case ended, if in one of the ways that are allowed; else the exception passes."""
    try:
        return play(case, directory)
    except GraphsweepError as error:
        text = str(error)
        assert text.strip(), "a refusal without a word"
        assert len(text) < 10_000, f"a refusal of {len(text):,} characters: {text[:1000]}"
        text.encode()  # can be shown
        return f"refused as {type(error).__name__}"


def main(kind: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:  # what is printed is no answer
        os.dup2(nowhere.fileno(), 1)
    root = Path(tempfile.mkdtemp(prefix="fuzz-")).resolve()
    tempfile.tempdir = str(root / "tmp")
    os.mkdir(tempfile.tempdir)
    play: Play = importlib.import_module(f"tests.fuzz.{kind}").play
    from pipeline.kernels.jit import cache_directory

    watch = Watch([str(root), str(cache_directory())])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        for line in sys.stdin:
            said = _played(play, int(line), root, watch)
            answers.write(json.dumps(said) + "\n")
            answers.flush()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _played(play: Play, case: int, root: Path, watch: Watch) -> dict[str, str | None]:
    here = root / f"case-{case}"
    (here / "cwd").mkdir(parents=True)
    os.chdir(here / "cwd")
    try:
        with watch.case() as seen:
            end = outcome(play, case, here)
        left = os.listdir(here / "cwd")
        assert not left, f"written into the working directory: {left}"
        assert not seen, "\n".join(seen)
        return {"end": end, "report": None}
    except BaseException as error:
        return {"end": type(error).__name__, "report": traceback.format_exc()[-6000:]}
    finally:
        os.chdir(root)
        shutil.rmtree(here, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
