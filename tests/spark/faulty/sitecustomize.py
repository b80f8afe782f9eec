"""On the PYTHONPATH of executors only: calls of some functions of graphsweep, in a task, fail or wait.

FAULT is JSON: `calls`, a list of module, function, superstep (None: any call); `waits`; and `place`, a directory. At a
call a file "reached-FUNCTION-PID" appears there; then it fails, or waits until a file "go-FUNCTION" is there, for four
minutes at most.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FAULT = json.loads(os.environ.get("FAULT", "null"))


def _fire(function: str) -> None:
    place, end = Path(FAULT["place"]), time.monotonic() + 240
    (place / f"reached-{function}-{os.getpid()}").touch()
    if not FAULT["waits"]:
        raise RuntimeError("a fault that a test has asked for")
    while not (place / f"go-{function}").exists() and time.monotonic() < end:
        time.sleep(0.05)


class _Finder:
    """Wraps a function when its module is imported."""

    def __init__(self, module: str, function: str, superstep: int | None) -> None:
        self.module, self.function, self.superstep = module, function, superstep

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != self.module:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def execute(module: Any) -> None:
            run(module)
            call = getattr(module, self.function)

            @functools.wraps(call)
            def faulty(*arguments: Any, **options: Any) -> Any:
                if self.superstep in (None, getattr(arguments[1], "number", None)):
                    _fire(self.function)
                return call(*arguments, **options)

            setattr(module, self.function, faulty)

        spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


if FAULT is not None:
    sys.meta_path[:0] = [_Finder(*call) for call in FAULT["calls"]]  # type: ignore[list-item]
