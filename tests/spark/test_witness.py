"""What a task says of its process, asked of this one: a cluster has to be started for the rest (test_handshake.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.spark import witness
from pipeline.spark.agreement import agree
from pipeline.spark.handshake import package_hash


def test_this_process_agrees_with_itself(tmp_path: Path) -> None:
    """It finds all modules that tasks need, by their names of today."""
    (tmp_path / "table").write_text("rows")
    places = [{"path": f"{tmp_path}/table", "made": False}, {"path": f"{tmp_path}/nothing", "made": False}]
    said = witness.testify({"hash": package_hash(), "token": "x", "places": places})
    assert "lacks" not in said, said["lacks"]
    assert said["memory"][0] > 1 << 20
    assert [place["seen"] is None for place in said["seen"]] == [False, True]
    agree(witness.facts(), [said])


def test_of_another_package_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    monkeypatch.setattr(witness, "facts", lambda: {"hash": "own"})
    assert witness.testify({"hash": "other", "token": "x", "places": []}) == {"hash": "own"}
