"""What is asked of a verification.

Comes in: the options of `verify`, as they were given. Goes out: `Asked`, or a SettingError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import SettingError, shortened
from pipeline.result.columns import Columns

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """How much is to be verified, and how."""

    size: int | None
    """Of the sample; None: all."""
    seed: int
    limit: int | None
    tolerance: float | None
    output_id: str | None

    @staticmethod
    def of(sample: Any = 100, seed: Any = 0, limit: Any = None, tolerance: Any = None, output_id: Any = None) -> Asked:
        """Options of `verify`; SettingError for what none of them can be."""
        size = _sample_size(sample)
        if limit is not None and not (_is_whole(limit) and limit >= 1):
            raise SettingError(f"limit is {shortened(limit)}; accepted: a whole number from 1")
        if tolerance is not None and not (isinstance(tolerance, (int, float)) and 0 <= tolerance <= 1):
            raise SettingError(f"tolerance is {shortened(tolerance)}; accepted: a number from 0 to 1")
        if not _is_whole(seed):
            raise SettingError(f"seed is {shortened(seed)}; accepted: a whole number")
        return Asked(size, seed, limit, tolerance, Columns(output_id=output_id).output_id)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _sample_size(sample: int | str) -> int | None:
    """None for all."""
    if sample == ALL:
        return None
    if isinstance(sample, str) and sample.isascii() and sample.isdigit():
        sample = int(sample)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise SettingError(f"sample is {sample}; accepted: a whole number from 1, or all")
    return sample
