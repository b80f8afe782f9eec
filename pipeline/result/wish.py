"""What the user wants of a result, and whether one that is there already is as good.

Comes in: a path, a format, what may be replaced. Goes out: the same, checked. Looks at no file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SettingError, StorageError, nearest
from pipeline.places.given import check_flags
from pipeline.result.columns import Columns
from pipeline.result.destination import Manifest
from pipeline.result.manifest import differences
from pipeline.result.written import CSV, PARQUET
from pipeline.schema import AnyType
from pipeline.tables.targets import Targets

log = logging.getLogger("graphsweep")

FORMATS = (PARQUET, CSV)
SKIP = "skip"


@dataclass(frozen=True)
class Wish:
    """What the user wants of the result. SettingError for what there is not."""

    output: str | os.PathLike[str]
    format: str = PARQUET
    overwrite: bool = False
    classify: bool = False
    if_same: str | None = None
    """"skip": a result of the same graph, model and settings that is there already is as good."""
    types: tuple[AnyType, ...] | None = None
    """Of a typed graph: the types to score; None: all."""
    targets: Targets | None = None
    """The nodes to score; None: all."""
    output_id: str | None = None
    """What the ids are called; None: as in the node table."""

    def __post_init__(self) -> None:
        assert self.columns  # whose names are checked
        check_flags(overwrite=self.overwrite)
        if self.format not in FORMATS:
            raise SettingError(f"unknown output format {self.format!r}; {nearest(str(self.format), FORMATS)}")
        if self.if_same not in (None, SKIP):
            raise SettingError(f"if_same is {self.if_same!r}; accepted: {SKIP}")

    @property
    def columns(self) -> Columns:
        """What is wanted of the result's columns."""
        return Columns(self.classify, self.output_id)

    def is_met_by(self, manifest: Manifest, wanted: Mapping[str, Any]) -> bool:
        """Whether a result that is there is the wanted one. StorageError if it is not, and may not be replaced."""
        found = differences(manifest, wanted)
        if found and not self.overwrite:
            raise StorageError(
                f"{self.output}: exists already, and is not the same ({', '.join(found)}); give another path, or "
                "overwrite it"
            )
        if found:
            log.info("%s: will be replaced, because it is not the same (%s)", self.output, ", ".join(found))
        return not found
