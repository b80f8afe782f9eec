"""An Airflow for tests, in an environment of its own: ours cannot have it, because it wants pandas 3.

Comes in: a place. Goes out: the Python of an Airflow with the provider of Spark. Its packages are those of the list
beside this file, with which these tests have passed (Airflow says: install with constraints); for another Python than
that of the list, they are what uv finds.

    python -m pip --python ENVIRONMENT freeze > tests/jobs/airflow-3.11.txt
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.packages import install

PACKAGES = ("apache-airflow>=3", "apache-airflow-providers-apache-spark")


def environment(place: Path) -> Path:
    """Makes it: 500 MB."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    listed = Path(__file__).with_name(f"airflow-{sys.version_info.major}.{sys.version_info.minor}.txt")
    constraints = ["--constraint", str(listed)] if listed.exists() else []
    python = place / "bin" / "python"
    install("--python", str(python), *constraints, *PACKAGES)
    return python
