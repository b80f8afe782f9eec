"""On the PYTHONPATH of executors only: a call of one function of graphsweep, in a task, fails or waits.

FAULT is JSON: module, function, superstep (None: any call), `waits`, and `place`, a directory. At the call a file
"reached" appears there, with the number of the process; then it fails, or waits until a file "go" is there, for four
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


def _fire() -> None:
    place, end = Path(FAULT["place"]), time.monotonic() + 240
    told = place / f"told-{os.getpid()}"
    told.write_text(str(os.getpid()))
    told.replace(place / "reached")  # whole, for who reads it
    if not FAULT["waits"]:
        raise RuntimeError("a fault that a test has asked for")
    while not (place / "go").exists() and time.monotonic() < end:
        time.sleep(0.05)


class _Finder:
    """Wraps the function when its module is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != FAULT["module"]:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def execute(module: Any) -> None:
            run(module)
            call = getattr(module, FAULT["function"])

            @functools.wraps(call)
            def faulty(*arguments: Any, **options: Any) -> Any:
                if FAULT["superstep"] in (None, getattr(arguments[1], "number", None)):
                    _fire()
                return call(*arguments, **options)

            setattr(module, FAULT["function"], faulty)

        spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


if FAULT is not None:
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
