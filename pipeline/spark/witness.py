"""What one task says of the process it runs in: versions, the package, memory, and what it sees of places.

Comes in: a question. Goes out: an answer, as JSON. Knows only Python's standard library until it is certain that the
same graphsweep is installed where it runs: Spark carries this module to the task by value (handshake.py), so that a
machine without graphsweep, or with another one, can say so.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import platform
import socket
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

PACKAGE = "pipeline"
LIBRARIES = ("numba", "numpy", "pyarrow")
PAUSE = 0.1
"""Seconds: tasks that run at once get a Python worker each, as large ones would, only if none has ended before the last
has begun."""


def answer(batches: Iterable[Any], question: dict[str, Any]) -> Iterator[Any]:
    """The body of a task: one row with an answer, whatever comes in."""
    import pyarrow as pa

    for _ in batches:  # Spark waits for its rows to be taken
        pass
    time.sleep(PAUSE)
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps(testify(question))])], ["answer"])


def testify(question: dict[str, Any]) -> dict[str, Any]:
    """Of this process: facts(); and if its package has the hash that is asked about, whether everything that tasks need
    can be imported, its memory, and what it sees of the places."""
    said = facts()
    if said["hash"] != question["hash"]:
        return said
    try:
        importlib.import_module("scipy")  # which some models ask for, in the middle of a run
        importlib.import_module(f"{PACKAGE}.run.stage")
        importlib.import_module(f"{PACKAGE}.prepare")
        limits = importlib.import_module(f"{PACKAGE}.spark.limits")
        probes = importlib.import_module(f"{PACKAGE}.spark.probe")
    except Exception as error:
        return {**said, "lacks": f"{type(error).__name__}: {error}"}
    left = limits.memory_left()
    seen = [probes.visit(place, question["token"]) for place in question["places"]]
    return {**said, "cpu": _cpu(), "memory": [left.shared, left.own], "seen": seen}


def facts() -> dict[str, Any]:
    """Who and where this process is, and versions: the text of an error for a library that cannot be imported."""
    return {
        "host": socket.gethostname(),
        "address": _address(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "byteorder": sys.byteorder,
        "libraries": {name: _version(name) for name in LIBRARIES},
        **package(),
    }


def package() -> dict[str, Any]:
    """Where graphsweep is, and a hash of all its sources, in a directory or in a zip file; of a package that is in
    neither, or not there, the hash is None."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return {"where": None, "hash": None}
    where = next(iter(spec.submodule_search_locations or [spec.origin or "?"]))
    sources = dict(_files(where) if os.path.isdir(where) else _zipped(where))
    if not sources:
        return {"where": where, "hash": None}
    found = hashlib.sha256()
    for path, content in sorted(sources.items()):
        found.update(f"{path} {len(content)}\n".encode() + content)
    return {"where": where, "hash": found.hexdigest()}


def _files(root: str) -> Iterator[tuple[str, bytes]]:
    """The sources below a directory."""
    for directory, _, names in os.walk(root):
        inside = os.path.relpath(directory, root).replace(os.sep, "/")
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(directory, name), "rb") as file:
                    yield f"{inside}/{name}", file.read()


def _zipped(where: str) -> Iterator[tuple[str, bytes]]:
    """The same of a zip file or a wheel, as --py-files puts it on the path: /tmp/x.zip/pipeline."""
    archive, root = os.path.split(where)
    if not (os.path.isfile(archive) and zipfile.is_zipfile(archive)):
        return
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith(f"{root}/") and name.endswith(".py"):
                inside = os.path.dirname(name[len(root) + 1 :]) or "."
                yield f"{inside}/{os.path.basename(name)}", file.read(name)


def _version(library: str) -> str:
    try:
        return str(importlib.import_module(library).__version__)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _cpu() -> str:
    """What Numba compiles for: on another kind of processor sums can differ in their last bits."""
    numba = importlib.import_module("numba")
    return str(numba.config.CPU_NAME or importlib.import_module("llvmlite.binding").get_host_cpu_name())


def _address() -> str:
    """Empty where the machine's own name leads nowhere."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
