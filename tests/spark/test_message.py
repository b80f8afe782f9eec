"""What goes to Spark Connect at once: weights that are too large are refused, before a server could."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.blocks.columns import CHUNK_BYTES
from pipeline.errors import SettingError
from pipeline.formula.attributes import MOST_LANES
from pipeline.spark.message import MESSAGE_BYTES, refuse_message, through_connect

CLIENT: Any = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
CLASSIC: Any = type("SparkSession", (), {"__module__": "pyspark.sql.session"})()


def weights(megabytes: int) -> dict[str, Any]:
    return {name: np.broadcast_to(np.float32(0), (megabytes << 17,)) for name in ("a", "b")}


def test_which_session_it_is() -> None:
    assert through_connect(CLIENT)
    assert not through_connect(CLASSIC)


@pytest.mark.parametrize(("megabytes", "stages"), [(120, 1), (40, 3), (1, 100)])
def test_what_fits_is_sent(megabytes: int, stages: int) -> None:
    refuse_message(CLIENT, weights(megabytes), stages)
    refuse_message(CLASSIC, weights(10 * megabytes), stages)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingError) as said:
        refuse_message(CLIENT, weights(41), 3)
    assert str(said.value) == (
        "the model's weights, 43.0 MB, go to the tasks in each of 3 supersteps, and Spark Connect takes 134 MB at "
        'once; set transport = "files" and scratch to a folder that all tasks see, by which each superstep is a query '
        'of its own; or tier = "fused"; or score without Spark Connect: in a classic session, or in a process without '
        "Spark"
    )
    with pytest.raises(SettingError, match=r"127 MB, go to the tasks, and Spark Connect takes 134 MB at once; score w"):
        refuse_message(CLIENT, weights(121), 1)


def test_rows_are_smaller_than_what_serverless_compute_takes() -> None:
    """A row is a megabyte, or one row of a matrix: tests/blocks/test_storage.py cuts arrays."""
    assert max(CHUNK_BYTES, 4 * MOST_LANES) <= MESSAGE_BYTES // 2
