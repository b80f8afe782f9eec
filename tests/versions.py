"""The core of the suite with other versions of PySpark and Python, each in an environment of its own.

    python -m tests.versions --python python3.11 --pyspark 4.0 4.1 4.2
    python -m tests.versions --python python3.10 python3.13 --pyspark 4.3

Comes in: versions, and the interpreters that are there. Goes out: the table of docs/compatibility.md. Environments are
made below ~/.cache, a download of 500 MB each; the core takes some minutes, and needs no torch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.packages import install

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CORE = (
    "tests/spark/test_everywhere.py",
    "tests/spark/test_handshake.py",
    "tests/spark/test_placement.py",
    "tests/result/test_into_table.py",
    "tests/tables/test_named.py",
    "tests/test_targets_spark.py",
)
CONNECT_LACKS = ("local_session", "misspelt_path")
"""Words in the names of tests of a session that is in this process."""
NEEDED = ("pytest", "polars", "hypothesis", "chispa")


HEAD = """\
| Python | PySpark | NumPy | Numba | PyArrow | in one JVM | Spark Connect | seconds |
|---|---|---|---|---|---|---|---:|"""


def core(
    python: Path | str,
    *options: str,
    tests: Sequence[str] = CORE,
    timeout: int = 3600,
    before: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """The core of the suite by some interpreter. `before`: where it finds packages first, of other versions than its
    own. `variables`: of its environment."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    environment |= {"PYTHONPATH": _path(before), **variables}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )


def _path(before: Path | None) -> str:
    return str(ROOT) if before is None else f"{before}{os.pathsep}{ROOT}"


def through_connect(python: Path | str, tests: Sequence[str] = CORE) -> subprocess.CompletedProcess[str]:
    """The same through a server of Spark Connect, as on serverless compute."""
    return core(python, "--connect", "-k", " and ".join(f"not {word}" for word in CONNECT_LACKS), tests=tests)


def environment(home: Path, python: str, pyspark: str) -> Path:
    """The interpreter of an environment with this version, which is made if it is not there."""
    place = home / f"{Path(python).name}-pyspark{pyspark}"
    interpreter = place / "bin" / "python"
    if not (place / "made").exists():
        subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
        packages = [f"pyspark[connect]=={pyspark}.*", f"{ROOT}[spark,report]", *NEEDED]
        subprocess.run([str(interpreter), "-m", "pip", "install", "-q", *packages], check=True)
        # the checkout is tested, not a copy of it
        subprocess.run([str(interpreter), "-m", "pip", "uninstall", "-q", "-y", "graphsweep"], check=True)
        (place / "made").touch()
    return interpreter


def pyspark_alone(place: Path, version: str) -> Path:
    """A folder with this PySpark, for an interpreter that has the rest: 23 core-seconds, which make a wheel of it, and
    one where uv has kept that."""
    install("--target", str(place), f"pyspark=={version}.*")
    return place


def python_of(version: str) -> str | None:
    """A Python of this minor version, on the PATH or kept by pyenv; None if there is none that starts."""
    name, kept = f"python{version}", Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for each in [shutil.which(name), *sorted(map(str, kept.glob(f"versions/{version}.*/bin/{name}")))]:
        if each is not None and subprocess.run([each, "-c", ""], capture_output=True, check=False).returncode == 0:
            return each
    return None


def with_libraries(place: Path, python: str) -> Path:
    """The interpreter of an environment with what graphsweep and its tests need, but for PySpark."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pandas = [each for each in extras["spark"] if not each.startswith("pyspark")]
    interpreter = place / "bin" / "python"
    needed = [*project["dependencies"], *pandas, *extras["report"], *NEEDED]
    install("--python", str(interpreter), *needed)
    return interpreter


def versions(interpreter: Path | str, before: Path | None = None) -> tuple[str, ...]:
    """Of Python, PySpark, NumPy, Numba and PyArrow."""
    code = (
        "import platform, pyspark, numpy, numba, pyarrow;"
        "print(platform.python_version(), *(m.__version__ for m in (pyspark, numpy, numba, pyarrow)))"
    )
    command, environment = [str(interpreter), "-c", code], {**os.environ, "PYTHONPATH": _path(before)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return tuple(said.split())


def row(versions: Sequence[str], *cells: str) -> str:
    """A line of the table."""
    return f"| {' | '.join([*versions, *cells])} |"


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """Of the last line of pytest: 77 passed."""
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    return re.sub(r"[= ]*(.*?)(, \d+ skipped)? in .*", r"\1", last)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--pyspark", nargs="+", default=["4.0", "4.1", "4.2", "4.3"])
    parser.add_argument("--home", type=Path, default=Path("~/.cache/graphsweep-versions").expanduser())
    parser.add_argument("--tests", nargs="+", default=list(CORE), help="other files than those of the core")
    given = parser.parse_args()
    failed = False
    print(HEAD, flush=True)
    for python in given.python:
        for pyspark in given.pyspark:
            interpreter = environment(given.home, python, pyspark)
            started = time.monotonic()
            runs = [core(interpreter, tests=given.tests), through_connect(interpreter, given.tests)]
            for run in runs:
                if run.returncode:
                    failed = True
                    sys.stderr.write(run.stdout[-20000:] + run.stderr)
            cells = [*map(outcome, runs), f"{time.monotonic() - started:.0f}"]
            print(row(versions(interpreter), *cells), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
