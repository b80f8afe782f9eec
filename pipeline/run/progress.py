"""How far a run is, where workers and driver share a file system: finished blocks are empty files in one directory.

Comes in: marks of workers, one for each block of a superstep. Goes out: what is shown to who watches
(pipeline/progress.py), and a line when a superstep has ended. Knows nothing of Spark, which has no way to ask that
works everywhere (Spark Connect has no listeners); and is never worth a failed task.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from types import TracebackType

from pipeline.events import event
from pipeline.places.scratch import Scratch
from pipeline.progress import NOBODY, Bar, watching

log = logging.getLogger("graphsweep")

POLL_SECONDS = 0.2
SHORT = 5.0
"""Seconds: of a run that has ended before, all that is to be said is said in its end."""


def mark(directory: str | None, superstep: int, block: int) -> None:
    """On a worker: this block of this superstep is done. Without a directory, or one that is not there, nothing."""
    if directory is not None:
        try:
            with open(os.path.join(directory, f"{superstep}-{block}"), "wb"):
                pass
        except OSError:
            pass  # another machine, a full disk: the bar stays behind, the run goes on


class Progress:
    """On the driver: shows the marks in a directory, while it is entered. Without one it does nothing.

    with Progress.watched() as progress:
        progress.expect(supersteps=3, blocks=8)
        ...  # workers call mark(progress.directory, superstep, block)
    """

    def __init__(self, directory: str | None = None, scratch: Scratch | None = None) -> None:
        """`scratch`: what the directory is, and is removed in the end."""
        self.directory = directory
        self._scratch = scratch
        self._bar: Bar | None = None
        self._supersteps = self._blocks = 0
        self._ended: set[int] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def watched() -> Progress:
        """One with a directory of its own if somebody watches."""
        if watching() == NOBODY:
            return Progress()
        scratch = Scratch(None)  # the next run removes what a killed one has left
        return Progress(scratch.make(), scratch)

    def __enter__(self) -> Progress:
        return self

    def expect(self, supersteps: int, blocks: int) -> None:
        """From now on so many marks will come."""
        if self.directory is None or self._thread is not None:
            return
        self._supersteps, self._blocks = supersteps, blocks
        self._bar = Bar(f"superstep 1 of {supersteps}", supersteps * blocks, "block").__enter__()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.__exit__(kind, error, at)
        if self._scratch is not None:
            self._scratch.discard()

    def _follow(self) -> None:
        assert self._bar is not None
        while not self._stop.wait(POLL_SECONDS):
            self._show(self._bar)
        self._show(self._bar)

    def _show(self, bar: Bar) -> None:
        try:
            marks = [name.partition("-")[0] for name in os.listdir(self.directory)]
        except OSError:
            return
        done = Counter(int(superstep) for superstep in marks if superstep.isdigit())  # a task that is tried again: one
        for superstep in sorted(done):
            if done[superstep] >= self._blocks and superstep not in self._ended:
                self._ended.add(superstep)
                if bar.seconds >= SHORT:
                    self._say(superstep, bar.seconds)
        bar.to(sum(done.values()), f"superstep {max(done, default=0) + 1} of {self._supersteps}")

    def _say(self, superstep: int, seconds: float) -> None:
        told = event(
            "superstep done", superstep=superstep, blocks=self._blocks, supersteps=self._supersteps, seconds=seconds
        )
        log.info(
            "superstep %d: all %d blocks are done, %.0f s after the run began; it was number %d of %d", superstep,
            self._blocks, seconds, superstep + 1, self._supersteps, extra=told,
        )  # fmt: skip
