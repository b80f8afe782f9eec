"""Every setting: its type, its default, and what it means. There are no others, and nothing reads the environment.

Comes in: keywords, a mapping, or a TOML file. Goes out: a frozen `Settings` whose values are known to be possible.
Knows nothing of who uses them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any

from pipeline.blocks.columns import WIRES
from pipeline.errors import SettingError, StorageError, nearest, shortened
from pipeline.places.regular import read_toml

MOST_BYTES = 1 << 20  # of a file of settings
MOST_COUNT = 1 << 62  # of bytes, and of anything else that is counted
AUTO = "auto"  # in a file, where there is no None: let the planner choose


@dataclass(frozen=True)
class Settings:
    """How a run is carried out. Only `wire` changes what is computed; `blocks` and `exchange` change the order of sums,
    and so bits.

    Raises
    ------
    SettingError
        If a value cannot be taken; it says what is accepted.
    """

    tier: str = AUTO
    """auto, fused (the whole run in one task) or distributed (a Spark stage per superstep)."""
    blocks: int | None = None
    """Parts that a graph is cut into when it is prepared on the fly. None: as many as its size asks for."""
    task_memory: int | None = None
    """Bytes that one task may use, or a text like "4g". None: what the cluster gives a task."""
    threads: int | None = None
    """Blocks that one task works on at a time. None: the cores of the task."""
    read: str = AUTO
    """Who reads a prepared graph: worker (opens the files itself), spark (through the shuffle), auto (try)."""
    write: str = AUTO
    """Who writes results in Parquet: worker (a file for each block, on a disk that all share), spark, auto (try)."""
    scratch: str | None = None
    """Directory that all machines see, for graphs prepared on the fly. None: a temporary one of this machine."""
    transport: str = AUTO
    """How blocks of the distributed tier send: shuffle (through Spark), files (in a directory that all tasks see: takes
    half of the time), auto (files where all tasks are on this machine, or there is a work_dir)."""
    work_dir: str | None = None
    """Directory that all machines see, where a run keeps what it has done until it has ended well: the same command
    goes on where a killed one stopped. None: a killed run begins again."""
    exchange: str = AUTO
    """What blocks send each other: pull (the row of every node at whose edges something is read) or auto (partial
    results instead for some edges, where these are fewer bytes)."""
    wire: str = "float32"
    """Number format of what blocks send to each other: float32, or float16 or bfloat16 for half of the bytes; `verify`
    reports what that costs."""

    def __post_init__(self) -> None:
        for name, accept in ACCEPTED.items():
            object.__setattr__(self, name, accept(name, getattr(self, name)))
        if self.transport == "shuffle" and self.work_dir is not None:
            raise SettingError("transport is shuffle, but work_dir keeps files; leave one of them out")

    @staticmethod
    def load(path: str | PathLike[str]) -> Settings:
        """Reads a TOML file of settings; what it leaves out has its default."""
        try:
            given = read_toml(path, MOST_BYTES)
        except StorageError as error:
            raise SettingError(f"settings: {error}") from None
        try:
            return Settings.of(given)
        except SettingError as error:
            raise SettingError(f"{path}: {error}") from None

    @staticmethod
    def of(given: Mapping[str, Any]) -> Settings:
        """Settings from a mapping; SettingError for a name that is not one of them, with the nearest that is."""
        return Settings().changed(given)

    @staticmethod
    def taken(settings: Settings | Mapping[str, Any] | None) -> Settings:
        """The settings that a function is given: these, or a mapping of some of them, or none."""
        if settings is None:
            return Settings()
        if isinstance(settings, Settings):
            return settings
        if isinstance(settings, Mapping):
            return Settings.of(settings)
        raise SettingError(
            f"settings are {shortened(settings)}; Settings(tier='fused'), a mapping like {{'tier': 'fused'}}, or "
            f"Settings.load(path) is expected"
        )

    def changed(self, given: Mapping[str, Any]) -> Settings:
        """The same, but for what is given."""
        for name in given:
            if name not in ACCEPTED:
                raise SettingError(f"unknown setting {shortened(name)}; {nearest(str(name)[:60], ACCEPTED)}")
        return replace(self, **given)

    def __str__(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name) or AUTO}" for field in fields(self))


# ---- what each setting accepts


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def accept(name: str, value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        hint = f"; {nearest(value[:60], choices)}" if isinstance(value, str) and len(choices) > 1 else ""
        raise SettingError(
            f"{name} is {shortened(value)}; accepted: {', '.join(choices)}{hint if 'mean' in hint else ''}"
        )

    return accept


def _count(name: str, value: Any) -> int | None:
    if value is None or value == AUTO:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < MOST_COUNT:
        return value
    raise SettingError(f"{name} is {shortened(value)}; accepted: a whole number from 1, or {AUTO}")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", re.IGNORECASE)
_POWER = {"k": 10, "m": 20, "g": 30, "t": 40}


def _size(name: str, value: Any) -> int | None:
    """Spark's way to write sizes: "512m", "4g"."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        size = float(match[1]) * (1 << _POWER[match[2].lower()])
        if 1 <= size < MOST_COUNT:
            return int(size)
    try:
        return _count(name, value)
    except SettingError:
        raise SettingError(f"{name} is {shortened(value)}; accepted: a size like 512m or 4g, or {AUTO}") from None


def _directory(name: str, value: Any) -> str | None:
    if value is None or value == AUTO:
        return None
    if isinstance(value, str | PathLike) and str(value) and "\0" not in str(value):
        return str(value)
    raise SettingError(f"{name} is {shortened(value)}; accepted: a directory, or {AUTO}")


ACCEPTED: dict[str, Callable[[str, Any], Any]] = {
    "tier": _one_of(AUTO, "fused", "distributed"),
    "blocks": _count,
    "task_memory": _size,
    "threads": _count,
    "read": _one_of(AUTO, "worker", "spark"),
    "write": _one_of(AUTO, "worker", "spark"),
    "scratch": _directory,
    "transport": _one_of(AUTO, "shuffle", "files"),
    "work_dir": _directory,
    "exchange": _one_of(AUTO, "pull"),
    "wire": _one_of(*WIRES),
}
