"""Functions of scalars that LLVM can put several lanes of into one instruction.

Comes in and goes out: one float32. Calls to the C library stop a loop from being vectorised; these are selects and
arithmetic only: exp takes a fifth of the library's time. Off by at most 1.0 (exp), 3.4 (expm1), 2.3 (sigmoid) and 2.6
(tanh) units in the last place; the library's float32 functions by 0.5 to 2. And the same bits under every C library.

The polynomial is that of Cephes (S. Moshier, single precision).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)
TEN = np.float32(10)
TWENTY = np.float32(20)
INFINITY = np.float32(np.inf)

LARGEST = np.float32(88.72283)  # exp of more is infinite
SMALLEST = np.float32(-103.97208)  # exp of less is 0
LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH = np.float32(0.693359375)  # few bits: its multiples by small integers are exact
LN_2_LOW = np.float32(-2.12194440e-4)
ROUND = np.float32(12582912.0)  # 1.5 * 2^23: adding and subtracting it rounds to the nearest integer

E0 = np.float32(1.9875691500e-4)
E1 = np.float32(1.3981999507e-3)
E2 = np.float32(8.3334519073e-3)
E3 = np.float32(4.1665795894e-2)
E4 = np.float32(1.6666665459e-1)
E5 = np.float32(5.0000001201e-1)

SMALL_EXPM1 = np.float32(0.35)


def inlined(function: Function) -> Function:
    """Inlined by LLVM whatever its size: a call in the loop over lanes, as it left one to tanh, makes it scalar.

    Numba's own inlining (inline="always") does the same, but takes 20 s for what takes 0.8 s this way.
    """
    compiled: Function = numba.njit(forceinline=True, error_model="numpy")(function)
    return compiled


@inlined
def _polynomial(r: np.float32) -> np.float32:
    """(exp(r) - 1 - r) / r² for |r| ≤ ln(2) / 2."""
    return ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5


@inlined
def exp(x: np.float32) -> np.float32:
    """e to the power of x."""
    y = x if x > SMALLEST else SMALLEST  # NaN too: converting it to an integer is undefined
    y = y if y < LARGEST else LARGEST
    k = (y * LOG2_E + ROUND) - ROUND
    r = (y - k * LN_2_HIGH) - k * LN_2_LOW
    p = _polynomial(r) * (r * r) + r + ONE
    # p * 2^k in two steps: 2^128 and 2^-149 are no normal numbers, their square roots are
    n = np.int32(k)
    half = n >> np.int32(1)
    first = np.int32((half + np.int32(127)) << np.int32(23))
    second = np.int32((n - half + np.int32(127)) << np.int32(23))
    z = p * first.view(np.float32) * second.view(np.float32)
    z = INFINITY if x > LARGEST else z
    z = ZERO if x < SMALLEST else z
    return z if x == x else x


@inlined
def expm1(x: np.float32) -> np.float32:
    """exp(x) - 1, without losing the digits of a small x."""
    return _polynomial(x) * (x * x) + x if abs(x) < SMALL_EXPM1 else exp(x) - ONE


@inlined
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + exp(-x)), by the exp of a negative number only."""
    e = exp(-abs(x))
    return (ONE if x >= ZERO else e) / (ONE + e)


@inlined
def tanh(x: np.float32) -> np.float32:
    """The hyperbolic tangent."""
    y = TWENTY if x > TEN else x + x  # exp(20) already gives 1; a NaN stays one
    e = expm1(y)
    return e / (e + TWO)


@inlined
def maximum(a: np.float32, b: np.float32) -> np.float32:
    """The larger; NaN if one of them is.

    Selected in this order a loop takes as long as with a maximum that loses NaN; in others 1.2 to 1.9 times as long.
    """
    larger = b if b > a else a
    return larger if b == b else b


@inlined
def minimum(a: np.float32, b: np.float32) -> np.float32:
    """The smaller; NaN if one of them is."""
    smaller = b if b < a else a
    return smaller if b == b else b
