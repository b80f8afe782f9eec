"""What is opened is what was prepared: damage is named, and no index that leads beyond an array gets to a loop."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import open_graph, prepare
from pipeline.blocks import storage
from pipeline.blocks.content import file_of, sums_of
from pipeline.blocks.manifest import sealed
from pipeline.blocks.rows import FEATURES, HEADS, INDICES, INDPTR, MIDDLES, ROWS, SENDS, SENT_TO, Row
from pipeline.errors import StorageError
from pipeline.graph import Graph
from pipeline.prepared import PreparedGraph
from pipeline.schema import EDGE
from tests.whole import whole


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    at = tmp_path_factory.mktemp("tables")
    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    tables = str(at / "nodes.parquet"), str(at / "edges.parquet")
    graph = Graph.of_files(*tables, edge_features=["weight", "attr"], reverse=True)
    assert graph is not None
    return prepare(graph, str(at / "graph"), blocks=3)


@pytest.fixture
def path(good: PreparedGraph, tmp_path: Path) -> Path:
    shutil.copytree(good.path, tmp_path / "graph")
    return tmp_path / "graph"


def opened(path: Path) -> None:
    graph = open_graph(str(path))
    for index in range(graph.blocks):
        graph.block(index)


def refused(path: Path) -> str:
    with pytest.raises(StorageError) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def folder(path: Path) -> Path:
    """Of the blocks."""
    (found,) = path.glob("blocks-*")
    return found


def file(path: Path, index: int, name: str) -> Path:
    return folder(path) / f"target={index}" / f"{name}.parquet"


def test_a_good_graph_is_opened(path: Path) -> None:
    opened(path)


@pytest.mark.parametrize("name", ["static", "sends"])
def test_a_flipped_bit_names_the_file(path: Path, name: str) -> None:
    """In the middle of an array, where nothing but the content can tell."""
    content = bytearray(file(path, 1, name).read_bytes())
    longest = max(
        (row for row in storage.read_rows(str(folder(path)), 1) if file_of(row) == name), key=lambda row: len(row.data)
    )
    content[content.find(longest.data.tobytes()) + len(longest.data) // 2] ^= 4
    file(path, 1, name).write_bytes(bytes(content))
    said = refused(path)
    assert "block 1" in said
    assert f"{name}.parquet" in said


def test_files_of_other_blocks_and_graphs(path: Path, good: PreparedGraph) -> None:
    shutil.copy(file(path, 0, "static"), file(path, 1, "static"))
    said = refused(path)
    assert "block 1 is damaged: " in said
    assert "in static.parquet of target=1 are not what was prepared; prepare the graph again" in said


def test_a_file_that_is_gone(path: Path) -> None:
    file(path, 2, "sends").unlink()
    assert "block 2 is missing: it has no sends.parquet" in refused(path)


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_no_file(path: Path, kind: str) -> None:
    file(path, 0, "static").unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(file(path, 0, "static"))
    assert "static.parquet of block 0 is no file" in refused(path)
    (path / "manifest.json").unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(path / "manifest.json")
    assert "manifest.json is no file; a text of at most 268,435,456 bytes is expected" in refused(path)


# ---- the manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(undirected=True), "its contents are not those that were written"),
        (lambda data: data.update(blocks=2), "its contents are not those that were written"),
        (lambda data: data.pop("seal"), "its contents are not those that were written"),
        (lambda data: data.update(sources={"nodes": {"path": 7}}), "sources is not the sources of the tables"),
    ],
)
def test_a_changed_manifest(path: Path, change: Callable[[Any], Any], message: str) -> None:
    data = json.loads((path / "manifest.json").read_text())
    change(data)
    (path / "manifest.json").write_text(json.dumps(data))
    assert f"manifest.json is damaged: {message}; prepare the graph again" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(blocks=10**18), "blocks is not a number of blocks"),
        (lambda data: data.update(undirected="no"), "undirected is not true or false"),
        (lambda data: data.update(ranges={"nodes.x": [[0, 1]]}), "ranges is not ranges of columns"),
        (lambda data: data["per_block"].update(nodes=[1, 2]), "nodes is not a number for each of 3 blocks"),
        (lambda data: data["per_block"]["edges"].__setitem__(0, -1), "edges is not a number for each of 3 blocks"),
        (lambda data: data["totals"].update(nodes=7), "nodes of all blocks are 200, not what it says"),
        (lambda data: data.update(sums=[]), "sums are not those of 3 blocks"),
        (lambda data: data["schema"]["nodes"]["node"].update(x=10**18), "schema is not a schema"),
        (lambda data: data["schema"]["nodes"].update(paper={}), "schema has other types of nodes"),
        (lambda data: data["columns"]["edges"].update(ids=["src"]), "columns is not the columns of all tables"),
    ],
)
def test_a_manifest_that_somebody_has_sealed(path: Path, change: Callable[[Any], Any], message: str) -> None:
    data = json.loads((path / "manifest.json").read_text())
    change(data)
    (path / "manifest.json").write_text(json.dumps(sealed(data)))
    assert f"manifest.json is damaged: {message}" in refused(path)


def test_a_manifest_that_is_no_json(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    for wrong, message in (
        (text.replace('"blocks": 3', '"blocks": 3, "blocks": 3'), "the key 'blocks' is there twice"),
        (text.replace('"blocks": 3', '"blocks": NaN'), "NaN is no number of JSON"),
        ("[" * 200_000, "it is nested too deep"),
    ):
        (path / "manifest.json").write_text(wrong)
        assert f"manifest.json is damaged: {message}" in refused(path)


# ---- arrays that an enemy has written, checksums and all


def forge(path: Path, kind: str, change: Callable[[Row], Row], index: int = 1) -> None:
    """Changes the first row of a kind of a block, and makes all checksums right."""
    rows = list(storage.read_rows(str(folder(path)), index))
    chosen = [at for at, row in enumerate(rows) if row.kind == kind and row.source != -1]
    at = next((at for at in chosen if rows[at].name == str(EDGE)), chosen[0])
    rows[at] = change(rows[at])
    data = json.loads((path / "manifest.json").read_text())
    data["sums"][index] = sums_of(rows)
    (path / "manifest.json").write_text(json.dumps(sealed(data)))
    for name in ("static", "sends"):
        storage.write_rows(str(folder(path)), index, name, [row for row in rows if file_of(row) == name])


def numbers(change: Callable[[Any], Any]) -> Callable[[Row], Row]:
    def changed(row: Row) -> Row:
        array = row.data.view(row.dtype).copy()
        return row._replace(data=np.ascontiguousarray(change(array)).view(np.uint8))

    return changed


def put(at: int, number: int) -> Callable[[Row], Row]:
    def change(array: Any) -> Any:
        array[at] = number
        return array

    return numbers(change)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (INDICES, put(0, 10**6), r"indices of a tile lead beyond"),
        (INDICES, put(0, -1), r"indices of a tile lead beyond"),
        (ROWS, put(-1, 10**6), r"rows of a tile lead beyond"),
        (ROWS, put(0, 59), r"rows of a tile are not in order"),
        (INDPTR, put(-1, 10**6), r"indptr of a tile are not in order"),
        (INDPTR, put(0, -5), r"indptr of a tile are not in order"),
        (INDPTR, numbers(lambda array: array[:-1]), r"a tile has rows without edges"),
        (SENDS, put(0, 10**6), r"send lists lead beyond"),
        (SENDS, put(0, -1), r"send lists lead beyond"),
        (SENDS, numbers(lambda array: array[:-1]), r"send lists are not as long as they say"),
        (SENT_TO, put(1, -1), r"send lists are not as long as they say"),
        (SENT_TO, put(2, 10**6), r"it sends 1,000,000 of"),
        (SENT_TO, put(2, -2), r"it sends -2 of"),
        (SENT_TO, put(0, 3), r"there is no block 3"),
        (HEADS, put(-5, 3), r"there is no block 3"),
        (HEADS, put(0, -7), r"there is no block -7"),
        (HEADS, put(-5, 0), r"tiles are not in order"),
        (HEADS, put(1, 0), r"rows of a tile are not in order"),
        (HEADS, put(1, 10**6), r"rows of a tile are not in order"),
        (HEADS, put(2, -1), r"indptr of a tile are not in order"),
        (HEADS, put(3, 0), r"indices of a tile lead beyond 0 rows"),
        (HEADS, put(3, -1), r"indices of a tile lead beyond -1 rows"),
        (HEADS, put(4, 2), r"a tile has other middles than rows"),
        (HEADS, put(-1, 0), r"a tile has other middles than rows"),
        (HEADS, numbers(lambda array: array[:-1]), r"cannot reshape"),
        (MIDDLES, put(0, 10**6), r"middles of a tile are not between its indptr"),
        (MIDDLES, numbers(lambda array: array[:-1]), r"a tile has other middles than rows"),
        ("push indices", put(0, 10**6), r"indices of a tile lead beyond"),
        (FEATURES, numbers(lambda array: array[:-6]), r"feature x has \d+ rows, not"),
        (FEATURES, lambda row: row._replace(width=3), r"feature x has \d+ rows, not"),
        (FEATURES, lambda row: row._replace(name="node/y"), r"node have columns {'y': 6}, not {'x': 6}"),
        (INDICES, lambda row: row._replace(dtype="|O"), r"indices of type \|O and width 0"),
        (INDICES, lambda row: row._replace(dtype="<f4"), r"indices of type <f4 and width 0"),
        (FEATURES, lambda row: row._replace(width=-1), r"features of type <f4 and width -1"),
    ],
)
def test_arrays_that_lead_beyond(path: Path, kind: str, change: Callable[[Row], Row], message: str) -> None:
    forge(path, kind, change)
    with pytest.raises(StorageError, match=f"block 1 is not well formed: .*{message}"):
        opened(path)


def test_a_block_that_does_not_send_what_another_reads(path: Path, tmp_path: Path) -> None:
    from pipeline import Settings, score
    from tests.formulas import build

    forge(path, SENDS, numbers(lambda array: array[:-1]))
    forge(path, SENT_TO, numbers(lambda array: np.array([*array[:-2], array[-2] - 1, -1], np.int32)))
    with pytest.raises(StorageError, match=r"block 1 of the prepared graph does not send what block \d reads of it"):
        score(str(path), build("sage"), str(tmp_path / "scores"), settings=Settings(exchange="pull"))
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["node_types"]["node"]["nodes"].__setitem__(0, 1), "nodes of all types are not those of"),
        (
            lambda data: data["edge_types"]["node__to__node"]["edges"].append(1),
            "edges of node__to__node is not a number",
        ),
        (
            lambda data: data["edge_types"]["node__to__node"].pop("payload_rows_in"),
            "payload_rows_in of node__to__node is",
        ),
        (
            lambda data: data.update(id_type={"node": "bigint", "paper": "bigint"}),
            "id_type are of other types than the",
        ),
        (
            lambda data: data["edge_types"].update(a__to__b=data["edge_types"]["node__to__node"]),
            "edge_types are of other",
        ),
        (
            lambda data: (data["schema"]["edges"].update(a__to__node={}), data["edge_types"].update(a__to__node={})),
            "edges a__to__node lead to nodes that are not in the schema",
        ),
    ],
)
def test_counts_by_type_that_somebody_has_changed(path: Path, change: Callable[[Any], Any], message: str) -> None:
    data = json.loads((path / "manifest.json").read_text())
    change(data)
    (path / "manifest.json").write_text(json.dumps(sealed(data)))
    assert f"manifest.json is damaged: {message}" in refused(path)
