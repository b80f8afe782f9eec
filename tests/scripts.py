"""The scripts of a folder of data/, as modules: they import each other by their names.

Comes in: the folder, and names of its files. Goes out: name → module, while it is entered; then modules of these names
are again what they were.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def scripts_of(folder: Path, names: Sequence[str]) -> Iterator[dict[str, ModuleType]]:
    others = {name: sys.modules.pop(name, None) for name in names}
    sys.path.insert(0, str(folder))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        for name, other in others.items():
            sys.modules.pop(name, None)
            if other is not None:
                sys.modules[name] = other
