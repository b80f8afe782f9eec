"""Every file of tests is run: pytest passes over whole folders by their names, without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
MARK = "collected: "

# asks pytest for its files, and imports none of them: 1 s instead of 20
LIST = f"""
import sys, pytest

class Nothing(pytest.Module):
    def collect(self):
        return []

class Listing:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path, parent):
        print("{MARK}" + str(module_path))
        return Nothing.from_parent(parent, path=module_path)

sys.exit(pytest.main(["--collect-only", "-q", "-s", "-p", "no:cacheprovider"], plugins=[Listing()]))
"""


def test_every_file_of_tests_is_collected() -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", LIST], cwd=TESTS.parent, env=without, capture_output=True, text=True, check=False
    )
    collected = {line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)}
    assert collected, done.stdout + done.stderr
    there = {str(file) for file in TESTS.rglob("*.py") if file.name.startswith("test_") or file.stem.endswith("_test")}
    assert sorted(there - collected) == []
