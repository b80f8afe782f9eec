"""The benchmark of runs that survive, at a size where it says nothing of speed: every way is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from jobs.bench import survive
from jobs.bench.measure import Run
from jobs.bench.survive import FUSED, KEPT, PROCESS, SESSION, SOME, Bench, Way, main, render

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL = ["--scale", "7", "--blocks", "2", "--runs", "1"]


def measured(work: Path, *more: str) -> list[str]:
    """What was run; the printed table has a line of each."""
    main([*SMALL, *more, "--work", str(work)])
    runs = [run["what"] for run in json.loads((work / "survive.json").read_text())["runs"]]
    lines = [line for line in (work / "survive.md").read_text().splitlines() if line.startswith("| G")]
    assert len(lines) == len(runs)
    assert not (work / "survive").exists()
    return runs


def test_ways_without_spark(tmp_path: Path, no_session: None) -> None:
    ways = [FUSED.title, *(way.title for way in SOME), "fused, work directory"]
    assert measured(tmp_path, "--models", "sage", "--where", PROCESS) == [f"sage process {way}" for way in ways]


def test_ways_in_a_session(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survive, "SOME", SOME[:1])
    ways = [FUSED.title, "distributed", SOME[0].title, KEPT.title, "stopped after superstep 0"]
    assert measured(tmp_path, "--models", "gat", "--where", SESSION) == [f"gat session {way}" for way in ways]


def test_other_rows_stop_the_benchmark(tmp_path: Path, no_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    read = survive.read_output

    def other(path: Path) -> tuple[Any, Any]:
        ids, values = read(path)
        return ids, values + np.float32("work" in path.name)

    monkeypatch.setattr(survive, "read_output", other)
    with pytest.raises(SystemExit, match="sage process fused, work directory: other rows than those of the fused run"):
        main([*SMALL, "--models", "sage", "--where", PROCESS, "--work", str(tmp_path)])


def test_a_machine_that_is_slower_in_one_round_changes_no_ratio() -> None:
    bench = Bench("gat", Path("nowhere"), cast(Any, "a session"))
    stopped = Way("stopped after superstep 0", "distributed", True, stopped=0)
    seconds = {FUSED: 2.0, Way("distributed", "distributed"): 3.0, KEPT: 4.0, **dict.fromkeys(SOME, 1.0), stopped: 5.0}
    runs = [
        Run(bench.called(way), number, slow * took, parts(slow, took), 0, {"workers": took}, load=0.0)
        for number, slow in ((1, 1.0), (2, 7.0), (3, 1.0))
        for way, took in seconds.items()
    ]
    machine = {"cores": 2, "cpu": "a processor", "commit": "abc"}
    said = render(runs, [bench], {"parameters": {"scale": 3, "degree": 2}, "blocks": 2, "machine": machine})
    assert "| GAT 64→4×16, in a session: distributed | 3.00 | 1.50 | 3.0 | 1.50 | 1.7 |" in said
    assert "| GAT 64→4×16, in a session: stopped after superstep 0 | 2.00 | 3.00 | +1.00 | 2 |" in said


def parts(slow: float, took: float) -> dict[str, float]:
    return {"until stopped": slow * 2, "from then on": slow * (took - 2)}
