"""What the marker of a run says of its scores, as far as a verification has to know it.

Comes in: where the scores are. Goes out: the format in which numbers were sent, and which nodes were wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import StorageError, shortened
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.tables.named import is_name
from pipeline.verifying.rounding import WIRES


def marker_of(scores: str) -> Mapping[str, Any]:
    """What the run says of its result; nothing where there is no marker."""
    at = None if is_name(scores) else opened(Place.of(scores))
    return (read_marker(at) if at is not None else None) or {}


def wire_of(marker: Mapping[str, Any]) -> str:
    """In what format the run sent numbers; float32 if it does not say."""
    settings = marker.get("settings")
    wire = settings.get("wire") if isinstance(settings, dict) else None
    return wire if isinstance(wire, str) and wire in WIRES else "float32"


def targets_of(scores: Any, marker: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Which nodes were wanted; None if all were."""
    targets = marker.get("targets")
    if targets is None:
        return None
    by_type = targets.get("node_types") if isinstance(targets, dict) else None
    for each in by_type.values() if isinstance(by_type, dict) else [targets]:
        if isinstance(each, dict) and isinstance(each.get("rows"), int) and "ids" in each:
            continue
        raise StorageError(f"{scores}: its marker is damaged: targets is {shortened(targets)}")
    return targets
