"""Steps: operations whose result jumps, where a rounding can make another choice of what comes in.

Comes in: a value like x > 0 and the estimates of its inputs. Goes out: its trials. Where what decides is nearer to the
jump than roundings reach, half of the trials go to each side: whichever side float32 takes, some trials took it. Knows
nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.formula.interpret import align, execute_rows
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import Value
from pipeline.verifying.estimate import Array, Estimate, FloatArray, spread
from pipeline.verifying.noise import Noise

REACH = 6.0  # standard deviations of the trials: how far a rounding reaches

ROUNDINGS = frozenset(["sign", "floor", "ceil", "round"])
COMPARISONS = frozenset(["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
STEPS = ROUNDINGS | COMPARISONS | {"lane_argmax"}


def decide(value: Value, inputs: Sequence[Estimate], noise: Noise) -> FloatArray:
    """(trials, *shape of the result), float32"""
    trials = np.stack(
        [
            np.asarray(execute_rows(value, [operand.trial(number) for operand in inputs]), np.float32)
            for number in range(noise.trials)
        ]
    )
    if value.op == "lane_argmax":
        _each_of_the_largest(value, inputs[0], trials)
        return trials
    low, high, undecided = _outcomes(value, inputs)
    split = np.mean(trials == high, axis=0)
    undecided &= (split < 0.25) | (split > 0.75)  # else they are on both sides already, together with what they meet
    if undecided.any():
        np.copyto(trials, np.where(noise.sides(low.shape), high, low), where=undecided)
    return trials


def _outcomes(value: Value, inputs: Sequence[Estimate]) -> tuple[FloatArray, FloatArray, Array]:
    """Of each number the results on both sides of the jump, and whether roundings reach it."""
    meaning = OPERATIONS[value.op].meaning
    assert meaning is not None
    if value.op in ROUNDINGS:
        centre, reach, step = inputs[0].exact, REACH * spread(inputs[0]), meaning
    else:
        left, right = (
            [align(value, [operand.exact for operand in inputs])[side]]
            + [align(value, [operand.trial(n) for operand in inputs])[side] for n in range(_trials(inputs))]
            for side in (0, 1)
        )
        with np.errstate(invalid="ignore"):
            gaps = [np.subtract(one, other, dtype=np.float64) for one, other in zip(left, right, strict=True)]
        gap = Estimate(gaps[0], np.asarray(gaps[1:]))
        centre, reach = gap.exact, REACH * spread(gap)

        def step(difference: Array) -> Array:
            return meaning(difference, np.zeros_like(difference))

    if value.op in ("equal", "not_equal"):
        low, high = step(np.zeros_like(centre)), step(np.ones_like(centre))
        undecided = (np.abs(centre) <= reach) & (reach > 0)
    else:
        low, high = step(centre - reach), step(centre + reach)
        undecided = low != high
    return low.astype(np.float32), high.astype(np.float32), undecided


def _trials(inputs: Sequence[Estimate]) -> int:
    return next(len(operand.trials) for operand in inputs if operand.trials is not None)


def _each_of_the_largest(value: Value, lanes: Estimate, trials: FloatArray) -> None:
    """Where several lanes may be the largest, each of them is in some trial."""
    axis = value.attributes["axes"][0] + 1
    reach = REACH * spread(lanes)
    possible = lanes.exact + reach >= np.max(lanes.exact - reach, axis=axis, keepdims=True)
    count = possible.sum(axis=axis, keepdims=True)
    order = np.cumsum(possible, axis=axis) - 1
    for number in range(len(trials)):
        chosen = np.argmax(possible & (order == number % np.maximum(count, 1)), axis=axis, keepdims=True)
        several = count > 1
        if not value.attributes["keepdims"]:
            chosen, several = chosen.squeeze(axis), several.squeeze(axis)
        np.copyto(trials[number], chosen.astype(np.float32), where=several)
