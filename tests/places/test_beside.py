"""The names beside a place: found again by the next run, and never too long."""

from __future__ import annotations

import re

from pipeline.places.beside import LOCK, LONGEST, OLD, RUN, beside, new_run, run_of


def test_a_run_is_found_again_by_the_name() -> None:
    run = new_run()
    assert re.fullmatch(RUN, run)
    assert new_run() != run
    for name in ("o", "a b", "[x]{1,2}*", "a\nb", "é☃" * 40, "x" * 255, ".o.graphsweep-lock"):
        assert run_of(name, beside(name, run)) == (run, False)
        assert run_of(name, beside(name, run + OLD)) == (run, True)
        assert run_of(name + "2", beside(name, run)) is None
        assert len(f"{beside(name, LOCK)}-{'0' * 32}".encode()) <= LONGEST
        assert len(beside(name, run + OLD).encode()) <= LONGEST
    assert beside("x" * 255, run) != beside("x" * 254 + "y", run)


def test_other_names_are_not_ours() -> None:
    for entry in (
        ".o.graphsweep-",
        ".o.graphsweep-mine",
        ".o-1234",
        "o",
        ".o.graphsweep-20260101T000000-0123456",
        "_o",
    ):
        assert run_of("o", entry) is None
