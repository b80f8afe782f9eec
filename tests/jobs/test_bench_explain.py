"""The benchmark of `explain` runs, at a size where it says nothing of speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bench.explain import MODELS, Found, main, render
from pipeline.plan.seconds import READING, WRITING

pytestmark = pytest.mark.slow


def test_predicted_beside_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--scales", "8", "--blocks", "2", "--runs", "1", "--only", "GAT", "--work", str(tmp_path)])
    written = json.loads((tmp_path / "explain.json").read_text())
    models = [name for name in MODELS if name.startswith("GAT")]
    assert [row["model"] for row in written["found"]] == models
    for row in written["found"]:
        assert set(row["predicted"]) == set(row["measured"]) == {READING, "computing", WRITING}
        assert all(seconds > 0 for seconds in [*row["predicted"].values(), *row["measured"].values()])
        assert row["ratio"] == pytest.approx(sum(row["predicted"].values()) / sum(row["measured"].values()))
    assert capsys.readouterr().out == (tmp_path / "explain.md").read_text() + "\n"
    assert not (tmp_path / "explain-output").exists()


def test_what_is_within_a_factor() -> None:
    found = [
        Found("one", 9, {READING: 0.5, "computing": predicted, WRITING: 0.5}, {READING: 1, "computing": 1, WRITING: 1})
        for predicted in (2, 3, 0.8, 1.3)
    ]
    said = render(found, {"cores": 2, "cpu": "a processor", "commit": None})
    assert "1 of 4 within a factor of 1.3, 3 of 4 within a factor of 1.5; median ratio 0.88." in said
    assert "| one | 2^9 | 0.50 / 1.00 | 2.00 / 1.00 | 0.50 / 1.00 | 3.00 / 3.00 | 1.00 |" in said
