"""What a graph was made of: never the output itself, and known again when the same is to be prepared once more."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from pipeline import open_graph, prepare
from pipeline.errors import SettingError, StorageError
from pipeline.graph import Graph
from pipeline.prepare import already_there
from tests.graphs import mixed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    for name, table in (("nodes", mixed().nodes), ("edges", mixed().edges)):
        (tmp_path / "t" / name).mkdir(parents=True)
        pq.write_table(table, tmp_path / "t" / name / "part-0.parquet")
    return f"{tmp_path}/t/nodes", f"{tmp_path}/t/edges"


def graph_of(tables: tuple[str, str], **options: Any) -> Graph:
    graph = Graph.of_files(*tables, **options)
    assert graph is not None
    return graph


def test_a_repeated_prepare_has_nothing_to_do(tables: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "graph"  # a Path
    first = prepare(graph_of(tables), path, if_same="skip")
    again = prepare(graph_of(tables), path, if_same="skip")
    assert again.manifest["prepare"] == first.manifest["prepare"]
    assert prepare(graph_of(tables), path, blocks=first.blocks, if_same="skip").folder == first.folder
    assert prepare(graph_of(tables), path, overwrite=True, if_same="skip").folder == first.folder
    assert prepare(graph_of(tables), path, overwrite=True).folder != first.folder


DIFFERENT = [
    ({"undirected": True}, None, "undirected was false, now true"),
    ({"edge_features": "weight"}, None, "columns was .*, now "),
    ({"reverse": True}, None, "reverse was false, now true"),
    ({"drop_dangling": True}, None, "drop dangling was false, now true"),
    ({}, 3, "blocks was auto, now 3"),
]


@pytest.mark.parametrize(("options", "blocks", "words"), DIFFERENT)
def test_what_is_different_is_said(
    tables: tuple[str, str], tmp_path: Path, options: dict[str, Any], blocks: int | None, words: str
) -> None:
    first = prepare(graph_of(tables), f"{tmp_path}/graph")
    with pytest.raises(StorageError, match=rf"graph: another graph is there already: {words}.*; give another path, or"):
        prepare(graph_of(tables, **options), f"{tmp_path}/graph", blocks, if_same="skip")
    assert open_graph(f"{tmp_path}/graph").folder == first.folder
    made = prepare(graph_of(tables, **options), f"{tmp_path}/graph", blocks, overwrite=True, if_same="skip")
    assert made.folder != first.folder


def test_files_that_have_changed_are_said(tables: tuple[str, str], tmp_path: Path) -> None:
    prepare(graph_of(tables), f"{tmp_path}/graph")
    file = Path(tables[1], "part-0.parquet")
    os.utime(file, ns=(1, 1))
    words = r"the edge table has changed: its files were written or renamed since \(1 file of \d+ bytes, as before\)"
    with pytest.raises(StorageError, match=words):
        already_there(graph_of(tables), f"{tmp_path}/graph", None)
    pq.write_table(mixed().edges, Path(tables[1], "part-1.parquet"))
    words = r"the edge table has changed: it was 1 file of \d+ bytes, and is 2 files of \d+ bytes now; give"
    with pytest.raises(StorageError, match=words):
        already_there(graph_of(tables), f"{tmp_path}/graph", None)


def test_of_dataframes_it_is_not_known(spark: SparkSession, tables: tuple[str, str], tmp_path: Path) -> None:
    graph = Graph(spark.read.parquet(tables[0]), spark.read.parquet(tables[1]))
    prepare(graph, f"{tmp_path}/graph", if_same="skip")
    with pytest.raises(StorageError, match=r"which files the node table consists of is not known, now or then"):
        prepare(graph, f"{tmp_path}/graph", if_same="skip")


def test_an_unknown_word(tables: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"if_same is 'skpi'; accepted: skip"):
        prepare(graph_of(tables), f"{tmp_path}/graph", if_same="skpi")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("where", ["t", "t/nodes", "t/edges/graph", "t/nodes/part-0.parquet"])
@pytest.mark.parametrize("read", ["here", "by Spark", "DataFrames"])
def test_an_output_among_the_tables_is_refused(
    spark: SparkSession, tables: tuple[str, str], tmp_path: Path, where: str, read: str, overwrite: bool
) -> None:
    """Of DataFrames Spark tells the files."""
    if read == "here":
        graph = graph_of(tables)
    elif read == "by Spark":
        graph = Graph.read(spark, *tables)
    else:
        graph = Graph(spark.read.parquet(tables[0]), spark.read.parquet(tables[1]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        SettingError, match=r"the output (is|holds|lies in) the (node|edge) table .*Nothing was touched"
    ):
        prepare(graph, f"{tmp_path}/{where}", overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_graph_beside_single_files_is_none_of_the_tables(spark: SparkSession, tmp_path: Path) -> None:
    for name, table in (("nodes", mixed().nodes), ("edges", mixed().edges)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    frames = (spark.read.parquet(f"{tmp_path}/{name}.parquet") for name in ("nodes", "edges"))
    assert prepare(Graph(*frames), f"{tmp_path}/graph", blocks=2).nodes == 300


def test_sources_are_found_from_another_directory(
    tables: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "t")
    prepared = prepare(graph_of(("nodes", "edges")), "../graph")
    assert prepared.manifest["sources"]["nodes"]["path"] == tables[0]
    assert prepared.path == f"{tmp_path}/graph"
    monkeypatch.chdir("/")
    assert prepared.block(0).ids


def test_a_table_that_changes_while_it_is_read_is_noticed(
    tables: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are counted from the footers before, and in the blocks after."""
    from pipeline.tables.table import read_pieces as read

    lock, changed = Lock(), []

    def after_a_change(pieces: Any, columns: Any) -> Any:
        with lock:  # threads read several pieces at once: nobody reads while it is written
            if not changed:
                pq.write_table(mixed().edges.slice(1), Path(tables[1], "part-0.parquet"))
                changed.append(True)
        return read(pieces, columns)

    monkeypatch.setattr(sys.modules["pipeline.prepare"], "read_pieces", after_a_change)
    with pytest.raises(
        StorageError, match=r"part-0\.parquet gives 2,999 of 3,000 rows: it was changed meanwhile, or is damaged"
    ):
        prepare(graph_of(tables), f"{tmp_path}/graph", blocks=3)
    assert sorted(os.listdir(tmp_path)) == ["t"]
