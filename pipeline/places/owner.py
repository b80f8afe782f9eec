"""Who made something: the process that has written a file, and whether it is still there.

Comes in: what a file says of its owner. Goes out: alive, dead, or not to be told from here. Knows nothing of the file.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """This process, so that others can tell it from the next one with the same number."""
    process = psutil.Process()
    facts = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
    return {**facts, "namespace": _namespace()}


def is_alive(found: Mapping[str, Any]) -> bool | None:
    """None: of another machine, or of another container of this one, whose processes have numbers of their own."""
    if found.get("host") != socket.gethostname() or found.get("namespace", _namespace()) != _namespace():
        return None
    try:
        return abs(psutil.Process(int(found["pid"])).create_time() - float(found["started"])) < 1.0
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def _namespace() -> str:
    """Of process numbers: containers that share the machine's name do not share them."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.readlink("/proc/self/ns/pid")
    return ""
