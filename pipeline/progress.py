"""How far work is, for who watches: a bar in a terminal or a notebook, else a log line every so often.

Comes in: how much there is to do, and what is done. Goes out: a bar, or lines of the log. Knows nothing of the work.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from pipeline.events import event

log = logging.getLogger("graphsweep")

NOBODY, LINES, BARS = "nobody", "lines", "bars"
_watching: ContextVar[str | None] = ContextVar("watching", default=None)

FIRST, EVERY = 10.0, 30.0
"""Seconds until the first line, and from one to the next."""


@contextmanager
def watched_by(how: str) -> Iterator[None]:
    """Within, work is shown so: NOBODY, LINES or BARS."""
    before = _watching.set(how)
    try:
        yield
    finally:
        _watching.reset(before)


def watching() -> str:
    """How work is shown; where nobody has said so, a notebook that can draw bars gets them."""
    return _watching.get() or (BARS if _draws_widgets() else NOBODY)


class Bar:
    """Of one piece of work, while it is entered. Without somebody who watches it does nothing."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        """`what` is done now, of `total` units."""
        self._what, self._total, self._unit = what, total, unit
        self._how = watching()
        self._done = 0
        self._began = time.monotonic()
        self._next = self._began + FIRST
        self._bar: Any = None

    def __enter__(self) -> Bar:
        if self._how == BARS:
            # leave=False: what came of the work is said by others
            self._bar = _tqdm()(total=self._total, desc=self._what, unit=self._unit, leave=False, file=sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, units: int = 1) -> None:
        """So many more are done."""
        self.to(self._done + units)

    def to(self, done: int, what: str | None = None) -> None:
        """So many are done; `what` is done now. To be called now and then, even if nothing has become more."""
        self._done, self._what = min(done, self._total), what or self._what
        if self._bar is not None:
            self._bar.set_description(self._what, refresh=False)
            self._bar.n = self._done
            self._bar.refresh()
        elif self._how == LINES and time.monotonic() >= self._next and self._done < self._total:
            self._next = time.monotonic() + EVERY
            self._line()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def _line(self) -> None:
        left = self.seconds * (self._total - self._done) / self._done if self._done else None
        told = event(
            "progress", what=self._what, done=self._done, total=self._total, unit=self._unit, seconds=self.seconds,
            seconds_left=left,
        )  # fmt: skip
        rest = "" if left is None else f", about {left:.0f} s left"
        units = f"{self._unit}s" if self._total != 1 else self._unit
        log.info("%s: %s of %s %s%s", self._what, f"{self._done:,}", f"{self._total:,}", units, rest, extra=told)


def _draws_widgets() -> bool:
    """Whether this is a notebook that can draw bars: without its widgets each step would be a line of text."""
    return "ipykernel" in sys.modules and find_spec("ipywidgets") is not None


def _tqdm() -> Any:
    if _draws_widgets():
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm
