"""Paths with signs that stand for others, as Spark takes them for tables: `*`, `?`, `[a-z]`, `{one,two}`.

Comes in: a pattern and a path, both absolute. Goes out: what is known of the path from its name alone.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

SIGNS = "*?[{"


def is_pattern(path: str) -> bool:
    return any(sign in path for sign in SIGNS)


def expand_braces(pattern: str) -> Iterator[str]:
    """`/a/{b,c}` → `/a/b`, `/a/c`; braces inside of braces too."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        yield pattern
        return
    for choice in found[1].split(","):
        yield from expand_braces(pattern[: found.start()] + choice + pattern[found.end() :])


def meeting(pattern: str, path: str) -> str | None:
    """How a path and what a pattern may name lie to each other: the path "is" it, "lies in" it, "holds" it; None if
    they never meet."""
    there = [part for part in path.split("/") if part]
    for plain in expand_braces(pattern):
        named = [part.replace("[^", "[!") for part in plain.split("/") if part]
        if all(fnmatch.fnmatchcase(part, sign) for part, sign in zip(there, named, strict=False)):
            return "is" if len(there) == len(named) else "lies in" if len(there) > len(named) else "holds"
    return None
