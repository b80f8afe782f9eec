"""Where a result goes: put in place whole, or not at all, and what was there stays until then.

Comes in: the user's place. Goes out: a place to write into, which is published when all is written. Knows nothing of
what is written. Where Python reaches the file system, files are written beside the place and take it in the end
(places/staging.py). Where only Spark does, Spark writes to the place itself, which must be new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError
from pipeline.places.beside import new_run
from pipeline.places.contents import OURS, WORDS, describe, owned_files, written_files
from pipeline.places.directories import list_files
from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import MARKER, PRODUCT, SCORES, read_marker
from pipeline.places.place import Place, refuse_unreachable
from pipeline.places.staging import Staging, followed, has_leftovers, is_unsettled, refuse_taken, settle, staged
from pipeline.places.through_spark import is_there, literal
from pipeline.result.counted import is_part

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark writes folders only: the marker of a place that only Spark reaches is one line in one of them
SPARKS_MARKER = "_graphsweep"

Manifest = dict[str, Any]
Look = Callable[[Manifest], None]


@dataclass(frozen=True)
class Direct:
    """A place that only Spark reaches: it is written in place, once."""

    run: str
    place: Place
    _spark: SparkSession

    @property
    def opened(self) -> None:
        return None

    def publish(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Says in the place that it is whole."""
        text = json.dumps({"product": PRODUCT, "kind": kind, "run": self.run, **facts})
        line = self._spark.createDataFrame([(text,)], "value string").coalesce(1)
        line.write.text(self.place.child(SPARKS_MARKER).for_spark)


@contextmanager
def destination(
    output: Place, overwrite: bool, spark: SparkSession | None, look: Look | None = None
) -> Iterator[Staging | Direct]:
    """A place to write into, until it is published.

    `look` is shown what the marker of a result that is there says, when nobody else writes there; it may raise.

    Raises
    ------
    StorageError
        If something is there that may not be replaced, or nobody can write there. Nothing is touched then.
    """
    here = opened(output)
    if here is not None:

        def show(target: Opened) -> None:
            marker = manifest_of(target)
            if look is not None and marker is not None:
                look(marker)

        with staged(output, here, _owned(output), overwrite, show if look else None) as staging:
            yield staging
    elif spark is None:
        raise refuse_unreachable(output)
    else:
        _refuse_there(output, overwrite, spark)
        yield Direct(new_run(), output, spark)


def refuse(output: Place, overwrite: bool, spark: SparkSession | None) -> None:
    """StorageError if a result cannot go there, as far as that shows before anything is begun. What a killed run has
    left is not looked at; where it may lie among a result's own files, which are to be replaced, `destination` looks.
    """
    here = opened(output)
    if here is not None:
        if not (overwrite and is_unsettled(followed(here))):
            refuse_taken(output, followed(here), _owned(output), overwrite)
    elif spark is not None:
        _refuse_there(output, overwrite, spark)


def find_manifest(output: Place, spark: SparkSession | None) -> Manifest | None:
    """What the marker of a result says, if there is one, and all of its files."""
    here = opened(output)
    if here is not None:
        return manifest_of(followed(here))
    return _sparks_manifest(output, spark) if spark is not None else None


def manifest_of(here: Opened) -> Manifest | None:
    """The same of an opened place."""
    marker = read_marker(here)
    if marker is None or marker["kind"] != SCORES:
        return None
    files = written_files(marker)
    infos = here.filesystem.get_file_info([here.child(name).path for name in files])
    whole = all(info.is_file and info.size == size for info, size in zip(infos, files.values(), strict=True))
    return marker if whole else None


def refuse_mixture(output: Place) -> None:
    """StorageError for a result whose files are not those that its marker lists: it is being replaced where nothing can
    be renamed, or somebody has added or removed some. And for a model or a prepared graph. Tables without a marker are
    not judged."""
    here = opened(output)
    if here is None:
        return
    there = describe(here)
    if there in OURS and there != f"it is {WORDS[SCORES]}":
        raise StorageError(f"{output}: {there}, and not scores; name the path that infer wrote")
    marker = read_marker(here)
    if marker is None or marker["kind"] != SCORES:
        return
    listed = written_files(marker).keys()
    folders = {name.rpartition("/")[0] for name in listed}
    found = {name for name in list_files(here) if is_part(name, folders)}
    if found != listed:
        odd = sorted(found ^ listed)
        raise StorageError(
            f"{output}: the files are not those that its marker ({MARKER}) lists: {len(odd):,} too many or missing, "
            f"for example {odd[0]}. It is being replaced, or was changed by hand; wait for the run that writes there, "
            "or run it again"
        )


def tidy(output: Place) -> None:
    """Removes what killed runs have left beside a result, unless somebody is writing there."""
    here = opened(output)
    if here is not None and has_leftovers(followed(here)):
        settle(output, here, _owned(output))


def _owned(output: Place) -> Callable[[Opened], list[str]]:
    return partial(_scores, output)


def _scores(output: Place, here: Opened) -> list[str]:
    return owned_files(output, here, SCORES)


def _refuse_there(output: Place, overwrite: bool, spark: SparkSession) -> None:
    if not is_there(spark, output):
        return
    if overwrite:
        raise StorageError(
            f"{output}: exists already, and can be reached by Spark only: what would be deleted there cannot be seen. "
            "Give a new path, or one that Python sees too"
        )
    raise StorageError(f"{output}: exists already; give a new path")


def _sparks_manifest(output: Place, spark: SparkSession) -> Manifest | None:
    marker = output.child(SPARKS_MARKER)
    if not is_there(spark, marker):
        return None
    lines = spark.read.text(literal(marker)).collect()
    try:
        found = json.loads(lines[0].value) if len(lines) == 1 else None
    except ValueError:
        return None
    ours = isinstance(found, dict) and (found.get("product"), found.get("kind")) == (PRODUCT, SCORES)
    return found if ours else None
