"""The versions of PySpark between the oldest and the newest: half of the core with each, as in test_versions.py.

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


@pytest.mark.parametrize("version", ["4.1", "4.2"])
def test_a_pyspark(version: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    try:
        place = pyspark_alone(tmp_path / "pyspark", version)
    except Unreachable as why:
        pytest.skip(str(why))
    run_core(version, place, tmp_path, record_property)
    shutil.rmtree(place)
