"""How numbers are distributed: against NumPy, for whatever float32 holds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.sketch import BARS, Histogram, Sketch


def sketch(numbers: np.ndarray, parts: int = 1) -> Sketch:
    found = Sketch()
    for part in np.array_split(numbers.astype(np.float32), parts):
        found.add(part)
    return found


RANDOM = np.random.default_rng(3)
NUMBERS = {
    "normal": RANDOM.standard_normal(5000),
    "narrow, far from zero": 1000 + RANDOM.random(5000),
    "heavy tails": RANDOM.standard_cauchy(5000),
    "very small": RANDOM.standard_normal(5000) * 1e-41,
    "the largest there are": np.array([-3.4028235e38, 3.4028235e38, 0.0]),
    "one": np.array([2.5]),
    "zeros of both signs": np.array([0.0, -0.0, 0.0]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_extremes_mean_and_quantiles_are_those_of_numpy(name: str) -> None:
    numbers = NUMBERS[name].astype(np.float32)
    found = sketch(numbers, 7)
    assert (found.finite, found.nan, found.infinite) == (len(numbers), 0, 0)
    assert (found.least, found.largest) == (float(numbers.min()), float(numbers.max()))
    assert found.mean == pytest.approx(float(numbers.astype(np.float64).mean()), rel=1e-12, abs=1e-60)
    shares = (0.01, 0.5, 0.99)
    exact = np.quantile(numbers.astype(np.float64), shares, method="inverted_cdf")
    # 1 of 256; below 2^-126 numbers have no exponent of their own
    np.testing.assert_allclose(found.quantiles(shares), exact, rtol=1 / 255, atol=2.0**-133)


def test_it_does_not_depend_on_how_numbers_come() -> None:
    numbers = RANDOM.standard_normal(1000)
    assert sketch(numbers, 1).quantiles((0.3,)) == sketch(numbers[::-1], 13).quantiles((0.3,))


def test_what_is_no_number_is_counted_apart() -> None:
    # two NaNs whose first 16 bits are those of infinity
    odd = np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32)
    found = Sketch()
    found.add(np.concatenate([np.array([np.nan, np.inf, -np.inf, 1.0], np.float32), odd]))
    assert (found.nan, found.infinite, found.finite) == (3, 2, 1)
    assert (found.least, found.largest, found.mean) == (1.0, 1.0, 1.0)


def test_of_nothing_nothing_is_known() -> None:
    for numbers in (np.zeros(0), np.array([np.nan])):
        found = sketch(numbers)
        assert (found.mean, found.quantiles((0.5,))) == (None, [])


@pytest.mark.parametrize("name", NUMBERS)
def test_bars_hold_every_number_once(name: str) -> None:
    numbers = NUMBERS[name].astype(np.float32)
    low, high = sketch(numbers).range()
    bars = Histogram(low, high)
    for part in np.array_split(numbers, 3):
        bars.add(part)
    assert int(bars.counts.sum()) + bars.below + bars.above == len(numbers)
    within = numbers.astype(np.float64)[(numbers >= low) & (numbers <= high)]
    if high > low:
        expected, edges = np.histogram(within, BARS, (low, high))
        # a number that lies within a rounding of an edge may be on either side
        unsure = np.isclose(within[:, None], edges[None], rtol=1e-12, atol=0).sum()
        assert int(np.abs(bars.counts - expected).sum()) <= 2 * unsure
    assert bars.below + bars.above <= max(2, 0.002 * len(numbers) + 2)


def test_one_far_number_does_not_hide_the_others() -> None:
    numbers = np.append(RANDOM.random(10_000), 1e9)
    low, high = sketch(numbers).range()
    assert high < 2
    assert low >= 0
