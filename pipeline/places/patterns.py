"""Patterns of names in paths, with Hadoop's meaning: * ? [ab] [^a] {a,b}, and a backslash before a sign that is meant.

Comes in: a path; names. Goes out: whether it is a pattern, which names it matches, and how it lies to another path.
Knows nothing of file systems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from pipeline.errors import StorageError

SIGNS = "*?[{\\"


def is_pattern(path: str) -> bool:
    return any(sign in path for sign in SIGNS)


def escaped(path: str) -> str:
    """A path as a pattern that matches it alone."""
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


def alternatives(path: str) -> list[str]:
    """The patterns without braces that a pattern with braces stands for; braces may hold slashes, and braces."""
    start, depth, at = -1, 0, 0
    commas: list[int] = []
    while at < len(path):
        sign = path[at]
        if sign == "\\":
            at += 1
        elif sign == "{":
            if depth == 0:
                start, commas = at, []
            depth += 1
        elif sign == "," and depth == 1:
            commas.append(at)
        elif sign == "}" and depth:
            depth -= 1
            if depth == 0:
                cuts = [start, *commas, at]
                choices = [path[a + 1 : b] for a, b in pairwise(cuts)]
                return [found for choice in choices for found in alternatives(path[:start] + choice + path[at + 1 :])]
        at += 1
    if depth:
        raise StorageError(f"{path}: a brace is not closed")
    return [path]


def matcher(pattern: str) -> re.Pattern[str]:
    """What names one part of a path, without slashes and braces, matches."""
    out, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\" and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        elif sign == "*":
            out += ".*"
        elif sign == "?":
            out += "."
        elif sign == "[":
            end = pattern.find("]", at + 2)
            if end < 0:
                raise StorageError(f"{pattern}: a bracket is not closed")
            inner = pattern[at + 1 : end]
            negated = inner[0] in "^!"
            inner = re.sub(r"([\\\[&~|^])", r"\\\1", inner[negated:])
            out += f"[{'^' if negated else ''}{inner}]"
            at = end
        else:
            out += re.escape(sign)
        at += 1
    return re.compile(out, re.DOTALL)


def unescaped(part: str) -> str:
    """A part of a path without signs of patterns, as it stands on the disk."""
    return re.sub(r"\\(.)", r"\1", part)


def expanded(pattern: str, names: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Paths that a pattern may name. `names` lists a directory; nobody has looked for a last part without signs."""
    for each in alternatives(pattern):
        absolute = each.startswith("/")
        found: Iterable[str] = [""]
        for part in each.strip("/").split("/"):
            found = _one_part(found, part, absolute, names)
        yield from found


def _one_part(
    folders: Iterable[str], part: str, absolute: bool, names: Callable[[str], Iterable[str]]
) -> Iterator[str]:
    for folder in folders:
        start = f"{folder}/" if folder or absolute else ""
        if not is_pattern(part):
            yield start + part
        elif part.replace("\\", "") and not any(sign in part.replace("\\", "") for sign in "*?["):
            yield start + unescaped(part)
        else:
            matches = matcher(part)
            yield from (start + name for name in names(folder or "/") if matches.fullmatch(name))


def meeting(pattern: str, path: str) -> str | None:
    """How a path and what a pattern may name lie to each other, both absolute: the path "is" it, "lies in" it, "holds"
    it; None if they never meet."""
    there = [part for part in path.split("/") if part]
    try:
        plains = [[matcher(part) for part in each.split("/") if part] for each in alternatives(pattern)]
    except StorageError:  # a bracket that is not closed: a name, for whoever takes it
        plains = [[matcher(part) for part in escaped(pattern).split("/") if part]]
    for named in plains:
        if all(sign.fullmatch(part) for part, sign in zip(there, named, strict=False)):
            return "is" if len(there) == len(named) else "lies in" if len(there) > len(named) else "holds"
    return None
