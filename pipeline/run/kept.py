"""What a work directory is going to cost a run, and what a run finds there: for `explain`.

Comes in: a run that is planned, its model and settings. Goes out: numbers and lines. Looks, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import StorageError, unreadable
from pipeline.model import Model
from pipeline.places.directories import list_directory
from pipeline.places.lock import is_locked
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.places.working import BEGUN, PREPARED, lock_of, path_of, reached, refuse_other
from pipeline.plan.counts import Counts
from pipeline.plan.shipped import shipped_bytes, stored_bytes
from pipeline.run.in_place import own_values
from pipeline.run.planned import Planned
from pipeline.run.through_files import Files
from pipeline.run.transport import facts_of
from pipeline.settings import Settings
from pipeline.shown import counted, size


@dataclass(frozen=True)
class Kept:
    """Of a run with a work directory."""

    path: str
    bytes_written: int
    """By all supersteps together."""
    bytes_at_once: int
    """At most: what a superstep leaves is removed when the one after it is done."""
    supersteps: int
    supersteps_done: int
    """That a run would not compute again."""
    blocks_done: int
    """Of the superstep after them."""
    refused: str | None
    """Why a run would not begin there; None: it would."""

    @staticmethod
    def of(planned: Planned, model: Model, settings: Settings) -> Kept | None:
        """None if the settings name no work directory. StorageError if nobody can look there."""
        if settings.work_dir is None:
            return None
        place, steps = Place.of(settings.work_dir), planned.plan.steps
        counts = Counts.of(planned.graph.manifest)
        if place.is_local:
            lists = sum(4 * rows for step in steps for each in step.ships for rows in counts.rows_in(each.edge_type))
            left = [stored_bytes(counts, step, own_values(step)) for step in steps[:-1]]
        else:  # what is sent lies there for each target, and no lists
            lists = 0
            left = [stored_bytes(counts, step, own_values(step)) + shipped_bytes(counts, step) for step in steps[:-1]]
        pairs = [sum(left[at : at + 2]) for at in range(len(left))]
        facts = facts_of(planned, model, settings)
        done, blocks, refused = _there(place, facts)
        most = max(pairs, default=0) + lists
        return Kept(str(place), sum(left) + lists, most, len(steps), done, blocks, refused)

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        cost = f"{size(self.bytes_at_once)} at a time, {size(self.bytes_written)} in all, in {self.path}"
        if self.refused:
            return [cost, f"a run there would be refused: {self.refused}"]
        if not self.supersteps_done and not self.blocks_done:
            return [cost, "nothing of this run is there: it would begin with superstep 0"]
        done = f"{self.supersteps_done} of {counted(self.supersteps, 'superstep')}"
        now = f"superstep {self.supersteps_done}, of which {counted(self.blocks_done, 'block')} are done"
        return [cost, f"{done} of this run are there: it would go on in {now}"]


def _there(place: Place, facts: Mapping[str, Any]) -> tuple[int, int, str | None]:
    """Supersteps and blocks that are done; why a run would be refused."""
    here = reached(place)
    try:
        refuse_other(place, here, {BEGUN: facts, PREPARED: {}})
        if is_locked(place, lock_of(here)):
            return 0, 0, f"{place}: another process is working there"
        marker = read_marker(here)
        if marker is None or marker.get("state") != BEGUN:
            return 0, 0, None
        done = len(marker.get("supersteps", ()))
        folder = reached(Place.of(Files(path_of(place, marker["of"]), checksums=True).superstep(done)))
        return done, sum(name.isdigit() for name in list_directory(folder)), None
    except StorageError as error:
        return 0, 0, str(error)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(str(place), error) from error
