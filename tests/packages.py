"""Packages that a test installs for itself, into a place of its own: from the index, or from Maven Central.

Comes in: what to install. Goes out: nothing, or `Unreachable`: then a test is skipped, and says so. Anything else that
goes wrong is a failure.
"""

from __future__ import annotations

import re
import subprocess
import sys

BROKEN = re.compile(r"client error \(Connect\)|operation timed out|Server access error")
"""What uv says, and what Spark's Ivy says, where nobody answers; of a package that is not there they say other
things."""
NO_HOST = re.compile(r"Host (\S+) not found")
"""The same of Ivy where a name has no address."""


class Unreachable(Exception):
    """Whoever has the packages does not answer."""


def install(*arguments: str) -> None:
    """`uv pip install`: 4 core-seconds for an Airflow, where pip takes some 40. Unreachable if the index does not
    answer, else an AssertionError with all that uv said."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0 and no_answer(said):
        raise Unreachable(f"the package index cannot be reached: {no_answer(said)}")
    assert done.returncode == 0, said[-5000:]


def no_answer(said: str) -> str | None:
    """Where a program says that no host answered: what it says. Spark's Ivy asks two, of which one may be cut off and
    the other have all there is."""
    found, hosts = BROKEN.search(said), set(NO_HOST.findall(said))
    if found is not None:
        return found[0]
    return f"{', '.join(sorted(hosts))} not found" if len(hosts) > 1 else None
