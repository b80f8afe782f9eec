"""Generated text → a compiled function.

The text is kept in a file named by its sha256, in a directory that only this user can write: Numba keeps the compiled
code of a function beside the file it stands in, under that file's time stamp, so that a fresh process loads it. The
file is never executed: what runs is the text in memory, whatever the file holds.
"""

from __future__ import annotations

import hashlib
import pkgutil
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.kernels.jit import jit, keep

# What a generated function may use. The hash of functions.py is part of the text, since Numba's cache does not see
# that a function called from a cached one has changed.
HEADER = f"""\
# One reduction over the edges of a tile, generated. Calls functions.py of sha256
# {hashlib.sha256(pkgutil.get_data("pipeline.compiler", "functions.py") or b"").hexdigest()}
import math

import numpy as np
from numpy import float32

from pipeline.compiler.functions import exp, expm1, maximum, minimum, sigmoid, tanh

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
HALF = np.float32(0.5)
INFINITY = np.float32(np.inf)
SQRT_HALF = np.float32(0.7071067811865476)
SQRT_2_PI = np.float32(0.7978845608028654)
GELU_CUBE = np.float32(0.044715)
"""

_loaded: dict[str, Callable[..., None]] = {}
_loading = threading.Lock()


def load(text: str) -> Callable[..., None]:
    """The function `tile` of a generated text, compiled at its first call; one function per text and process."""
    text = HEADER + text
    name = "graphsweep_loop_" + hashlib.sha256(text.encode()).hexdigest()
    with _loading:
        if name not in _loaded:
            path = keep("loops", f"{name}.py", text.encode())
            module = types.ModuleType(name)
            module.__file__ = str(path)
            exec(compile(text, str(path), "exec"), module.__dict__)
            sys.modules[name] = module  # Numba finds the globals of a cached function through it
            _loaded[name] = jit(module.tile)
        return _loaded[name]


def source(function: Any) -> str:
    """The text that a loaded function was made from."""
    path = Path(getattr(function, "py_func", function).__code__.co_filename)
    return path.read_text(encoding="utf-8")
