"""What rounding explains: the model computed several times in float32, each time a little differently.

Comes in: a model, a part of the graph. Goes out: for each value its deviation, which says how far float32 arithmetic
strays from the exact value. Knows nothing of the scores.

A trial adds the edges up in an order of its own, and takes every operand of an operation that rounds as if it had been
rounded once more: most numbers as they are, some a unit in the last place lower or higher. So nothing that two correct
programs may do differently is the same in all trials. What is tried is the program as it is run, after the rewrites
(x * A summed or summed and then * A), since they decide where digits are lost; and it is compared with itself in
float64, so that a wrong rewrite does not excuse itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import Value
from pipeline.lowering.lower import lower
from pipeline.model import Model
from pipeline.verifying.recompute import FloatArray, Subgraph

U = 2.0**-24  # half a unit in the last place of 1: what rounding to nearest changes at most

# factors that are drawn once; an operation begins somewhere among them. Drawing all took 3/4 of the time
DRAWN = 1 << 20

# Of a number that crosses between blocks: what its rounding changes at most, of the number and in all
WIRES = {"float32": (0.0, 0.0), "float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 0.0)}


@dataclass
class Deviations:
    """How far trials are from the exact value, per value of one output."""

    square: FloatArray
    """Sum over trials of the squares, (rows, lanes); of finite trials."""
    trials: int
    infinite: npt.NDArray[np.bool_]
    """Whether a trial was infinite or NaN where the exact value is not."""

    @property
    def deviation(self) -> FloatArray:
        return np.sqrt(self.square / max(1, self.trials))


class Trials:
    """Trials of one model."""

    def __init__(self, model: Model, wire: str = "float32") -> None:
        self.program, self.weights = lower(model.program, model.weights)
        self.wire = WIRES[wire]

    def of(self, subgraph: Subgraph, count: int, first: int = 0) -> dict[str, Deviations]:
        """Column of the scores → deviations over trials `first`, …, `first + count - 1`."""
        exact = subgraph.run(self.program, self.weights, np.float64)
        found = {
            name: Deviations(np.zeros_like(values), count, np.zeros(values.shape, np.bool_))
            for name, values in exact.items()
        }
        for trial in self._trials(subgraph, range(first, first + count)):
            for name, values in trial.items():
                with np.errstate(invalid="ignore", over="ignore"):
                    square = np.square(values - exact[name])
                finite = np.isfinite(square)
                found[name].square += np.where(finite, square, 0)
                found[name].infinite |= ~np.isfinite(values) & np.isfinite(exact[name])
        return found

    def _trials(self, subgraph: Subgraph, numbers: range) -> Iterator[dict[str, FloatArray]]:
        for number in numbers:
            rng = np.random.default_rng(number)
            noise = _Noise(rng, *self.wire)
            yield subgraph.shuffled(rng).run(self.program, self.weights, np.float32, noise.operands)


@functools.cache
def factors() -> npt.NDArray[np.float32]:
    """What numbers are multiplied with: 1 for 208 of 256, 1 - u for 32, 1 + 2u for 16, which are 1's neighbours in
    float32. On average 1; the standard deviation is 0.61 u, beside 0.42 u of a rounding to nearest."""
    kinds = np.ones(256, np.float32)
    kinds[:32] -= np.float32(U)
    kinds[32:48] += np.float32(2 * U)
    return kinds[np.random.default_rng(0).integers(0, 256, DRAWN, np.uint8)]


@dataclass
class _Noise:
    rng: np.random.Generator
    wire: float
    smallest: float

    def operands(self, value: Value, arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """What an operation takes in a trial in place of its operands."""
        operation = OPERATIONS[value.op]
        if self.wire and (value.op == "src" or operation.kind == "reduce"):
            return [self._sent(array) for array in arrays]
        if operation.is_exact:
            return arrays
        return [self._again(array) for array in arrays]

    def _again(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As if rounded once more."""
        flat = np.ascontiguousarray(array).reshape(-1)
        result = np.empty_like(flat)
        drawn = factors()
        for start in range(0, len(flat), DRAWN // 2):
            some = flat[start : start + DRAWN // 2]
            first = int(self.rng.integers(DRAWN // 2))
            np.multiply(some, drawn[first : first + len(some)], out=result[start : start + len(some)])
        return result.reshape(array.shape)

    def _sent(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As two bytes hold it."""
        relative, absolute = self.rng.uniform(-1, 1, (2, *array.shape))
        return np.asarray(array * (1 + self.wire * relative) + self.smallest * absolute, np.float32)
