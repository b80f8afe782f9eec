"""The benchmark of prepare's options runs, and each variant's tables are what its row says."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench import prepare as bench_prepare
from jobs.bench.graph import Parameters, generate
from jobs.bench.prepare import VARIANTS, Variant, main, write_tables

pytestmark = pytest.mark.slow


def test_tables_have_what_the_variants_say(tmp_path: Path) -> None:
    plain = generate(Parameters(6), tmp_path)
    made = write_tables(plain, tmp_path / "variants")
    assert set(made) == {variant.tables for variant in VARIANTS}
    tables = {
        name: [pq.read_table(path / f"{part}.parquet") for part in ("nodes", "edges")] for name, path in made.items()
    }
    nodes, edges = tables["plain"]
    assert tables["weight"][1].schema.field("weight").type == pa.float32()
    assert len(tables["attr"][1]["attr"][0]) == 8
    assert tables["weight"][1].select(["src", "dst"]) == tables["attr"][1].select(["src", "dst"]) == edges
    assert [len(tables["wide"][0]["x"][row]) for row in (0, 63)] == [128, 128]
    assert tables["text"][0]["id"].to_pylist() == [f"node-{id}" for id in nodes["id"].to_pylist()]
    assert set(tables["text"][1]["src"].to_pylist()) <= set(tables["text"][0]["id"].to_pylist())
    assert write_tables(plain, tmp_path / "variants") == made, "not made twice"


def test_a_row_for_each_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few: tuple[Variant, ...] = (VARIANTS[0], VARIANTS[1])
    monkeypatch.setattr(bench_prepare, "VARIANTS", few)
    main(["--scale", "7", "--runs", "1", "--work", str(tmp_path)])
    written = json.loads((tmp_path / "prepare.json").read_text())
    assert [run["what"] for run in written["runs"]] == [variant.title for variant in few]
    plain, weighted = (run["parts"]["stored"] for run in written["runs"])
    assert weighted - plain >= 4 * (1 << 7) * 16, "an edge has four bytes more"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[3].strip() for line in lines if line.startswith("| 64")] == ["1.00"]
