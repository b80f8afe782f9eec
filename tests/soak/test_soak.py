"""A killed command of each kind; `python -m tests.soak` plays more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.runs import KINDS, soak

pytestmark = pytest.mark.slow


def test_killed_commands_leave_what_is_whole(tmp_path: Path) -> None:
    found = soak(tmp_path, seed=1, runs=len(KINDS), minutes=20)
    assert found.wrong == []
    assert found.runs == len(KINDS)
    assert found.kills > 0
