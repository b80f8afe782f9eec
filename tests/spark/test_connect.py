"""The core of the suite through a real server of Spark Connect, within the limits of serverless compute.

A process has one kind of session, so the tests run in another one, started here: `pytest --connect`.
"""

from __future__ import annotations

import sys

import pytest

from tests.versions import through_connect

pytestmark = pytest.mark.slow


def test_through_spark_connect() -> None:
    pytest.importorskip("grpc", reason="needs pyspark[connect]")
    done = through_connect(sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
