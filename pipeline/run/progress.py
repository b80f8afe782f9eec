"""How far a run is, where workers and driver share a file system: finished blocks are empty files in one directory.

Comes in: marks of workers, one for each block of a superstep. Goes out: a progress bar on a terminal. Knows nothing of
Spark, which has no way to ask that works everywhere (Spark Connect has no listeners); and is never worth a failed task.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from types import TracebackType
from typing import Any

POLL_SECONDS = 0.2


def mark(directory: str | None, superstep: int, block: int) -> None:
    """On a worker: this block of this superstep is done. Without a directory, or one that is not there, nothing."""
    if directory is not None:
        try:
            with open(os.path.join(directory, f"{superstep}-{block}"), "wb"):
                pass
        except OSError:
            pass  # another machine, a full disk: the bar stays behind, the run goes on


class Progress:
    """On the driver: a bar that follows the marks in a directory, while it is entered. Without one it does nothing.

    with Progress.on_terminal() as progress:
        progress.expect(supersteps=3, blocks=8)
        ...  # workers call mark(progress.directory, superstep, block)
    """

    def __init__(self, directory: str | None = None, temporary: bool = False) -> None:
        """`temporary`: the directory is deleted in the end."""
        self.directory = directory
        self._temporary = temporary
        self._bar: Any = None
        self._supersteps = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def on_terminal() -> Progress:
        """One with a directory of its own if somebody watches: if stderr is a terminal."""
        if not sys.stderr.isatty():
            return Progress()
        return Progress(tempfile.mkdtemp(prefix="graphsweep-progress-"), temporary=True)

    def __enter__(self) -> Progress:
        return self

    def expect(self, supersteps: int, blocks: int) -> None:
        """Shows the bar: so many marks will come."""
        if self.directory is None or self._thread is not None:
            return
        from tqdm import tqdm

        self._supersteps = supersteps
        self._bar = tqdm(total=supersteps * blocks, unit="block", leave=False, file=sys.stderr)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._bar.close()
        if self._temporary and self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._show()
        self._show()

    def _show(self) -> None:
        try:
            marks = [name.partition("-")[0] for name in os.listdir(self.directory)]
        except OSError:
            return
        newest = max((int(superstep) for superstep in marks if superstep.isdigit()), default=0)
        self._bar.set_description(f"superstep {newest + 1} of {self._supersteps}", refresh=False)
        self._bar.n = min(len(marks), self._bar.total)  # two attempts of one task make one mark
        self._bar.refresh()
