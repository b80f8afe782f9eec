"""The oldest PySpark that we say works, beside the newest, which all other tests have; and Delta Lake and Iceberg,
which are there for the oldest and not for the newest.

The whole table of docs/compatibility.md takes environments of its own, half an hour and some gigabytes:
`python -m tests.versions`. Here each PySpark is run by another Python, if this machine has it, and the core is its
half: the run prints what it had, and says so at its end (tests/order.py).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packages import Unreachable, no_answer
from tests.versions import core, outcome, pyspark_alone, python_of, row, versions, with_libraries

pytestmark = pytest.mark.slow

OLDEST = "4.0"
PYTHONS = {"4.0": "3.10", "4.1": "3.12", "4.2": "3.13"}
"""PySpark → the Python that runs it; the newest is run by the tests' own. Else each runs on the tests' own."""
TESTS = ("tests/spark/test_everywhere.py", "tests/spark/test_placement.py", "tests/spark/test_handshake.py")
LAKES = {
    "GRAPHSWEEP_DELTA": "io.delta:delta-spark_2.13:4.0.1",
    "GRAPHSWEEP_ICEBERG": "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0",
}
OF_LAKES = ("tests/tables/test_lakes.py", "tests/tables/test_delta.py", "tests/tables/test_iceberg.py")


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the oldest PySpark: half a gigabyte, for all tests of this file."""
    place = tmp_path_factory.mktemp("versions") / "pyspark"
    try:
        yield pyspark_alone(place, OLDEST)
    except Unreachable as why:
        pytest.skip(str(why))
    shutil.rmtree(place)


def test_the_oldest_pyspark(oldest: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    run_core(OLDEST, oldest, tmp_path, record_property)


def run_core(
    version: str, pyspark: Path, place: Path, record_property: Callable[[str, object], None], *options: str
) -> None:
    """Half of the core with this PySpark, which lies in a folder, by its Python, whose libraries go to another one.
    `options`: of pytest."""
    started = time.monotonic()
    python = python_of(PYTHONS[version])
    try:
        interpreter: Path | str = sys.executable if python is None else with_libraries(place / "python", python)
    except Unreachable as why:
        pytest.skip(str(why))
    had = versions(interpreter, pyspark)
    assert had[1].startswith(f"{version}."), had
    assert python is None or had[0].startswith(f"{PYTHONS[version]}."), had
    done = core(interpreter, *options, tests=TESTS, before=pyspark)
    record_property("compatibility", row(had, outcome(done), "-", f"{time.monotonic() - started:.0f}"))
    shutil.rmtree(place / "python", ignore_errors=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_delta_and_iceberg(oldest: Path) -> None:
    done = core(sys.executable, "-rs", tests=OF_LAKES, before=oldest, **LAKES)
    said = done.stdout[-20_000:] + done.stderr
    if done.returncode != 0 and (why := no_answer(done.stdout + done.stderr)):
        pytest.skip(f"Maven Central cannot be reached, where Delta Lake and Iceberg come from: {why}")
    assert done.returncode == 0, said
    assert "passed" in done.stdout, said
    assert "skipped" not in done.stdout, said
