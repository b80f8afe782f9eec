"""How much more memory this process may take before the system kills it or refuses.

Comes in: what Linux says of the machine, of the process's control groups (versions 1 and 2, and all groups around them)
and of its own limits. Goes out: bytes. Knows nothing of Spark, or of who wants the memory.

psutil alone counts the memory of the machine: in a container of 350 MB it says 14 GB.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa

ROOT = Path("/")


@dataclass(frozen=True)
class MemoryLeft:
    """Bytes that may still be taken."""

    shared: int
    """By this process and all others of the same machine or container together."""
    own: int | None
    """By this process alone, if it has a limit of its own (RLIMIT_AS)."""


def memory_left(root: Path = ROOT) -> MemoryLeft:
    """The least of what the machine has and what each control group around this process leaves.

    Parameters
    ----------
    root : Path
        Where proc and sys are; tests have trees of their own.
    """
    groups = [max(0, limit - used) for limit, used in _groups(root)]
    return MemoryLeft(min([psutil.virtual_memory().available, *groups]), _address_space())


def _address_space() -> int | None:
    """Bytes up to RLIMIT_AS, which Spark sets for its workers by spark.executor.pyspark.memory."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            return max(0, int(limit) - int(psutil.Process().memory_info().vms))
    return None


# Of a group: what limits it, what it uses, and what of that is cache of files, which the system takes back before it
# kills (the machine's own `available` counts it as free too). "high" only slows down, but to a crawl.
V1 = (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, in use) of each control group around this process that has a limit and can be read."""
    if sys.platform != "linux":
        return
    for (limits, used, cached), directory in _directories(root):
        found = [limit for name in limits if (limit := _number(directory / name)) is not None]
        in_use = _number(directory / used)
        if found and in_use is not None:
            yield min(found), max(0, in_use - _cache(directory / "memory.stat", cached))


Names = tuple[tuple[str, ...], str, tuple[str, ...]]


def _directories(root: Path) -> Iterator[tuple[Names, Path]]:
    """The directories of this process's groups, from the innermost outwards, as far as they can be seen from here."""
    own = dict(_own_groups(root))
    for kind, inside, point in _mounts(root):
        names, group = (V2, own.get("")) if kind == "cgroup2" else (V1, own.get("memory"))
        if group is None:
            continue
        # in a container the mount can begin at its own group, or the group's name can be that of the host
        below = group.removeprefix(inside.rstrip("/")) if f"{group}/".startswith(f"{inside.rstrip('/')}/") else "/"
        parts = [part for part in below.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            yield names, point.joinpath(*parts[:depth])


def _own_groups(root: Path) -> Iterator[tuple[str, str]]:
    """(controller, group) of this process; the controller is "" for version 2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, found, group = rest.partition(":")
        if found:
            yield from ((controller, group) for controller in controllers.split(","))


def _mounts(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(cgroup or cgroup2, the group that a mount begins at, where it is mounted), of those with a memory controller."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, found, after = line.partition(" - ")
        if not found or len(before.split()) < 5 or len(after.split()) < 3:
            continue
        kind, _, options = after.split()[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            inside, point = before.split()[3:5]
            yield kind, inside, root / point.lstrip("/")


def _cache(file: Path, names: tuple[str, ...]) -> int:
    pairs = (line.split() for line in _lines(file))
    return sum(int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in names and pair[1].isdecimal())


def _number(file: Path) -> int | None:
    """None if there is no such file, or no number in it: "max" is no limit."""
    text = " ".join(_lines(file)).strip()
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def trim_memory() -> None:
    """Returns freed memory to the system, which allocators keep for threads that may want it again: of 640 MB after
    16.8M edges were prepared 360 MB, while others are going to need them."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)
