"""Benches run in turn, and one document: what is there of this commit is not measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bench import figures as bench_figures
from jobs.bench.figures import Bench, main

pytestmark = pytest.mark.slow

QUICK = Bench("quick", "What is expected", "bench.explain --scales 6 --runs 1 --only GraphSAGE", ("explain.json",))
BROKEN = Bench("broken", "What breaks", "bench.explain --scales none")
LATER = Bench("later", "What comes later", "bench.explain --scales 6 --runs 1 --only GIN")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--work", str(tmp_path / "work"), "--document", str(tmp_path / "docs" / "figures.md")]
    document, printed = tmp_path / "docs" / "figures.md", tmp_path / "work" / "figures" / "quick.said.json"
    monkeypatch.setattr(bench_figures, "BENCHES", (QUICK, BROKEN, LATER))
    with pytest.raises(SystemExit, match="broken: exit code 2"):
        main(given)
    assert not document.exists()
    said = json.loads(printed.read_text())
    assert said["printed"].startswith("Core-seconds, predicted / measured.")
    assert {one["model"] for one in json.loads((printed.parent / "quick.json").read_text())["found"]} == {
        "GraphSAGE 64→64→32"
    }

    said["printed"] = "as it was"  # what a second run must not touch
    printed.write_text(json.dumps(said))
    monkeypatch.setattr(bench_figures, "BENCHES", (QUICK, LATER))
    main(given)
    text = document.read_text()
    assert "## What is expected\n\n`python -m jobs.bench.explain --scales 6 --runs 1 --only GraphSAGE`, commit " in text
    assert ":\n\nas it was\n\n## What comes later\n" in text
    assert "| GIN 64→16 | 2^6 |" in text

    said["commit"] = "another"
    printed.write_text(json.dumps(said))
    main([*given, "--print"])
    assert "commit another:\n\nas it was" in document.read_text()
    main([*given, "--only", "quick"])
    assert "as it was" not in document.read_text()
