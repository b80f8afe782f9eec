"""Blocks against a plain reading of the tables, for awkward graphs and any number of blocks; and every complaint."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.blocks.block import LOOPS, Block
from pipeline.blocks.rows import digest, send_rows, static_rows
from pipeline.errors import DataError
from pipeline.kernels.hash import blocks_of
from pipeline.preparing import pack
from pipeline.preparing.checks import Finding, name_texts
from pipeline.preparing.in_memory import blocks_from_tables, schema_of
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.tables.layout import text_keys
from tests.graphs import (
    BLOCKS,
    GRAPHS,
    Tables,
    edges_of,
    mixed,
    nodes_of,
    parallel,
    pushes_of,
    self_loops,
    tables,
    text,
)

VALUES = ["attr", "weight"]


def build(graph: Tables, blocks: int, **options: Any) -> list[Block]:
    return blocks_from_tables(graph.nodes, graph.edges, blocks=blocks, **{"edge_features": VALUES, **options})


def rows_of(edges: pa.Table) -> list[tuple[Any, ...]]:
    """(src, dst, attr, weight) of each row of the table, as `edges_of` reads them from blocks."""
    return [(row["src"], row["dst"], tuple(row["attr"]), (row["weight"],)) for row in edges.to_pylist()]


def digests(blocks: list[Block]) -> list[str]:
    return [digest([*static_rows(block), *send_rows(block)]) for block in blocks]


# ---- against the tables


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_and_edge_is_there_once_with_its_values(name: str, blocks: int) -> None:
    graph = GRAPHS[name]()
    built = build(graph, blocks)
    assert len(built) == blocks
    assert nodes_of(built) == {row["id"]: {"x": tuple(row["x"])} for row in graph.nodes.to_pylist()}
    assert Counter(edges_of(built)) == Counter(rows_of(graph.edges))


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_undirected_edges_are_there_both_ways_and_loops_once(name: str, blocks: int) -> None:
    graph = GRAPHS[name]()
    expected = rows_of(graph.edges)
    expected += [(dst, src, *values) for src, dst, *values in expected if src != dst]
    assert Counter(edges_of(build(graph, blocks, undirected=True))) == Counter(expected)


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_edges_against_their_direction_beside_the_others(name: str, blocks: int) -> None:
    graph = GRAPHS[name]()
    built = build(graph, blocks, reverse=True)
    expected = rows_of(graph.edges)
    assert Counter(edges_of(built)) == Counter(expected)
    assert Counter(edges_of(built, EDGE.reversed)) == Counter((dst, src, *values) for src, dst, *values in expected)
    parts = ("tiles", "sends", "pulled", "pushes")
    only = [replace(b, **{part: {EDGE: getattr(b, part).get(EDGE, {})} for part in parts}) for b in built]
    assert digests(only) == digests(build(graph, blocks))


def test_an_undirected_graph_has_no_other_direction() -> None:
    assert digests(build(mixed(), 3, undirected=True, reverse=True)) == digests(build(mixed(), 3, undirected=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_blocks_keep_what_their_records_promise(name: str, blocks: int, reverse: bool) -> None:
    graph = GRAPHS[name]()
    kind = EDGE.reversed if reverse else EDGE
    built = build(graph, blocks, reverse=reverse)
    for block in built:
        ids = block.ids[NODE]
        keys = text_keys(ids, 42) if graph.nodes.schema.field("id").type == pa.string() else ids.to_numpy()
        assert keys.tolist() == sorted(set(keys.tolist()))
        home = np.empty(len(keys), np.int32)
        blocks_of(keys, blocks, home)
        assert (home == block.index).all()
        assert block.features[NODE]["x"].shape == (len(ids), built[0].features[NODE]["x"].shape[1])
        for source, tile in block.tiles.get(kind, {}).items():
            other = block if source == LOOPS else built[source]
            sent = other.sends[kind][LOOPS if source == LOOPS else block.index]
            assert tile.edges > 0
            assert (np.diff(tile.rows) > 0).all()
            assert tile.rows[-1] < len(ids)
            assert tile.indptr[0] == 0
            assert tile.indptr[-1] == tile.edges
            assert (np.diff(tile.indptr) > 0).all()
            assert np.unique(tile.indices).tolist() == list(range(tile.senders))
            bits = np.concatenate([tile.values[name].view(np.uint32) for name in VALUES], axis=1)
            row = np.repeat(tile.rows, np.diff(tile.indptr))
            middles = tile.indptr[1:] if tile.middles is None else tile.middles
            pushed = np.arange(tile.edges) >= np.repeat(middles, np.diff(tile.indptr))
            order = [*zip(row.tolist(), pushed.tolist(), sent[tile.indices].tolist(), bits.tolist(), strict=True)]
            assert order == sorted(order)
            first = len(sent) if source == LOOPS else other.pulled.get(kind, {}).get(block.index, len(sent))
            assert np.unique(tile.indices[~pushed]).tolist() == list(range(first))
            if source == LOOPS:
                assert (block.sends[kind][LOOPS] == tile.rows).all()
        for other, sent in block.sends.get(kind, {}).items():
            first = block.pulled.get(kind, {}).get(other, len(sent))
            assert (np.diff(sent[:first]) > 0).all()
            assert (np.diff(sent[first:]) > 0).all()
            where = block if other == LOOPS else built[other]
            assert where.tiles[kind][LOOPS if other == LOOPS else block.index].senders == len(sent)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("blocks", BLOCKS[1:])
@pytest.mark.parametrize("name", GRAPHS)
def test_an_edge_is_pulled_if_its_src_has_as_many_edges_in_the_tile_as_its_dst(
    name: str, blocks: int, reverse: bool
) -> None:
    graph = GRAPHS[name]()
    kind = EDGE.reversed if reverse else EDGE
    built = build(graph, blocks, reverse=reverse)
    home = {name: block.index for block in built for name in block.ids[NODE].to_pylist()}
    edges = [edge for edge in edges_of(built, kind) if edge[0] != edge[1]]
    out = Counter((src, home[dst]) for src, dst, *_ in edges)
    into = Counter((home[src], dst) for src, dst, *_ in edges)
    rest = Counter(edge for edge in edges if out[edge[0], home[edge[1]]] < into[home[edge[0]], edge[1]])
    assert Counter(pushes_of(built, kind)) == rest


@pytest.mark.parametrize("name", GRAPHS)
def test_a_block_alone_pulls_all(name: str) -> None:
    (block,) = build(GRAPHS[name](), 1)
    assert not any(block.pulled.values())
    assert not any(block.pushes.values())
    assert all(tile.middles is None for tile in block.tiles[EDGE].values())


def test_self_loops_are_a_tile_of_their_own() -> None:
    for block in build(self_loops(), 3):
        ids = block.ids[NODE].to_pylist()
        loops = block.tiles[EDGE].get(LOOPS)
        assert sorted(ids[row] for row in (loops.rows if loops else [])) == [
            name for name in sorted(ids) if name % 2 == 0
        ]


def test_parallel_edges_stay_apart() -> None:
    (block,) = build(parallel(), 1)
    tile = block.tiles[EDGE][0]
    assert (tile.edges, len(tile.rows), tile.senders) == (600, 2, 3)


# ---- what the answer does not depend on


@pytest.mark.parametrize("edges", [1, 40])
@pytest.mark.parametrize("name", ["mixed", "hub", "self_loops", "parallel"])
def test_how_many_tiles_are_made_together_does_not_matter(
    name: str, edges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = GRAPHS[name]()
    together = digests(build(graph, 17))
    monkeypatch.setattr("pipeline.preparing.tiles.GROUP_EDGES", edges)
    assert digests(build(graph, 17)) == together


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_order_of_rows_and_the_size_of_batches_do_not_matter(
    name: str, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = GRAPHS[name]()
    expected = digests(build(graph, 3, reverse=reverse))
    assert digests(build(graph.shuffled(1), 3, reverse=reverse)) == expected
    monkeypatch.setattr(pack, "FLUSH_ROWS", 7)
    monkeypatch.setattr(pack, "CHUNK_BYTES", 100)
    assert digests(build(graph.shuffled(2), 3, reverse=reverse)) == expected


def test_the_type_of_integers_does_not_matter() -> None:
    graph = tables(range(100), [(i, (7 * i) % 100) for i in range(100)])
    expected = digests(build(graph, 3))
    for kind in (pa.int8(), pa.int16(), pa.int32()):
        narrow = Tables(
            graph.nodes.set_column(0, "id", graph.nodes["id"].cast(kind)),
            graph.edges.set_column(0, "src", graph.edges["src"].cast(kind)),
        )
        assert digests(build(narrow, 3)) == expected


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 5)])
def test_the_type_of_arrays_does_not_matter(kind: pa.DataType) -> None:
    graph = mixed()
    other = Tables(graph.nodes.set_column(1, "x", graph.nodes["x"].combine_chunks().cast(kind)), graph.edges)
    assert digests(build(other, 3)) == digests(build(graph, 3))


# ---- which columns


def test_features_from_columns_by_name() -> None:
    graph = mixed()
    blocks = build(graph, 3, features={"both": ["age", "age"], "x": "x", "one": "age"}, edge_features={"w": "weight"})
    assert schema_of(blocks) == GraphSchema({NODE: {"both": 2, "x": 5, "one": 1}}, {EDGE: {"w": 1}})
    expected = {row["id"]: (row["age"], row["age"]) for row in graph.nodes.to_pylist()}
    assert {name: values["both"] for name, values in nodes_of(blocks).items()} == expected


def test_a_list_of_number_columns_is_the_feature_x() -> None:
    assert schema_of(build(mixed(), 3, features=["age", "age"])).nodes == {NODE: {"x": 2}}


@pytest.mark.parametrize("nothing", [None, (), {}])
def test_no_features(nothing: Any) -> None:
    assert schema_of(build(mixed(), 3, features=nothing, edge_features=nothing)).nodes == {NODE: {}}


def test_integers_and_booleans_are_numbers() -> None:
    nodes = pa.table({"id": [1, 2], "a": pa.array([3, -4], pa.int16()), "b": [True, False]})
    edges = pa.table({"src": [1], "dst": [2]})
    found = nodes_of(blocks_from_tables(nodes, edges, features=["a", "b"]))
    assert found == {1: {"x": (3.0, 1.0)}, 2: {"x": (-4.0, 0.0)}}


def test_an_empty_block_knows_the_widths() -> None:
    blocks = build(tables([1], [(1, 1)]), 17)
    assert [block.features[NODE]["x"].shape for block in blocks if not block.nodes(NODE)] == [(0, 5)] * 16


# ---- edges without nodes


def with_strangers(graph: Tables, edges: list[tuple[Any, Any]]) -> Tables:
    extra = tables([], edges, graph.nodes.schema.field("id").type).edges
    return Tables(graph.nodes, pa.concat_tables([graph.edges, extra]))


@pytest.mark.parametrize("reverse", [False, True])
def test_edges_without_nodes_are_refused_with_both_ends(reverse: bool) -> None:
    graph = with_strangers(tables(range(5), [(0, 1)]), [(0, 77), (99, 1), (98, 77), (98, 98)])
    with pytest.raises(DataError) as caught:
        build(graph, 3, reverse=reverse)
    message = str(caught.value)
    assert "edges.dst holds 2 ids absent from the nodes (first: 77, 98); add these nodes" in message
    assert "edges.src holds 2 ids absent from the nodes (first: 98, 99)" in message
    assert "drop_dangling=True" in message


def test_text_without_nodes_is_told_as_text() -> None:
    graph = with_strangers(text(), [("nobody", "a"), ("a", "none"), ("a", "none")])
    with pytest.raises(DataError, match=r"edges\.dst holds 1 id absent from the nodes \(first: none\)"):
        build(graph, 3)
    with pytest.raises(DataError, match=r"edges\.src holds 1 id absent from the nodes \(first: nobody\)"):
        build(graph, 3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_edges_without_nodes_are_dropped_on_demand(name: str, blocks: int, reverse: bool) -> None:
    graph = GRAPHS[name]()
    ids = graph.nodes["id"].to_pylist()
    stranger = "stranger" if graph.nodes.schema.field("id").type == pa.string() else 4242
    edges = [(stranger, name) for name in ids[:20]] + [(name, stranger) for name in ids[:20]] + [(stranger, stranger)]
    dropped = build(with_strangers(graph, edges), blocks, drop_dangling=True, reverse=reverse)
    assert digests(dropped) == digests(build(graph, blocks, reverse=reverse))


# ---- what is wrong with the tables

IDS = [1, 2, 3, 4, 5]


def broken(nodes: dict[str, Any] | None = None, edges: dict[str, Any] | None = None) -> Tables:
    """A small graph with some columns replaced."""
    good = {"id": IDS, "x": [[1.0, 2.0]] * 5, "age": [1.0] * 5}
    rows = {"src": [1, 2], "dst": [2, 3], "weight": [1.0, 2.0], "attr": [[1.0], [2.0]]}
    return Tables(pa.table({**good, **(nodes or {})}), pa.table({**rows, **(edges or {})}))


COMPLAINTS = [
    ({"id": [1, 2, 3, 3, 2]}, {}, r"nodes\.id holds 2 ids more than once \(first: 2, 3\); keep one row for each"),
    ({"id": [1, 2, None, 4, None]}, {}, r"nodes\.id holds 2 nulls; fill them or drop these rows"),
    ({}, {"dst": [None, 3]}, r"edges\.dst holds 1 null \(first: null with 1\)"),
    ({}, {"src": [1, None]}, r"edges\.src holds 1 null \(first: null with 3\)"),
    ({"x": [[1.0, 2.0]] * 3 + [None] * 2}, {}, r"nodes\.x holds 2 nulls \(first: 4, 5\)"),
    ({"x": [[1.0, 2.0]] * 4 + [[1.0, None]]}, {}, r"nodes\.x holds 1 null \(first: 5\)"),
    (
        {"x": [[1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]]},
        {},
        r"nodes\.x holds arrays of different lengths: 2 in 4 rows, 3 in 1 row \(first: 5\); they must be the same",
    ),
    ({"x": [[1.0, 2.0]] * 4 + [[]]}, {}, r"2 in 4 rows, 0 in 1 row \(first: 5\)"),
    (
        {"x": [[1.0, float("nan")]] + [[1.0, 2.0]] * 4},
        {},
        r"nodes\.x holds NaN or infinite numbers in 1 row \(first: 1\)",
    ),
    ({"x": [[1.0, 1e39]] + [[1.0, 2.0]] * 4}, {}, r"nodes\.x holds NaN or infinite numbers in 1 row \(first: 1\)"),
    ({}, {"weight": [float("inf"), 1.0]}, r"edges\.weight holds NaN or infinite numbers in 1 row \(first: 1 -> 2\)"),
    ({}, {"weight": [None, 1.0]}, r"edges\.weight holds 1 null \(first: 1 -> 2\)"),
    ({}, {"attr": [[1.0], [1.0, 2.0]]}, r"edges\.attr holds arrays of different lengths"),
]


@pytest.mark.parametrize(("nodes", "edges", "words"), COMPLAINTS)
@pytest.mark.parametrize("flush", [1, 1000])
def test_complaints(
    nodes: dict[str, Any], edges: dict[str, Any], words: str, flush: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "FLUSH_ROWS", flush)
    monkeypatch.setattr("pipeline.preparing.in_memory.FLUSH_ROWS", flush)
    with pytest.raises(DataError, match=words):
        build(broken(nodes, edges), 3)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        build(broken({"id": [1, 2, 3, 3, 4], "x": [None, *[[1.0, 2.0]] * 4]}, {"dst": [77, 3]}), 3)
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["edges.dst", "nodes.id", "nodes.x"]


def test_only_three_examples() -> None:
    with pytest.raises(DataError, match=r"nodes\.id holds 5 ids more than once \(first: 1, 2, 3\)"):
        build(Tables(pa.table({"id": IDS * 2, "x": [[1.0]] * 10}), broken().edges), 3)


# ---- texts with the same hash


def always_one(texts: pa.Array, seed: int) -> np.ndarray:
    return np.ones(len(texts), np.int64)


def one_with_the_first_seed(texts: pa.Array, seed: int) -> np.ndarray:
    return always_one(texts, seed) if seed == 42 else text_keys(texts, seed)


def test_a_hash_shared_by_two_ids_is_an_error() -> None:
    graph = tables(["a", "b", "c"], [("a", "b")], pa.string())
    with pytest.raises(DataError, match=r"nodes\.id holds 3 ids with the 64-bit hash of another \(first: a, b, c\)"):
        build(graph, 3, text_hash=always_one)


def test_a_hash_shared_by_two_ids_is_tried_with_another_seed() -> None:
    built = build(text(), 3, text_hash=one_with_the_first_seed)
    assert nodes_of(built).keys() == nodes_of(build(text(), 3)).keys()
    assert Counter(edges_of(built)) == Counter(rows_of(text().edges))


def test_the_same_text_twice_is_a_duplicate_and_not_a_collision() -> None:
    graph = tables(["a", "b", "a"], [("a", "b")], pa.string())
    with pytest.raises(DataError) as caught:
        build(graph, 3)
    assert str(caught.value) == "nodes.id holds 1 id more than once (first: a); keep one row for each"


# ---- columns that cannot be used

UNUSABLE = [
    ({"id": "idd"}, r"nodes has no column 'idd'; did you mean 'id'\? \(id, x, age exist\)"),
    ({"features": "output"}, r"nodes has no column 'output'"),
    ({"src": "source"}, r"edges has no column 'source'"),
    ({"id": "age"}, r"nodes\.age is float; ids may be integers up to 64 bits, or strings"),
    ({"id": "x"}, r"nodes\.x is array<float>; ids may be"),
    ({"features": ["x", "age"]}, r"nodes\.x is array<float>; a list of columns may hold numbers only"),
    ({"dst": "name"}, r"edges\.src is bigint but edges\.name is string; both are node ids, of one type"),
    ({"edge_features": "name"}, r"edges\.name is string; values must be numbers or arrays of numbers"),
]


@pytest.mark.parametrize(("options", "words"), UNUSABLE)
def test_unusable_columns(options: dict[str, Any], words: str) -> None:
    graph = mixed()
    edges = graph.edges.append_column("name", graph.edges["src"].cast(pa.string()))
    with pytest.raises(DataError, match=words):
        build(Tables(graph.nodes, edges), 3, **options)


def test_ids_of_different_types() -> None:
    graph = Tables(text().nodes, mixed().edges)
    with pytest.raises(DataError, match=r"nodes\.id is string but edges\.src is bigint; ids must be integers in both"):
        build(graph, 3)


# ---- what a table may hold, and what of it is told


FEW = pa.table({"id": pa.array(["a", "b"]), "x": pa.array([[1.0], [2.0]], pa.list_(pa.float32()))})


def edge_table(src: pa.Array, dst: pa.Array, **columns: pa.Array) -> pa.Table:
    return pa.table({"src": src, "dst": dst, **columns})


def test_nulls_among_truths_are_told() -> None:
    edges = edge_table(pa.array(["a", "b"]), pa.array(["b", "a"]), w=pa.array([True, None]))
    with pytest.raises(DataError, match=r"edges\.w holds 1 null \(first: b -> a\); fill them or drop these rows"):
        blocks_from_tables(FEW, edges, edge_features=["w"])
    nodes = FEW.set_column(1, "x", pa.array([[True, None], [False, True]], pa.list_(pa.bool_())))
    with pytest.raises(DataError, match=r"nodes\.x holds 1 null \(first: a\)"):
        blocks_from_tables(nodes, edges.drop_columns("w"))


def not_utf8(*texts: bytes) -> pa.Array:
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts)))


def test_ids_that_are_no_utf8_are_told() -> None:
    nodes = FEW.append_column("name", not_utf8(b"a", b"\xff"))
    good = edge_table(pa.array(["a"]), pa.array(["b"]))
    with pytest.raises(DataError, match=r"nodes\.name holds 1 text not in UTF-8 \(first: .*\); store them in UTF-8"):
        blocks_from_tables(nodes, good, id="name")
    wrong = edge_table(not_utf8(b"a", b"\xe4", b"zoe"), not_utf8(b"\xff", b"\xff", b"a"))
    with pytest.raises(DataError) as caught:
        blocks_from_tables(FEW, wrong)
    assert "edges.src holds 1 text not in UTF-8" in str(caught.value)
    assert "edges.dst holds 2 texts not in UTF-8" in str(caught.value)
    assert "edges.src holds 1 id absent from the nodes (first: zoe)" in str(caught.value)


def test_long_ids_are_told_in_short() -> None:
    edges = edge_table(pa.array(["l" * 100_000]), pa.array(["b"]))
    with pytest.raises(DataError, match=r"\(first: l{100}…\)"):
        blocks_from_tables(FEW, edges)


def test_edges_that_are_computed_anew_need_not_name_what_was_wrong() -> None:
    finding = Finding("edges", "src", "dangling", 2, (17, 23))
    (spelled,) = name_texts([finding], lambda column, keys: {23: "b"})
    assert spelled.examples == ("b",)
    (nothing,) = name_texts([finding], lambda column, keys: {})
    assert nothing.examples == ()
