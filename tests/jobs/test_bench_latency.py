"""The benchmark of latency runs, at a size where it says little; and the example of a service does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from graphsweep import GraphsweepError
from jobs.bench.latency import FEW, Request, main
from pipeline import cli

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

ROOT = Path(__file__).parents[2]


def test_three_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sizes", "10^4", "--runs", "3", "--work", str(tmp_path)])
    written = json.loads((tmp_path / "latency.json").read_text())["found"]
    assert [each["what"] for each in written] == [
        "tables in memory → all nodes",
        "prepared graph → all nodes",
        f"prepared graph → {FEW} nodes",
    ]
    for each in written:
        assert each["edges"] == 10_240
        assert len(each["seconds"]) == len(each["core_seconds"]) == 3
    assert capsys.readouterr().out == (tmp_path / "latency.md").read_text() + "\n"


def test_nineteen_of_twenty() -> None:
    assert Request("", "", 1, 1, [*range(1, 22)], [1]).high == 20


def test_the_example_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    command = re.search(r"^    graphsweep (.*)$", page, re.MULTILINE)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert command is not None
    assert code is not None
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(command[1].split())
    assert end.value.code == 0
    names: dict[str, object] = {}
    exec(code[1], names)
    regions = names["regions"]
    assert callable(regions)
    airports = names["graph"]
    assert airports is not None
    found = regions(["JFK", "LAX"])
    assert {row["id"] for row in found} == {"JFK", "LAX"}
    assert set(found[0]) == {"id", "predicted", "probability"}
    with pytest.raises(GraphsweepError, match="nowhere"):
        regions(["nowhere"])
