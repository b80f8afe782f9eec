"""The result table: schema, batches, classes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.formula import Value, lane_log_softmax, lane_softmax, node_input
from pipeline.result.output import MILLISECONDS, SUPERSTEP, OutputTable, classes, is_softmax

X = node_input("x", (3,))


def table(classify: bool = False, **outputs: Value) -> OutputTable:
    return OutputTable.of(outputs, "bigint", classify)


def test_schema_and_ddl_agree() -> None:
    made = table(True, output=X, score=X[0])
    assert made.schema.names == ["id", "output", "score", "predicted", "probability", SUPERSTEP, MILLISECONDS]
    assert made.ddl.startswith("`id` bigint, `output` array<float>, `score` float, `predicted` int")


def test_batches_hold_all_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.result.output.BATCH_LANES", 10)
    values = np.arange(21, dtype=np.float32).reshape(7, 3)
    batches = list(table(y=X).batches([pa.array(range(7))], {"y": values}))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    whole = pa.Table.from_batches(batches)
    assert whole["id"].to_pylist() == list(range(7))
    assert whole["y"].to_pylist() == values.tolist()
    assert whole[SUPERSTEP].null_count == 7


def test_a_clock_row_has_no_id() -> None:
    row = table(y=X).clock(2, 1.25).to_pylist()[0]
    assert row == {"id": None, "y": None, SUPERSTEP: 2, MILLISECONDS: 1250}


def test_classes_of_logits_and_of_probabilities() -> None:
    logits = np.array([[1, 3, 3], [1000, 0, -1000]], np.float32)
    best, share = classes(logits)
    assert best.to_pylist() == [1, 0], "a tie goes to the lower class, large logits do not overflow"
    assert share.to_pylist() == pytest.approx([1 / (2 + np.exp(-2)), 1], rel=1e-6)
    assert classes(np.array([[0.2, 0.7, 0.1]], np.float32), True)[1].to_pylist() == pytest.approx([0.7])


def test_a_softmax_is_recognised() -> None:
    assert is_softmax(lane_softmax(X))
    assert not is_softmax(lane_log_softmax(X))
    assert not is_softmax(X)
    assert table(y=lane_softmax(X)).probabilities
