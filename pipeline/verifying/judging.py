"""Scores against exact values: each value is judged by what rounding can do to it.

Comes in: scores, exact values, deviations of trials (rounding.py). Goes out: `Judged`, value by value; `OutputError`,
of a whole column. Knows nothing of graphs and tables.

A value passes if |score - exact| <= DEVIATIONS * deviation + FLOOR units in the last place of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.verifying.recompute import FloatArray
from pipeline.verifying.rounding import Deviations, U

TRIALS = 12
MORE_TRIALS = 36  # of the same part of the graph, before a value is called wrong
# At least the root of MORE_TRIALS: so where a rounding decides between two results (x > 0, the largest of two), and one
# trial of all went the other way, the bound reaches as far as that.
DEVIATIONS = 6.0
FLOOR = 4.0
SMALLEST = 2.0**-126  # below it float32 loses digits
SMALLEST_SCALE = 1e-6  # below it outputs are zero for all purposes, where the user gives a tolerance
WORST = 3  # lanes of a column that are named


@dataclass(frozen=True)
class Judged:
    """Values of one column: (n, lanes) each."""

    scores: FloatArray
    exact: FloatArray
    bound: FloatArray
    """What passes."""
    infinite: npt.NDArray[np.bool_]
    """Where float32 may overflow."""

    @staticmethod
    def of(scores: FloatArray, exact: FloatArray, deviations: Deviations | None) -> Judged:
        """Without deviations the bound is 0: the tolerance of the user counts alone."""
        if deviations is None:
            return Judged(scores, exact, np.zeros_like(exact), np.zeros(exact.shape, np.bool_))
        with np.errstate(invalid="ignore"):
            floor = 2 * U * FLOOR * np.where(np.isfinite(exact), np.abs(exact), 0) + SMALLEST
            return Judged(scores, exact, DEVIATIONS * deviations.deviation + floor, deviations.infinite)

    def wider(self, other: Judged) -> Judged:
        """By the larger of both bounds."""
        bound = np.maximum(self.bound, other.bound)
        return Judged(self.scores, self.exact, bound, self.infinite | other.infinite)

    @property
    def error(self) -> FloatArray:
        """|score - exact|; inf where one side alone is NaN or infinite."""
        with np.errstate(invalid="ignore"):
            off = np.abs(self.scores - self.exact)
        same = (self.scores == self.exact) | (np.isnan(self.scores) & np.isnan(self.exact))
        same |= self.infinite & ~np.isfinite(self.scores)
        return np.where(same, 0.0, np.where(np.isfinite(off), off, np.inf))

    @property
    def units(self) -> FloatArray:
        """The error in units of the bound."""
        error = self.error
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(error == 0, 0.0, error / self.bound)

    def scaled(self, tolerance: float) -> Judged:
        """The same judged by a tolerance, in parts of the largest value."""
        return Judged(
            self.scores,
            self.exact,
            np.full(self.exact.shape, tolerance * max(self.scale, SMALLEST_SCALE)),
            np.zeros_like(self.infinite),
        )

    @property
    def scale(self) -> float:
        return float(np.abs(self.exact[np.isfinite(self.exact)]).max(initial=0.0))


def joined(parts: Sequence[Judged]) -> Judged:
    """Of several groups of nodes, one after another."""
    return Judged(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.exact for part in parts]),
        np.concatenate([part.bound for part in parts]),
        np.concatenate([part.infinite for part in parts]),
    )


class Lane(NamedTuple):
    """The worst value of one lane."""

    lane: int
    units: float
    """The error in units of the bound."""
    worst: int | str


@dataclass(frozen=True)
class OutputError:
    """How far a column is from the recomputed one, over all nodes compared."""

    name: str
    error: float
    """Absolute difference of the value that is worst in units of its bound; inf where one side alone is NaN or
    infinite."""
    scale: float
    """Largest absolute value of the recomputed column."""
    worst: int | str | None
    """The user's id of the worst node."""
    units: float = 0.0
    """The same difference in units of its bound: up to 1 passes."""
    accepted: float = 0.0
    """The bound of that value."""
    lane: int = 0
    score: float = 0.0
    exact: float = 0.0
    failed: int = 0
    """Values beyond their bound."""
    values: int = 0
    """Values compared."""
    lanes: tuple[Lane, ...] = ()
    """The worst few lanes, the worst first."""
    tolerance: float | None = None
    """In parts of the scale; None: each value has a bound of its own."""

    @staticmethod
    def of(name: str, judged: Judged, ids: Sequence[int | str], tolerance: float | None = None) -> OutputError:
        """`ids`: of the rows."""
        if not judged.exact.size:
            return OutputError(name, 0.0, 0.0, None, tolerance=tolerance)
        if tolerance is not None:
            judged = judged.scaled(tolerance)
        units, error = judged.units, judged.error
        rows = units.argmax(axis=0)  # of each lane
        worst = units.max(axis=0)
        order = np.argsort(-worst, kind="stable")[:WORST]
        lanes = tuple(Lane(int(lane), float(worst[lane]), ids[int(rows[lane])]) for lane in order)
        at = int(rows[order[0]]), int(order[0])
        return OutputError(
            name=name,
            error=float(error[at]),
            scale=judged.scale,
            worst=ids[at[0]],
            units=float(units[at]),
            accepted=float(judged.bound[at]),
            lane=at[1],
            score=float(judged.scores[at]),
            exact=float(judged.exact[at]),
            failed=int((units > 1).sum()),
            values=units.size,
            lanes=lanes,
            tolerance=tolerance,
        )

    @property
    def passed(self) -> bool:
        return self.units <= 1

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: nothing was compared"
        where = f"id {self.worst}, number {self.lane}"
        if self.tolerance is not None:
            by = f"tolerance {self.accepted:.3g}, which is {self.tolerance:g} of the largest value {self.scale:.4g}"
        else:
            by = f"{self.units:.2g} of the {self.accepted:.3g} that rounding explains there"
        text = f"{self.name}: largest error {self.error:.3g} ({where}); {by}"
        if self.passed:
            return text
        others = ", ".join(f"{lane.lane}: {lane.units:.3g} (id {lane.worst})" for lane in self.lanes if lane.units > 1)
        return (
            f"{text}; the score is {self.score:.9g}, exact is {self.exact:.9g}\n"
            f"{self.name}: {self.failed:,} of {self.values:,} numbers are wrong; worst places in the list, in units of "
            f"what passes: {others}"
        )
