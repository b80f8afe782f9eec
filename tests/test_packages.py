"""Whether somebody who has packages did not answer, or has not what was asked for: only the first skips a test."""

from __future__ import annotations

import pytest

from tests import packages
from tests.packages import Unreachable, install, no_answer

REFUSED = "error: Failed to fetch: u\n  cause: client error (Connect)\n  cause: Connection refused (os error 111)"
NO_NAMES = "Host first.example not found. url=u\n\tHost second.example not found. url=u\n:: a#b;1: not found"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (REFUSED, "client error (Connect)"),
        (NO_NAMES, "first.example, second.example not found"),
        ("SERVER ERROR: x\nServer access error at url u (java.net.ConnectException: refused)", "Server access error"),
        (
            "error: No solution found when resolving dependencies\n  cause: there are no versions of graphsweep-none",
            None,
        ),
        ("Host second.example not found. url=u\n\tHost second.example not found. url=u\n:: a#b;1: not found", None),
        ("AssertionError: 7 is not 8", None),
    ],
)
def test_who_did_not_answer(said: str, told: str | None) -> None:
    assert no_answer(said) == told


@pytest.mark.parametrize(("said", "error"), [(REFUSED, Unreachable), ("error: No solution found", AssertionError)])
def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]) -> None:
    done = packages.subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(error):
        install("none")
