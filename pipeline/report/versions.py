"""Which versions of what made a run.

Knows nothing of the run.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("graphsweep", "numpy", "numba", "pyarrow", "scipy", "safetensors", "pyspark")


def versions() -> dict[str, str]:
    """Of this process's Python and packages, by name; those that are not installed as packages are left out."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from its sources
            continue
    return found
