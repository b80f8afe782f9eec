"""Every reduction in plain NumPy, for one node: the witness of its meaning, its loop, its merging. One entry each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

from pipeline.formula import Value, apply
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import SELF_LOOPS

REDUCING = {name: record for name, record in REDUCTIONS.items() if not record.is_per_edge}
"""Those that give a row per node. What gives rows of edges is tried in tests/run/test_edge_rows.py."""


@dataclass(frozen=True)
class Case:
    """How a reduction is tried."""

    witness: Callable[..., np.ndarray]
    """Messages of one node, (k, d) float64 each, in the order of the table of edges, k > 0 → what it has."""
    empty: float | None = 0.0
    """What a node without messages has; None: the witness tells, of arrays without rows."""
    attributes: dict[str, Any] = field(default_factory=dict)
    tame: bool = False
    """Whether messages have to be about as large as 1: products of many others are no float32."""
    part: str | None = None
    """The part of the edges that it takes, if not any."""

    def reduction(self, name: str, *messages: Value, own: tuple[Value, ...] = ()) -> Value:
        """The reduction of these messages."""
        given = [apply("tanh", message) * 0.01 + 1.0 if self.tame else message for message in messages]
        if self.part is not None:
            given = [apply("restrict", message, part=self.part) for message in given]
        return apply(name, *given, *own, **self.attributes)

    def of_node(self, *messages: np.ndarray, own: Sequence[np.ndarray] = ()) -> np.ndarray | float:
        """The same in NumPy, of the messages of one node, (k, d) each; `own`: (d,) each."""
        rows = [np.tanh(array) * 0.01 + 1 if self.tame else array for array in messages]
        if own:
            rows = [np.insert(array, 0, row, 0) for array, row in zip(rows, own, strict=True)]
        return self.witness(*rows) if len(rows[0]) or self.empty is None else self.empty


def _shares(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def _state(logits: np.ndarray, messages: np.ndarray) -> np.ndarray:
    top = logits.max(0, initial=-np.inf)
    powers = np.exp(logits - top)
    return np.concatenate([(powers * messages).sum(0), powers.sum(0), top])


CASES = {
    "sum": Case(lambda m: m.sum(0)),
    "prod": Case(lambda m: m.prod(0), empty=1.0, tame=True),
    "max": Case(lambda m: m.max(0), empty=-2.5, attributes={"empty": -2.5}),
    "min": Case(lambda m: m.min(0), empty=3.5, attributes={"empty": 3.5}),
    "logsumexp": Case(lambda m: scipy.special.logsumexp(m, axis=0), empty=-4.5, attributes={"empty": -4.5}),
    "quantile": Case(
        lambda m: np.concatenate([np.quantile(m, 0.3, axis=0), np.quantile(m, 0.5, axis=0)]),
        empty=-1.5,
        attributes={"q": (0.3, 0.5), "interpolation": "linear", "empty": -1.5},
    ),
    "last": Case(lambda m: m[-1], part=SELF_LOOPS),
    "softmax_sum": Case(lambda a, m: (_shares(a) * m).sum(0)),
    "softmax_state": Case(_state, empty=None),
}


def variants() -> list[tuple[str, bool]]:
    """(name, whether the node's own edge is an input) of every reduction, in both forms where there are two."""
    return [(name, own) for name, record in REDUCING.items() for own in (False, True) if own < len(record.inputs)]
