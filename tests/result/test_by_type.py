"""A table for each type of nodes: written, put in place and replaced together, or not at all."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.csv as csv
import pyarrow.fs as fs
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare, score
from pipeline.errors import ModelError, SettingError, StorageError
from pipeline.places import filesystem
from pipeline.places.copied import named
from pipeline.places.marker import MARKER
from pipeline.places.place import Place
from pipeline.prepared import PreparedGraph
from pipeline.result.by_type import giving
from pipeline.result.destination import refuse_mixture
from tests.formulas import build
from tests.places.objects import store
from tests.preparing.test_typed import check
from tests.typed_tables import ACCOUNT, CARD, EDGE_FEATURES, FEATURES, OWNED, RENTS, SHOP, model, tables

FOLDERS = {ACCOUNT: "account", CARD: "bank%20card%2F1", SHOP: "%5F%5Fshop%5F%5F"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    graph = Graph(*tables(), features=FEATURES, edge_features=EDGE_FEATURES)
    return prepare(graph, tmp_path_factory.mktemp("typed") / "g", 2)


def names(at: Path) -> set[str]:
    return {str(path.relative_to(at)) for path in at.rglob("*") if path.is_file()}


def written(types: list[str], format: str = "parquet") -> set[str]:
    files = [f"part-00000.{format}", f"part-00001.{format}", "_SUCCESS"]
    return {MARKER, *(f"{FOLDERS[type]}/{file}" for type in types for file in files)}


def test_the_marker_lists_all_tables(prepared: PreparedGraph, tmp_path: Path, no_session: None) -> None:
    report = score(prepared, model(), tmp_path / "o")
    assert names(tmp_path / "o") == written([ACCOUNT, CARD, SHOP])
    marker = json.loads((tmp_path / "o" / MARKER).read_text())
    assert (marker["rows"], report.rows) == (123, 123)
    assert {type: (of["folder"], of["rows"]) for type, of in marker["node_types"].items()} == {
        ACCOUNT: ("account", 60), CARD: ("bank%20card%2F1", 23), SHOP: ("%5F%5Fshop%5F%5F", 40)
    }  # fmt: skip
    assert [column["name"] for column in marker["node_types"][ACCOUNT]["columns"]] == ["id", "output", "pair"]
    assert marker["node_types"][CARD]["columns"][0] == {"name": "id", "type": "string"}
    assert "columns" not in marker
    assert sum(file["rows"] for file in marker["files"] if file["name"].startswith("account/")) == 60
    refuse_mixture(Place.of(str(tmp_path / "o")))
    (tmp_path / "o" / "account" / "part-00007.parquet").touch()
    with pytest.raises(StorageError, match=r"1 too many or missing, for example account/part-00007\.parquet"):
        refuse_mixture(Place.of(str(tmp_path / "o")))


def test_all_are_replaced_together(
    prepared: PreparedGraph, tmp_path: Path, no_session: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="graphsweep")
    score(prepared, model(), tmp_path / "o")
    score(prepared, model(), tmp_path / "o", types=[CARD], overwrite=True)
    assert names(tmp_path) == {f"o/{name}" for name in written([CARD])}, "nothing of the first is left"
    assert (
        "nodes of type bank card/1 only; left out: the outputs of account, __shop__; not read: "
        "nodes[bank%20card%2F1].x, nodes[%5F%5Fshop%5F%5F].x, "
        "edges[%5F%5Fshop%5F%5F__sells%20to%3A%20a%2Eb__account].price; edges "
    ) in caplog.text
    score(prepared, model(), tmp_path / "o", format="csv", overwrite=True)
    assert names(tmp_path) == {f"o/{name}" for name in written([ACCOUNT, CARD, SHOP], "csv")}
    (tmp_path / "o" / "account" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"not overwritten, because there are files .* account/mine\.txt"):
        score(prepared, model(), tmp_path / "o", overwrite=True)
    assert (tmp_path / "o" / "account" / "mine.txt").read_text() == "mine"


def test_a_failed_run_leaves_the_old_tables(
    prepared: PreparedGraph, tmp_path: Path, no_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(prepared, model(), tmp_path / "o", types=[SHOP])
    before = names(tmp_path)
    from pipeline.run import task

    usual = task.write_block

    def lost(folder: Any, block: int, table: Any, batches: Any) -> int:
        if table.type == CARD and block == 1:
            return 0  # a disk that this machine does not see
        return usual(folder, block, table, batches)

    monkeypatch.setattr(task, "write_block", lost)
    with pytest.raises(StorageError, match=r"o/bank%20card%2F1: 1 of 2 files were not written where this machine sees"):
        score(prepared, model(), tmp_path / "o", overwrite=True)
    assert names(tmp_path) == before


def test_fewer_rows_of_one_type_are_noticed(
    prepared: PreparedGraph, tmp_path: Path, no_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.run import task

    usual = task.write_block

    def short(folder: Any, block: int, table: Any, batches: Any) -> int:
        cut = (batch.slice(0, batch.num_rows - (table.type == CARD)) for batch in batches)
        return usual(folder, block, table, cut)

    monkeypatch.setattr(task, "write_block", short)
    with pytest.raises(StorageError, match=r"o/bank%20card%2F1: 21 rows were computed for 23 nodes; nothing was put"):
        score(prepared, model(), tmp_path / "o")
    assert not names(tmp_path)


def test_classes_of_each_type(prepared: PreparedGraph, tmp_path: Path, no_session: None) -> None:
    score(prepared, model(), tmp_path / "o", classify=True)
    accounts = pq.read_table(tmp_path / "o" / "account").to_pydict()
    assert list(accounts) == ["id", "output", "pair", "predicted", "probability"]
    assert accounts["predicted"] == [max(range(3), key=row.__getitem__) for row in accounts["output"]]


def test_csv_has_a_column_for_each_lane(prepared: PreparedGraph, tmp_path: Path, no_session: None) -> None:
    score(prepared, model(), tmp_path / "o", format="csv")
    table = csv.read_csv(tmp_path / "o" / FOLDERS[CARD] / "part-00001.csv")
    assert table.column_names == ["id", "card_0", "card_1", "card_2"]
    assert all(id.startswith("card é ") for id in table["id"].to_pylist())


def test_only_what_the_types_need_is_computed() -> None:
    chosen = giving(model(), [CARD])
    assert chosen.program.output_types == (CARD,)
    assert list(chosen.inputs) == ["nodes[account].x", "edges[account__pays__account].amount"]
    assert {OWNED, RENTS}.isdisjoint(chosen.program.edge_types)
    assert giving(model(), None).program.output_types == (ACCOUNT, CARD, SHOP)
    with pytest.raises(
        ModelError, match=r"types names 'ghost', for which the model gives nothing; known: __shop__, acc"
    ):
        giving(model(), ["ghost"])
    with pytest.raises(ModelError, match="types names 'account', but the model knows one type of nodes only; leave"):
        giving(build("sage"), ["account"])


@pytest.mark.parametrize("types", ["account", [], [3], 7])
def test_types_that_are_no_list(prepared: PreparedGraph, tmp_path: Path, types: Any) -> None:
    with pytest.raises(SettingError, match=r"types is .*; a list of node types is expected"):
        score(prepared, model(), tmp_path / "o", types=types)


def test_in_an_object_store(
    prepared: PreparedGraph, tmp_path: Path, no_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = store()
    monkeypatch.setattr(filesystem, "_filesystem", lambda scheme, authority: bucket if scheme == "s3" else None)
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    score(prepared, model(), "s3://bucket/o")
    second = score(prepared, model(), "s3://bucket/o", types=[CARD, ACCOUNT], overwrite=True)
    keys = {info.path for info in bucket.get_file_info(fs.FileSelector("bucket", recursive=True))}
    files = {f"bucket/o/{named(name, second.run) if 'part' in name else name}" for name in written([ACCOUNT, CARD])}
    assert keys == files
    for key in sorted(key for key in keys if "part" in key):
        with bucket.open_input_stream(key) as stream:
            (tmp_path / key.replace(f"-{second.run}", "")).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / key.replace(f"-{second.run}", "")).write_bytes(stream.read())
    check(tmp_path / "bucket" / "o", [ACCOUNT, CARD])
