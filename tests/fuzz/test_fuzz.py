"""The fuzz, as CI plays it: so many cases of each kind, and none that ends in another way than those allowed."""

from __future__ import annotations

import pytest

from tests.fuzz.pool import play

pytestmark = pytest.mark.slow

# kind → cases that CI plays; --fuzz-cases plays another number of each
KINDS = {"models": 150, "graphs": 160, "tables": 350, "settings": 300}


@pytest.mark.parametrize("kind", KINDS)
def test_no_case_ends_in_another_way(kind: str, pytestconfig: pytest.Config) -> None:
    cases = pytestconfig.getoption("--fuzz-cases") or KINDS[kind]
    played = play(kind, range(cases))
    told = "\n".join(f"---- {case}: {report}" for case, report in sorted(played.failures.items())[:5])
    again = f"{len(played.failures)} of {cases}; one of them: python -m tests.fuzz {kind} --case N"
    assert not played.failures, f"{again}\n{told}"
    assert sum(played.ends.values()) == cases
