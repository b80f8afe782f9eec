"""graphsweep under its own name: `import graphsweep` is the package `pipeline` that lies beside this file.

Comes in: an import. Goes out: the same modules and the same objects, by either name: `graphsweep.formula` is
`pipeline.formula`. What else is called pipeline, in the user's folder or on PYTHONPATH, is not looked at. Knows nothing
of what the package does.

    import graphsweep
    from graphsweep.formula import linear, relu
    python -m graphsweep infer --help
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline import *  # noqa: F403

NAME, PACKAGE = "graphsweep", "pipeline"


def _package() -> ModuleType:
    """The package, wherever else one of its name may lie.

    Raises
    ------
    ImportError
        If a module of the user's has taken its name already.
    """
    there = sys.modules.get(PACKAGE)
    if there is not None:
        if "GraphsweepError" in getattr(there, "__all__", ()):
            return there
        where = getattr(there, "__file__", None) or next(iter(getattr(there, "__path__", [])), "this program")
        raise ImportError(
            f"graphsweep cannot be imported: its package is called {PACKAGE}, and a module of that name was imported "
            f"before, from {where}; rename that one, or run this in another Python process"
        )
    spec = PathFinder.find_spec(PACKAGE, [os.path.dirname(os.path.abspath(__file__))])
    if spec is None or spec.loader is None:
        raise ImportError(f"graphsweep is not installed whole: no {PACKAGE} beside {__file__}; install it again")
    found = module_from_spec(spec)
    sys.modules[PACKAGE] = found
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[PACKAGE]
        raise
    return found


class _Parts(MetaPathFinder, Loader):
    """Imports graphsweep.NAME as pipeline.NAME. Python would load the file once more, with classes of its own: an error
    that one of them raises would not be caught by the name of the other."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.startswith(f"{NAME}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        try:
            found = import_module(PACKAGE + spec.name.removeprefix(NAME))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{spec.name.replace(NAME, PACKAGE, 1)}.".startswith(f"{error.name}."):
                raise  # the part is there, and needs a library that is not
            raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name) from None
        spec.loader_state = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """It has been run. Python has told it that it is called graphsweep.NAME now."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


if __name__ == "__main__":
    _package()
    import_module(f"{PACKAGE}.cli").main()
else:
    sys.modules[__name__] = _package()
    if not any(type(finder).__qualname__ == _Parts.__qualname__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Parts())
