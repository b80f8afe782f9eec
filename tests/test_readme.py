"""What README shows of Python runs as it stands there: in a clone, without a Spark session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
WHOLE = [block for block in BLOCKS if "data/flights" in block]


def test_readme_imports_the_products_name() -> None:
    assert any(line.startswith("from graphsweep import") for line in BLOCKS[0].splitlines())
    assert not [block for block in BLOCKS if "from pipeline" in block or "import pipeline" in block]


@pytest.mark.slow
@pytest.mark.parametrize("block", WHOLE, ids=range(len(WHOLE)))
def test_what_is_whole_runs_in_a_clone_and_starts_no_spark(block: str) -> None:
    told = "\nimport sys\nprint(len(scores), *scores.columns, 'pyspark' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", block + told],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["514", "id"]
    assert done.stdout.split()[-1] == "False"


def test_there_is_such_an_example() -> None:
    assert WHOLE
