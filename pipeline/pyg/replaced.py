"""Functions in other ones' places, wherever they were imported. Not for several threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Function = Callable[..., Any]


@contextmanager
def replaced(substitutes: Mapping[Function, Function]) -> Iterator[None]:
    """Every module's global that is a key is what belongs to it, inside the block."""
    by_id = {id(original): (original, substitute) for original, substitute in substitutes.items()}
    found = []
    for module in list(sys.modules.values()):
        held: dict[str, Any] = getattr(module, "__dict__", {})
        if not by_id.keys().isdisjoint(map(id, held.values())):
            found += [(held, name, *by_id[id(item)]) for name, item in held.items() if id(item) in by_id]
    for held, name, _, substitute in found:
        held[name] = substitute
    try:
        yield
    finally:
        for held, name, original, _ in found:
            held[name] = original
