"""Who owns a directory: a process, which lives or does not.

Comes in: what a process wrote of itself. Goes out: whether it has ended, as far as this machine can tell. Knows nothing
of what is owned.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil


def process_facts() -> dict[str, Any]:
    """Of this process, for others to know it by."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": process.pid, "started": process.create_time()}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether its process numbers are those of this machine, so that we can see whether it lives."""
    return owner.get("machine") == _machine()


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Of an owner on this machine: the process with that number, if it is the one that began then."""
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["started"])) < 1.0
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def _machine() -> str:
    """Containers that share a machine's name number their processes each for itself."""
    namespace = ""
    with suppress(OSError):  # not Linux
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()}:{namespace}"
