"""An export that names no module: said at once, without torch, which takes seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nomodule:Net", "No module named 'nomodule'; is the directory that holds it on PYTHONPATH?"),
        ("nomodule.inside:Net", "No module named 'nomodule'; is the directory that holds it on PYTHONPATH?"),
        ("nomodule", "write package.module:factory"),
        (":Net", "write package.module:factory"),
        (".inside:Net", "write package.module:factory"),
    ],
)
def test_a_module_that_is_not_there(tmp_path: Path, reference: str, message: str) -> None:
    code = (
        "import sys\nfrom pipeline.errors import ModelError\nfrom pipeline.job.export import export_module\n"
        "try:\n    export_module(sys.argv[1], 'm')\nexcept ModelError as error:\n    print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, reference], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"model reference {reference!r}: {message}", "False"]
    assert list(tmp_path.iterdir()) == []
