"""What arrives of what is sent: the nearest number of the format, by torch's own conversion."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.blocks.columns import WIRES
from pipeline.blocks.wire import decode, encode, number_bytes, rounded
from pipeline.errors import DataError

AWKWARD = np.array(
    [0, -0.0, 1, -1, 1 + 2**-10, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 6e-8, 1e-40, 65504, -65519,
     np.inf, -np.inf, np.nan],
    np.float32,
)  # fmt: skip


def numbers() -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate(
        [AWKWARD, random.standard_normal(5000).astype(np.float32), random.uniform(-6e4, 6e4, 99)]
    ).astype(np.float32)


@pytest.mark.parametrize("wire", WIRES)
def test_the_nearest_number(wire: str) -> None:
    torch = pytest.importorskip("torch")
    values = numbers().reshape(2, -1)
    want = torch.from_numpy(values).to(getattr(torch, wire)).to(torch.float32).numpy()
    got = rounded(values, wire)
    assert got.dtype == np.float32
    assert got.shape == values.shape
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))


@pytest.mark.parametrize("wire", WIRES)
def test_it_takes_the_bytes_that_it_says(wire: str) -> None:
    sent = encode(np.ones((3, 4), np.float32), wire)
    assert sent.nbytes == 12 * number_bytes(wire)
    assert decode(sent).tolist() == np.ones((3, 4)).tolist()


@pytest.mark.parametrize("wire", WIRES)
def test_twice_is_once(wire: str) -> None:
    once = rounded(numbers(), wire)
    np.testing.assert_array_equal(rounded(once, wire), once)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0,)])
@pytest.mark.parametrize("wire", WIRES)
def test_nothing_is_sent_as_nothing(wire: str, shape: tuple[int, ...]) -> None:
    assert rounded(np.empty(shape, np.float32), wire).shape == shape


@pytest.mark.parametrize(("wire", "value"), [("float16", 65520), ("float16", -1e6), ("bfloat16", 3.4e38)])
def test_what_is_too_large_is_an_error_and_not_infinity(wire: str, value: float) -> None:
    with pytest.raises(DataError, match=rf"a value of .* is too large for the wire {wire}; take .*float32"):
        encode(np.array([1, np.inf, value], np.float32), wire)


def test_arrays_that_only_may_be_read() -> None:
    values = np.asfortranarray(numbers()[:20].reshape(4, 5))
    values.flags.writeable = False
    for wire in WIRES:
        sent = encode(values, wire)
        sent.flags.writeable = False
        np.testing.assert_array_equal(decode(sent), rounded(np.ascontiguousarray(values), wire))
