"""How far a prepare is, by the files that its tasks leave: a bar or log lines while they work.

Comes in: where the files of blocks, or of steps, appear, and how many there will be. Goes out: what is shown to who
watches (pipeline/progress.py). Asks no task and no session: Spark has no way to ask that works everywhere. What cannot
be seen from here is not counted, and no prepare fails for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from pipeline.blocks import storage
from pipeline.preparing.stored import StepFiles
from pipeline.progress import NOBODY, Bar, watching

POLL_SECONDS = 1.0  # between two looks at a directory, which may be one of a file server


@contextmanager
def followed(total: int, count: Callable[[], int] | None) -> Iterator[None]:
    """Shows, while it is entered, how many of `total` parts are done. `count` None: nobody can see them."""
    if count is None or watching() == NOBODY:
        yield
        return
    stop, most = threading.Event(), 0
    with Bar("preparing the graph", total, "part") as bar:

        def follow() -> None:
            nonlocal most
            while not stop.wait(POLL_SECONDS):
                most = max(most, count())
                bar.to(most)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def blocks_written(folder: str, blocks: int) -> Callable[[], int] | None:
    """Counts the files of blocks in a folder; None if that is on no disk: to list an object store costs money."""
    place = storage.reached(folder)
    if not place.is_local:
        return None
    left = {storage.path_within(block, file) for block in range(blocks) for file in storage.FILES}
    total = len(left)

    def count() -> int:
        left.difference_update([name for name in left if os.path.exists(os.path.join(place.path, name))])
        return total - len(left)

    return count


def parts_made(files: StepFiles, parts: Mapping[str, int], done: Collection[str]) -> Callable[[], int]:
    """Counts what the steps have made. `parts`: step, in their order → how many parts it has; `done`: steps that were
    done by an earlier call, whose files are gone."""
    names = list(parts)

    def count() -> int:
        made = {name: parts[name] if name in done else _numbered(files.step(name)) for name in names}
        begun = max((at for at, name in enumerate(names) if made[name]), default=0)  # those before have ended
        return sum(min(made[name], parts[name]) if at >= begun else parts[name] for at, name in enumerate(names))

    return count


def _numbered(directory: str) -> int:
    with suppress(OSError):
        return sum(name.isdigit() for name in os.listdir(directory))
    return 0
