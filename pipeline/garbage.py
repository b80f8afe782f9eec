"""When Python looks for garbage that refers to itself: seldom, while a program is planned, and in a process of our own.

A collection looks at all objects that there are. Of 90 relations a plan is a million small ones, nearly all of which
stay: to plan HGT took 6.5 core-seconds, of which 2.1 were collections; a command's imports take 1.2, of which 0.3 were.
Arrays are let go by their counts, as everywhere. Knows nothing of plans.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEW, YOUNG, OLD = 100_000, 50, 100
"""Objects made before the new ones are looked at, such looks before a longer one, and these before one at all."""

_lock = threading.Lock()
_within = 0
_was_on = False


def collect_seldom() -> None:
    """In a process of our own, from now on."""
    gc.set_threshold(NEW, YOUNG, OLD)


@contextmanager
def collecting_later() -> Iterator[None]:
    """No collection within; who has switched them off finds them off. Threads may be within at the same time."""
    global _within, _was_on
    with _lock:
        if not _within:
            _was_on = gc.isenabled()
            gc.disable()
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within and _was_on:
                gc.enable()
