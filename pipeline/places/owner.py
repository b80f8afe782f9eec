"""Who owns a lock or a directory: a process, which lives or does not.

Comes in: facts that a process wrote of itself. Goes out: whether it has ended, as far as this machine can tell.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil


def process_facts() -> dict[str, Any]:
    """Of this process, for others to know it by."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": process.pid,
        "started": process.create_time(),
    }


def is_this_machine(owner: Mapping[str, Any]) -> bool:
    """Whether its process numbers are those of this machine, so that we can see whether it lives."""
    return owner.get("machine") == machine()


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Of an owner on this machine: the process with that number, if it is the one that began then."""
    try:
        process = psutil.Process(int(owner["pid"]))
        began = abs(process.create_time() - float(owner["started"])) < 1.0
        return began and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


@functools.lru_cache(maxsize=1)
def machine() -> str:
    """What tells machines apart, and containers: two of them can have one host name, and process numbers of their
    own."""
    return ":".join([socket.gethostname(), _first_line("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")])


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()
    except OSError:  # not Linux
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
