"""The versions of PySpark between the oldest and the newest: as in test_versions.py, without the tests that take most
of its time.

A file of its own, so that another process can take it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packages import Unreachable
from tests.spark.test_versions import run_core
from tests.versions import pyspark_alone

pytestmark = pytest.mark.slow

# 70 of 113 s. The oldest and the newest play them, and the others ask the same of Spark for smaller graphs.
AT_BOTH_ENDS = ("test_types", "test_a_night[files]", "test_frames_with_and_without_edges")


@pytest.mark.parametrize("version", ["4.1", "4.2"])
def test_a_pyspark(version: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    try:
        place = pyspark_alone(tmp_path / "pyspark", version)
    except Unreachable as why:
        pytest.skip(str(why))
    options = [f"--deselect=tests/spark/test_everywhere.py::{test}" for test in AT_BOTH_ENDS]
    run_core(version, place, tmp_path, record_property, *options)
    shutil.rmtree(place)
