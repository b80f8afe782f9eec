"""The oldest PySpark that we say works, beside the newest, which all other tests have.

The whole table of docs/compatibility.md takes environments of its own, half an hour and some gigabytes:
`python -m tests.versions`. Here the oldest PySpark stands before the newest on the path, and the core is its half: the
run prints what it had, and says so at its end (tests/order.py).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.versions import core, outcome, pyspark_alone, row, versions

pytestmark = pytest.mark.slow

OLDEST = "4.0"
TESTS = ("tests/spark/test_everywhere.py", "tests/spark/test_placement.py", "tests/spark/test_handshake.py")


def test_the_oldest_pyspark(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    started = time.monotonic()
    place = pyspark_alone(tmp_path / "pyspark", OLDEST)
    found = versions(sys.executable, place)
    assert found[1].startswith(f"{OLDEST}."), found
    done = core(sys.executable, tests=TESTS, before=place)
    shutil.rmtree(place)  # half a gigabyte
    record_property("compatibility", row(found, outcome(done), "-", f"{time.monotonic() - started:.0f}"))
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
