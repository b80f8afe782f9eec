"""Scores against exact values, group by group, until all of a sample are judged.

Comes in: rows of the scores, parts of the graph to compute. Goes out: an `OutputError` for each column, ids whose class
is wrong. Knows nothing of where the parts come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.formula.classes import Label
from pipeline.formula.values import Value
from pipeline.model import Model
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.schema import ID, AnyType
from pipeline.verifying.judging import MORE_TRIALS, TRIALS, Judged, OutputError, joined
from pipeline.verifying.recompute import FloatArray, Subgraph
from pipeline.verifying.rounding import Trials


@dataclass
class Comparison:
    """Group by group, the scores against exact values."""

    model: Model
    type: AnyType
    sampled: pa.Table
    classify: bool
    labels: Mapping[str, Label]
    """Column of labels → whose they are; those that the scores have."""
    wire: str
    tolerance: float | None
    ids: list[int | str] = field(default_factory=list)
    wrong_classes: list[int | str] = field(default_factory=list)
    wrong_labels: dict[str, list[int | str]] = field(default_factory=dict)
    recomputed: int = 0
    nodes: int = 0
    """That were touched; one that several parts touch counts for each."""
    edges: int = 0
    _judged: dict[str, list[Judged]] = field(default_factory=dict)

    def add(self, centres: pa.Array, subgraph: Subgraph) -> None:
        # where an id has several rows, the first counts
        rows = self.sampled.take(pc.index_in(centres, value_set=self.sampled[ID].combine_chunks()))
        self.count(centres, subgraph)
        self.compare(rows, centres.to_pylist(), subgraph)

    def count(self, centres: pa.Array, part: Subgraph) -> None:
        """That a part of the graph was computed for some nodes."""
        self.recomputed += len(centres)
        self.nodes += sum(part.arrays.counts.values())
        self.edges += sum(len(src) for src, _ in part.arrays.ends.values())

    def compare(self, rows: pa.Table, names: Sequence[int | str], subgraph: Subgraph) -> None:
        """Rows of the scores with those that a part compares, in its order; `names`: what each is called."""
        exact = subgraph.run(self.model.program, self.model.weights, np.float64)
        scores = {name: _scores(rows, name, values) for name, values in exact.items()}
        self.ids += names
        judged = self._judge(subgraph, scores, exact)
        for name, values in judged.items():
            self._judged.setdefault(name, []).append(values)
        if self.classify:
            first = next(iter(self._outputs))
            predicted = rows[PREDICTED].to_numpy()
            self.wrong_classes += [names[int(at)] for at in _wrong(predicted, judged[first], self.tolerance)]

        for column, label in self.labels.items():
            wrong = np.flatnonzero(_labels(scores[label.output], label.names) != _texts(rows[column]))
            self.wrong_labels.setdefault(column, []).extend(names[int(at)] for at in wrong)

    def _judge(
        self, subgraph: Subgraph, scores: Mapping[str, FloatArray], exact: Mapping[str, FloatArray]
    ) -> dict[str, Judged]:
        if self.tolerance is not None:
            return {name: Judged.of(scores[name], values, None) for name, values in exact.items()}
        trials = Trials(self.model, self.wire)
        found = trials.of(subgraph, TRIALS)
        judged = {name: Judged.of(scores[name], values, found[name]) for name, values in exact.items()}
        if all((values.units <= 1).all() for values in judged.values()):
            return judged
        found = trials.of(subgraph, MORE_TRIALS, TRIALS)  # others than the first ones
        more = {name: Judged.of(scores[name], values, found[name]) for name, values in exact.items()}
        return {name: values.wider(more[name]) for name, values in judged.items()}

    @property
    def _outputs(self) -> Mapping[str, Value]:
        return self.model.program.outputs_of(self.type)

    def outputs(self) -> tuple[OutputError, ...]:
        names = [*self._outputs, *([PROBABILITY] if self.classify else [])]
        return tuple(
            OutputError.of(name, joined(self._judged[name]), self.ids, self.tolerance)
            if name in self._judged
            else OutputError(name, 0.0, 0.0, None)
            for name in names
        )


def _scores(rows: pa.Table, name: str, expected: FloatArray) -> FloatArray:
    column = rows[name]
    found = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if len(found) != expected.size:
        lanes = len(found) / max(1, len(rows))
        raise DataError(f"the scores' {name} has {lanes:g} columns; the model gives {expected.shape[1]}")
    return np.asarray(found.to_numpy(), np.float64).reshape(expected.shape)


def _labels(scores: FloatArray, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """The labels of rows of scores; of one with a NaN it is "", which is no name of a class. The numbers themselves are
    compared elsewhere, so a label is right if it is that of the row beside it."""
    flat = scores.reshape(len(scores), -1)
    return np.where(np.isnan(flat).any(axis=1), "", np.array(names, object)[flat.argmax(axis=1)])


def _texts(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """What CSV has for no label is "", too."""
    return np.array(["" if text is None else str(text) for text in column.to_pylist()], object)


def _wrong(predicted: FloatArray, judged: Judged, tolerance: float | None) -> np.ndarray[Any, Any]:
    """Rows whose class is not the most probable one: its value is below the largest by more than the bounds of both.
    Where a value is NaN, NumPy's argmax is what counts, as in the run."""
    exact, bound = judged.exact, (judged if tolerance is None else judged.scaled(tolerance)).bound
    lanes = exact.shape[1]
    at = np.arange(len(exact))
    classes = np.asarray(predicted, np.float64)
    possible = (classes >= 0) & (classes < lanes) & (classes == np.floor(classes))
    chosen = np.where(possible, classes, 0).astype(np.int64)
    best = exact.argmax(axis=1)
    with np.errstate(invalid="ignore"):
        near = exact[at, chosen] + bound[at, chosen] >= exact[at, best] - bound[at, best]
    return np.flatnonzero(~(possible & (near | (chosen == best))))
