"""Typed graphs in blocks: every table's rows are there, under their own type, and nothing else is."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, prepare
from pipeline.blocks.block import LOOPS, Block
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.formula.spaces import Nodes
from pipeline.formula.values import node_input
from pipeline.prepared import open_graph
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.schema import EDGE, NODE, EdgeType
from pipeline.score import score
from tests.typed_tables import (
    ACCOUNT,
    CARD,
    EDGE_FEATURES,
    FEATURES,
    GHOST,
    HAUNTS,
    OWNED,
    OWNS,
    PAYS,
    RENTS,
    SELLS,
    SHOP,
    answers,
    given_edges,
    model,
    model_of,
    stored_edges,
    tables,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NODES, EDGES = tables()
OPTIONS: dict[str, Any] = {"features": FEATURES, "edge_features": EDGE_FEATURES}


def graph(nodes: Any = None, edges: Any = None, **more: Any) -> Graph:
    return Graph({**NODES, **(nodes or {})}, {**EDGES, **(edges or {})}, **{**OPTIONS, **more})


@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_row_is_in_the_blocks_under_its_own_type(count: int) -> None:
    blocks = blocks_from_tables(NODES, EDGES, count, **OPTIONS)
    for type, table in NODES.items():
        ids = [id for block in blocks for id in block.ids[type].to_pylist()]
        assert sorted(ids) == sorted(table["id"].to_pylist())
    for type, table in EDGES.items():
        assert stored_edges(blocks, type) == given_edges(table), type
    shared = {id for block in blocks for id in block.ids[ACCOUNT].to_pylist()} & set(NODES[SHOP]["id"].to_pylist())
    assert len(shared) == 40, "an account and a shop with the same id are two nodes"


def test_what_a_block_may_push_are_its_own_nodes_of_the_source_type() -> None:
    blocks = blocks_from_tables(NODES, EDGES, 3, **OPTIONS)
    pushed = [
        (block, type, to, tile) for block in blocks for type in EDGES for to, tile in block.pushes.get(type, {}).items()
    ]
    assert {type for _, type, _, _ in pushed} >= {PAYS, OWNS, SELLS}
    for block, type, to, tile in pushed:
        assert tile.senders == block.nodes(type.source)
        given = blocks[to].tiles[type][block.index]
        assert given.middles is not None
        assert tile.edges == int((given.indptr[1:] - given.middles).sum())


def test_equal_ids_of_two_types_are_no_self_loop() -> None:
    blocks = blocks_from_tables(NODES, EDGES, 2, **OPTIONS)
    same = [pair for pair in given_edges(EDGES[SELLS]) if pair[0] == pair[1]]
    assert same, "the shop and the account of one edge have the same id"
    assert not any(LOOPS in block.tiles.get(SELLS, {}) for block in blocks)
    loops = sum(block.tiles[PAYS][LOOPS].edges for block in blocks if LOOPS in block.tiles[PAYS])
    assert loops == sum(pa.compute.equal(EDGES[PAYS]["src"], EDGES[PAYS]["dst"]).to_pylist()) >= 9


def test_edges_against_their_direction_are_stored_for_each_type() -> None:
    blocks = blocks_from_tables(NODES, EDGES, 3, **OPTIONS, reverse=True)
    turned = given_edges(EDGES[SELLS].select(["dst", "src", "amount"]))
    assert stored_edges(blocks, SELLS.reversed) == turned
    assert stored_edges(blocks, OWNS.reversed) == stored_edges(blocks, OWNED), "but of another type"
    assert str(OWNS.reversed) != str(OWNED)


def test_the_manifest_counts_by_type(tmp_path: Path) -> None:
    prepared = prepare(graph(reverse=True), tmp_path / "g", 3)
    manifest = prepared.manifest
    assert prepared.is_typed
    assert prepared.node_counts == {ACCOUNT: 60, CARD: 23, SHOP: 40, GHOST: 0}
    assert {type: prepared.edge_counts[type] for type in EDGES} == {type: len(table) for type, table in EDGES.items()}
    assert prepared.id_types == {ACCOUNT: "bigint", CARD: "string", SHOP: "bigint", GHOST: "string"}
    assert prepared.nodes == 123
    assert prepared.edges == sum(map(len, EDGES.values())), "reversed ones are not counted again"
    counts = manifest["edge_types"]
    assert sum(counts[str(SELLS)]["self_loops"]) == 0 < sum(counts[str(PAYS)]["self_loops"])
    degrees = [edges.value_counts().field(1) for edges in (EDGES[PAYS]["dst"], EDGES[PAYS]["src"])]
    assert [max(counts[str(type)]["max_in_degree"]) for type in (PAYS, PAYS.reversed)] == [
        max(degree.to_pylist()) for degree in degrees
    ]
    for type in prepared.edge_counts:
        assert sum(counts[str(type)]["payload_rows_in"]) == sum(counts[str(type)]["payload_rows_out"])
        tiles = [prepared.block(index).tiles.get(type, {}) for index in range(3)]
        rows = [sum(tile.senders for source, tile in here.items() if source != LOOPS) for here in tiles]
        assert counts[str(type)]["payload_rows_in"] == rows
    schema = prepared.schema
    assert schema.nodes == {ACCOUNT: {"x": 3}, CARD: {"x": 2}, SHOP: {"x": 2}, GHOST: {}}
    assert schema.edges[SELLS] == {"price": 1}
    assert schema.edges[HAUNTS] == {}


@pytest.mark.parametrize("drop", [False, True])
def test_in_files_as_in_memory(tmp_path: Path, drop: bool) -> None:
    prepared = prepare(graph(drop_dangling=drop), tmp_path / "g", 3)
    blocks = blocks_from_tables(NODES, EDGES, 3, **OPTIONS)
    for index, block in enumerate(blocks):
        stored = open_graph(prepared.path).block(index)
        assert stored.ids == block.ids
        for type in NODES:
            assert {name: matrix.tobytes() for name, matrix in stored.features[type].items()} == {
                name: matrix.tobytes() for name, matrix in block.features[type].items()
            }
        for type in EDGES:
            for source, tile in block.tiles.get(type, {}).items():
                assert (stored.tiles[type][source].indices == tile.indices).all()
                assert (stored.tiles[type][source].rows == tile.rows).all()


def test_an_untyped_graph_by_type_is_the_untyped_graph(tmp_path: Path) -> None:
    nodes, edges = NODES[ACCOUNT], EDGES[PAYS]
    plain = prepare(Graph(nodes, edges, edge_features=["amount"]), tmp_path / "a", 3)
    typed = prepare(Graph({NODE: nodes}, {EDGE: edges}, edge_features=["amount"]), tmp_path / "b", 3)
    assert plain.fingerprint == typed.fingerprint
    assert not typed.is_typed
    assert list(typed.manifest["columns"]) == ["nodes", "edges"]


@pytest.mark.parametrize(
    ("options", "fingerprint"),
    [
        ({}, "19fae458fad01a667f5a82c72112efbcdc36bf010611805c16ed679b1d1e36d1"),
        ({"undirected": True}, "b85b006410e26d0e19c16fd06f46bfd413000b6e3ef94ba8dbac4c75eb50e2fd"),
        ({"reverse": True}, "f4b8097bf09d54e7c015ea5e7a73c5ffe46124d9ce5a9ef739bf855cd18ffab4"),
    ],
)
def test_untyped_graphs_keep_their_bits(tmp_path: Path, options: dict[str, Any], fingerprint: str) -> None:
    """The airline network, as commit 83a6c1c prepared it, which knew no types, and kept each array of each tile by
    itself."""
    flights = Path(__file__).parents[2] / "data" / "flights"
    graph = Graph(flights / "nodes.parquet", flights / "edges.parquet", edge_features=["distance"], **options)
    prepared = prepare(graph, tmp_path / "g", 4)
    content = hashlib.sha256()
    for block in map(prepared.block, range(4)):
        for array in arrays_of(block):
            content.update(repr((array.dtype.str, array.shape)).encode())
            content.update(np.ascontiguousarray(array).tobytes())
    assert content.hexdigest() == fingerprint


def arrays_of(block: Block) -> Iterator[npt.NDArray[Any]]:
    """All that a block holds, in an order of its own, tile by tile."""
    for type, ids in block.ids.items():
        yield np.array(ids.to_pylist(), "S")
        yield from (matrix for _, matrix in sorted(block.features[type].items()))
    for by_type in (block.tiles, block.pushes):
        for type in sorted(by_type, key=str):
            for source, tile in sorted(by_type[type].items()):
                yield np.array([source, tile.senders])
                yield from (tile.rows, tile.indptr, tile.indices)
                yield from (matrix for _, matrix in sorted(tile.values.items()))
                yield np.empty(0) if tile.middles is None else tile.middles
    for type in sorted(block.sends, key=str):
        for to, nodes in sorted(block.sends[type].items()):
            yield np.array([to, block.pulled.get(type, {}).get(to, -1)])
            yield nodes


def test_what_is_wrong_is_said_with_its_type(tmp_path: Path) -> None:
    twice = pa.concat_tables([NODES[SHOP], NODES[SHOP].slice(3, 2)])
    lost = pa.table({"src": [-50, 999], "dst": ["card é 1", "no card"]})
    with pytest.raises(DataError) as caught:
        prepare(graph({SHOP: twice}, {OWNS: lost}), tmp_path / "g", 3)
    assert str(caught.value).split("\n") == [
        "edges[account__owns__bank%20card%2F1].dst holds 1 id absent from the nodes (first: no card); add these nodes, "
        "or leave their edges out with drop_dangling=True",
        "edges[account__owns__bank%20card%2F1].src holds 1 id absent from the nodes (first: 999); add these nodes, or "
        "leave their edges out with drop_dangling=True",
        "nodes[%5F%5Fshop%5F%5F].id holds 2 ids more than once (first: -29, -22); keep one row for each",
    ]
    assert not (tmp_path / "g").exists()


def test_dangling_edges_are_dropped_by_type(tmp_path: Path) -> None:
    lost = pa.table({"src": [-50, 999, -43], "dst": ["card é 1", "card é 2", "no card"]})
    prepared = prepare(graph(None, {OWNS: lost}, drop_dangling=True), tmp_path / "g", 3)
    counts = prepared.manifest["edge_types"]
    assert {type: sum(counts[str(type)]["dropped"]) for type in EDGES} == {**dict.fromkeys(EDGES, 0), OWNS: 2}
    blocks = [prepared.block(index) for index in range(3)]
    assert stored_edges(blocks, OWNS) == {(-50, "card é 1"): 1}
    assert stored_edges(blocks, PAYS) == given_edges(EDGES[PAYS])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_run_gives_a_table_for_each_type(tmp_path: Path, count: int) -> None:
    prepared = prepare(graph(), tmp_path / "g", count)
    report = score(prepared, model(), tmp_path / "o")
    assert report.rows == 123
    check(tmp_path / "o", [ACCOUNT, CARD, SHOP])


def test_empty_types_with_columns_are_scored(tmp_path: Path) -> None:
    """Of arrays without rows nobody knows the width; the model does."""
    nodes, edges = tables(cards=23)
    nodes[SHOP] = pa.table({"id": pa.array([], pa.int64()), "x": pa.array([], pa.list_(pa.float32()))})
    edges[SELLS] = edges[SELLS].slice(0, 0)
    prepared = prepare(Graph(nodes, edges, **OPTIONS), tmp_path / "g", 3)
    assert score(prepared, model(), tmp_path / "o").rows == 83
    shops = pq.read_table(tmp_path / "o" / "%5F%5Fshop%5F%5F")
    assert (shops.num_rows, shops.column_names) == (0, ["id", "shop"])
    found = pq.read_table(tmp_path / "o" / "account").to_pydict()
    expected = answers(nodes, edges)["pair"]
    assert np.allclose(found["pair"], [expected[id] for id in found["id"]], atol=1e-4)


def test_a_type_that_is_called_as_that_of_untyped_graphs(tmp_path: Path) -> None:
    """It is a type like others: its table is in a folder of its name."""
    nodes, tag = NODES[SHOP], EdgeType(NODE, "to", "tag")
    edges = {EDGE: EDGES[RENTS], tag: EDGES[RENTS]}
    prepared = prepare(Graph({NODE: nodes, "tag": NODES[ACCOUNT]}, edges), tmp_path / "g", 2)
    assert prepared.is_typed
    assert list(prepared.manifest["columns"]) == ["nodes", "nodes[tag]", "edges", "edges[node__to__tag]"]
    x = node_input("x", (2,), Nodes(NODE))
    score(prepared, model_of({NODE: {"y": x + x}}), tmp_path / "o")
    assert pq.read_table(tmp_path / "o" / "node").num_rows == 40


def test_a_name_that_no_disk_has(tmp_path: Path) -> None:
    long = "kind " * 60
    graph = Graph({long: NODES[SHOP]}, {(long, "to", long): EDGES[RENTS]})
    prepared = prepare(graph, tmp_path / "g", 2)
    x = node_input("x", (2,), Nodes(long))
    with pytest.raises(StorageError, match=r"o/kind%20kind%20.*: cannot be written: File name too long"):
        score(prepared, model_of({long: {"y": x + x}}), tmp_path / "o")
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def check(output: Path, types: list[str], ids: Mapping[str, str] | None = None) -> None:
    """`ids`: type → what its ids are called, where that is not id."""
    expected, columns = answers(NODES, EDGES), {ACCOUNT: ["output", "pair"], CARD: ["card"], SHOP: ["shop"]}
    folders = {ACCOUNT: "account", CARD: "bank%20card%2F1", SHOP: "%5F%5Fshop%5F%5F"}
    assert {path.name for path in output.iterdir() if path.is_dir()} == {folders[type] for type in types}
    for type in types:
        table = pq.read_table(output / folders[type])
        id = (ids or {}).get(type, "id")
        assert table.column_names == [id, *columns[type]]
        assert sorted(table[id].to_pylist()) == sorted(NODES[type]["id"].to_pylist())
        for name in columns[type]:
            wanted = np.array([expected[name][key] for key in table[id].to_pylist()])
            np.testing.assert_allclose(np.array(table[name].to_pylist()), wanted, rtol=1e-4, atol=1e-4)


def frames(spark: SparkSession) -> Graph:
    nodes = {type: spark.createDataFrame(table) for type, table in NODES.items()}
    return graph(nodes, {type: spark.createDataFrame(table) for type, table in EDGES.items()})


def test_by_tasks_the_same_blocks(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = prepare(graph(), tmp_path / "a", 3)
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "_fits_in_process", lambda *_: False)
    prepared = prepare(frames(spark), tmp_path / "b", 3)
    assert prepared.fingerprint == here.fingerprint
    assert prepared.manifest["edge_types"] == here.manifest["edge_types"]
    lost = spark.createDataFrame([(-50, "no card é")], "src int, dst string")
    with pytest.raises(DataError, match=r"edges\[account__owns__bank%20card%2F1\].dst holds 1 id absent .*no card é"):
        prepare(graph(None, {OWNS: lost}), tmp_path / "c", 3)


def test_both_tiers_give_the_same_bits_and_infer_a_mapping(spark: SparkSession, tmp_path: Path) -> None:
    prepared = prepare(graph(), tmp_path / "g", 3)
    for tier in ("fused", "distributed"):
        report = score(prepared, model(), tmp_path / tier, settings={"tier": tier}, spark=spark)
        assert (report.tier, report.rows) == (tier, 123)
        check(tmp_path / tier, [ACCOUNT, CARD, SHOP])
    for file in sorted((tmp_path / "fused").rglob("*.parquet")):
        same = tmp_path / "distributed" / file.relative_to(tmp_path / "fused")
        assert pq.read_table(file).equals(pq.read_table(same))
    settings = {"write": "spark", "scratch": str(tmp_path / "scratch")}
    with pytest.raises(SettingError, match=r"o: the tables of a typed graph are written by tasks, and these cannot"):
        score(graph(), model(), tmp_path / "o", settings=settings, spark=spark)
    assert not (tmp_path / "scratch").exists(), "before anything is prepared"
    found = infer(prepared, model(), spark=spark, types=[CARD, SHOP])
    assert list(found) == [CARD, SHOP]
    rows = {row.id: row.card for row in found[CARD].collect()}
    expected = answers(NODES, EDGES)["card"]
    assert rows.keys() == expected.keys()
    assert all(np.allclose(rows[id], expected[id], atol=1e-4) for id in rows)
