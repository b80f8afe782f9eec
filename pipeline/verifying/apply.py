"""One operation on estimates: exactly, in each trial, and with its own rounding.

Comes in: a value and the estimates of its inputs. Goes out: its estimate. Knows nothing of graphs; what moves rows
between nodes and edges, or reduces over edges, is in edges.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.formula.interpret import execute_rows
from pipeline.formula.values import Value
from pipeline.verifying.estimate import Array, DoubleArray, Estimate
from pipeline.verifying.noise import Noise
from pipeline.verifying.rounding import rounding
from pipeline.verifying.steps import STEPS, decide

# what the sum of squares goes through unchanged, because no number is computed
ARRANGING = frozenset(["reshape", "broadcast_to", "transpose", "concat", "slice", "take", "neg"])


def apply_rows(value: Value, inputs: Sequence[Estimate], noise: Noise) -> Estimate:
    """An elementwise or row operation."""

    exact = np.asarray(execute_rows(value, [operand.exact for operand in inputs]), np.float64)
    if not noise.trials:
        return Estimate(exact)
    result = Estimate(exact, None, _squares(value, inputs))
    if value.op in STEPS and any(operand.trials is not None for operand in inputs):
        return Estimate(exact, decide(value, inputs, noise))
    return with_trials(
        inputs, result, lambda arrays, _: execute_rows(value, arrays), noise, rounding(value, inputs, result)
    )


def with_trials(
    inputs: Sequence[Estimate],
    result: Estimate,
    compute: Callable[[list[Array], int], Array],
    noise: Noise,
    scale: DoubleArray | float,
) -> Estimate:
    """The result with its trials: `compute` of those of the inputs, which is told the number of the trial, and
    roundings of standard deviation `scale`."""
    exact = result.exact
    if not noise.trials or (all(operand.trials is None for operand in inputs) and is_exact(exact)):
        return result
    scale = np.asarray(np.nan_to_num(scale, nan=0.0, posinf=0.0), np.float32)
    rounds = bool(scale.any())
    single = [operand.exact.astype(np.float32) if operand.trials is None else None for operand in inputs]
    trials = np.empty((noise.trials, *exact.shape), np.float32)
    for number in range(noise.trials):
        given = [
            operand.trial(number) if array is None else array for operand, array in zip(inputs, single, strict=True)
        ]
        trials[number] = compute(given, number)
        if rounds:
            trials[number] += scale * noise.draw(number, exact.shape)
    return Estimate(exact, trials, result.squares)


def is_exact(numbers: DoubleArray) -> bool:
    """Whether float32 has all of these numbers."""
    return bool(np.array_equal(numbers.astype(np.float32), numbers, equal_nan=True))


def _squares(value: Value, inputs: Sequence[Estimate]) -> DoubleArray | None:
    """The sum of the squares of the terms: of a sum in whatever order it is added up."""
    op = value.op
    if op == "matmul" or op in ("lane_sum", "lane_mean"):
        squared = np.asarray(execute_rows(value, [operand.magnitude2 for operand in inputs]))
        return (
            squared / max(1, inputs[0].exact[0:1].size // max(1, squared[0:1].size)) if op == "lane_mean" else squared
        )
    if all(operand.squares is None for operand in inputs):
        return None
    if op in ARRANGING:
        return np.abs(execute_rows(value, [operand.magnitude2 for operand in inputs]))
    if op == "mul" or op == "div":
        return np.asarray(execute_rows(value, [operand.magnitude2 for operand in inputs]))
    if op in ("add", "sub") and value.is_node and not any(operand.is_weight for operand in value.inputs):
        left, right = inputs
        return left.magnitude2 + right.magnitude2
    return None
