"""Tables through Spark to a stored graph: the bits of one process, whatever the cut; nothing is left of failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline import prepare as public
from pipeline.blocks.block import LOOPS
from pipeline.blocks.rows import PUSHES, digest, send_rows, static_rows
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.graph import Graph
from pipeline.places.marker import MARKER
from pipeline.prepare import SETTINGS, prepare
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.preparing.in_transit import Exchange
from pipeline.preparing.sizes import choose_blocks
from pipeline.preparing.work import Steps
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.spark.handshake import Handshake, handshake
from pipeline.tables.layout import text_keys
from tests.graphs import GRAPHS, Tables, mixed, tables, text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODULE = sys.modules["pipeline.prepare"]  # the package has a function of this name
FITS_IN_PROCESS = MODULE._fits_in_process
VALUES = ["weight", "attr"]
OPTIONS = {"edge_features": VALUES}


def frames(spark: SparkSession, graph: Tables, parts: int = 2, **options: Any) -> Graph:
    # through pandas-free Arrow; an empty table has its types too
    nodes, edges = (spark.createDataFrame(table).repartition(parts) for table in (graph.nodes, graph.edges))
    return Graph(nodes, edges, **{**OPTIONS, **options})


def write(graph: Tables, path: Path, files: int = 1) -> tuple[str, str]:
    """Both tables as directories of Parquet files."""
    for name, table in (("nodes", graph.nodes), ("edges", graph.edges)):
        (path / name).mkdir(parents=True)
        each = -(-max(len(table), 1) // files)
        for part in range(files):
            pq.write_table(table.slice(part * each, each), path / name / f"{part}.parquet", row_group_size=70)
    return f"{path}/nodes", f"{path}/edges"


def assert_same(prepared: PreparedGraph, graph: Tables, **options: Any) -> None:
    """The stored blocks are those that are made in one process, to the last bit."""
    expected = blocks_from_tables(graph.nodes, graph.edges, blocks=prepared.blocks, **{**OPTIONS, **options})
    for block in expected:
        stored = prepared.block(block.index)
        assert stored.ids[NODE].to_pylist() == block.ids[NODE].to_pylist()
        assert digest(static_rows(stored)) == digest(static_rows(block))
        assert digest(send_rows(stored)) == digest(send_rows(block))


@pytest.fixture
def by_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables on one machine are prepared in this process; but tasks are to do the same."""
    monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)


@pytest.fixture(params=["in this process", "by tasks"])
def way(request: pytest.FixtureRequest) -> None:
    if request.param == "by tasks":
        request.getfixturevalue("by_tasks")


both_ways = pytest.mark.usefixtures("way")
# through Spark as well, which takes seconds; tests/preparing/test_steps.py cuts them all
FEW = ("empty", "mixed", "text")


# ---- the same blocks


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_blocks_are_those_of_one_process(tmp_path: Path, name: str, reverse: bool) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(Graph(*write(graph, tmp_path), **OPTIONS, reverse=reverse), f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, graph, reverse=reverse)
    assert (prepared.nodes, prepared.edges) == (len(graph.nodes), len(graph.edges))


@both_ways
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", FEW)
def test_frames_give_the_same_blocks(spark: SparkSession, tmp_path: Path, name: str, reverse: bool) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(frames(spark, graph, reverse=reverse), f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, graph, reverse=reverse)
    assert (prepared.nodes, prepared.edges) == (len(graph.nodes), len(graph.edges))


@both_ways
@pytest.mark.parametrize("blocks", [1, 8, 17])
def test_any_number_of_blocks(spark: SparkSession, tmp_path: Path, blocks: int) -> None:
    prepared = prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=blocks)
    assert prepared.blocks == blocks
    assert_same(prepared, mixed())


@both_ways
def test_undirected(spark: SparkSession, tmp_path: Path) -> None:
    graph = GRAPHS["self_loops"]()
    prepared = prepare(frames(spark, graph, undirected=True), f"{tmp_path}/graph", blocks=3)
    assert prepared.undirected
    assert (prepared.edges, prepared.manifest["totals"]["self_loops"]) == (40 + 2 * 39, 40)
    assert_same(prepared, graph, undirected=True)


@both_ways
@pytest.mark.parametrize("name", ["mixed", "text", "empty"])
def test_the_way_that_tables_come_does_not_matter(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """DataFrames, Parquet that workers read, CSV; in another order, and in other files."""
    graph = GRAPHS[name]()
    prints = [prepare(frames(spark, graph, parts), f"{tmp_path}/{parts}", 3).fingerprint for parts in (1, 5)]
    for files in (1, 4):
        nodes, edges = write(graph.shuffled(files), tmp_path / f"tables {files}", files)
        read = Graph.read(spark, nodes, edges, **OPTIONS)
        assert read.nodes.pieces(["id", "x"])
        prints.append(prepare(read, f"{tmp_path}/read {files}", 3).fingerprint)
    assert len(set(prints)) == 1


@both_ways
def test_csv(spark: SparkSession, tmp_path: Path) -> None:
    graph = mixed()
    nodes = graph.nodes.select(["id", "age"])
    pa.csv.write_csv(nodes, tmp_path / "nodes.csv")
    pa.csv.write_csv(graph.edges.select(["src", "dst", "weight"]), tmp_path / "edges.csv")
    options = {"features": ["age"], "edge_features": "weight"}
    prepared = prepare(
        Graph.read(spark, f"{tmp_path}/nodes.csv", f"{tmp_path}/edges.csv", **options), f"{tmp_path}/g", 3
    )
    assert_same(prepared, graph, **options)
    assert prepared.manifest["sources"]["edges"] == {"path": f"{tmp_path}/edges.csv", "format": "csv"}


@both_ways
@pytest.mark.parametrize("read", [True, False])
def test_types_and_names_of_columns(spark: SparkSession, tmp_path: Path, read: bool) -> None:
    """Short integers, booleans, doubles, a name with a dot, one column twice."""
    graph = mixed()
    small = {name: at for at, name in enumerate(graph.nodes["id"].to_pylist())}
    nodes = pa.table(
        {
            "the.id": pa.array([small[name] for name in graph.nodes["id"].to_pylist()], pa.int16()),
            "wide": graph.nodes["x"].combine_chunks().cast(pa.list_(pa.float64())),
            "old": [age > 0 for age in graph.nodes["age"].to_pylist()],
            "number": pa.array(range(len(small)), pa.int32()),
        }
    )
    ends = {name: pa.array([small[x] for x in graph.edges[name].to_pylist()], pa.int32()) for name in ("src", "dst")}
    edges = pa.table({**ends, "weight": graph.edges["weight"]})
    options = {"id": "the.id", "features": {"x": "wide", "y": ["old", "number", "old"]}, "edge_features": ["weight"]}
    if read:
        source = Graph.read(spark, *write(Tables(nodes, edges), tmp_path / "tables"), **options)
    else:
        source = Graph(spark.createDataFrame(nodes), spark.createDataFrame(edges), **options)
    prepared = prepare(source, f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, Tables(nodes, edges), **options)
    assert prepared.id_type == "smallint"


@both_ways
def test_other_array_types_become_float32(spark: SparkSession, tmp_path: Path) -> None:
    nodes = spark.sql("select id, array(id, 2) x, array(1.5bd, 0.1bd) y from range(5)")
    edges = spark.sql("select 1L src, 2L dst")
    prepared = prepare(Graph(nodes, edges, features={"x": "x", "y": "y"}), f"{tmp_path}/graph", blocks=1)
    features = prepared.block(0).features[NODE]
    assert features["x"].tolist() == [[float(i), 2.0] for i in range(5)]
    assert features["y"].tolist() == [np.float32([1.5, 0.1]).tolist()] * 5


def one_block(spark: SparkSession, at: Path, name: str, read: bool) -> tuple[Graph, PreparedGraph]:
    graph = GRAPHS[name]()
    source = Graph.read(spark, *write(graph, at / "tables"), **OPTIONS) if read else frames(spark, graph)
    prepared = prepare(source, f"{at}/graph")
    assert prepared.blocks == 1
    assert_same(prepared, graph)
    return source, prepared


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_one_block(spark: SparkSession, tmp_path: Path, name: str, read: bool) -> None:
    one_block(spark, tmp_path, name, read)


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("name", FEW)
def test_tasks_make_the_same_manifest(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: bool
) -> None:
    source, prepared = one_block(spark, tmp_path, name, read)
    monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)
    by_tasks = prepare(source, f"{tmp_path}/by tasks", blocks=1)
    own = ("prepare", "asked_blocks")
    assert {**by_tasks.manifest, **dict.fromkeys(own)} == {**prepared.manifest, **dict.fromkeys(own)}


def test_more_rows_than_memory_has_room_for_wait_in_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled = []
    spill = Exchange._spill
    monkeypatch.setattr(Exchange, "_spill", lambda self: (spilled.append(1), spill(self)))
    graph = mixed()
    nodes, edges = write(graph, tmp_path / "tables", 3)
    prepared = prepare(Graph.read(spark, nodes, edges, **OPTIONS), f"{tmp_path}/graph", blocks=3, task_memory=4000)
    assert len(spilled) > 3
    assert_same(prepared, graph)
    assert sorted(os.listdir(prepared.folder)) == ["_graphsweep.json", "target=0", "target=1", "target=2"], "all gone"


def test_what_is_prepared_in_this_process() -> None:
    """Files of any size; what comes through the JVM only if it is small; nothing where tasks run elsewhere."""
    seen = {"nodes": [], "edges": []}
    local = handshake(None)
    assert FITS_IN_PROCESS(local, seen, None)
    assert FITS_IN_PROCESS(local, seen | {"edges": None}, (1000, 1000, 8))
    assert not FITS_IN_PROCESS(local, seen | {"edges": None}, (1000, 1 << 26, 8))
    assert not FITS_IN_PROCESS(replace(local, local=False), seen, None)


# ---- what is stored


@both_ways
def test_the_manifest(spark: SparkSession, tmp_path: Path) -> None:
    graph = GRAPHS["self_loops"]()
    nodes, edges = write(graph, tmp_path / "tables")
    prepared = prepare(Graph.read(spark, nodes, edges, **OPTIONS), f"{tmp_path}/graph", blocks=3)
    assert prepared.schema == GraphSchema({NODE: {"x": 5}}, {EDGE: {"weight": 1, "attr": 2}})
    blocks = [prepared.block(index) for index in range(3)]
    counts = prepared.manifest["per_block"]
    tiles = [block.tiles[EDGE] for block in blocks]
    assert counts["nodes"] == [block.nodes(NODE) for block in blocks]
    assert counts["edges"] == [sum(tile.edges for tile in mine.values()) for mine in tiles]
    assert counts["self_loops"] == [mine[LOOPS].edges if LOOPS in mine else 0 for mine in tiles]
    assert counts["payload_rows_own"] == [mine[i].senders if i in mine else 0 for i, mine in enumerate(tiles)]
    assert counts["payload_rows_in"] == [sum(t.senders for s, t in mine.items() if s != LOOPS) for mine in tiles]
    sends = [block.sends[EDGE] for block in blocks]
    assert counts["payload_rows_out"] == [sum(len(k) for t, k in mine.items() if t != LOOPS) for mine in sends]
    assert prepared.manifest["totals"]["max_in_degree"] == 3
    assert prepared.manifest["totals"]["edges"] == len(graph.edges)
    assert prepared.manifest["columns"]["edges"] == {
        "ids": ["src", "dst"],
        "values": {"weight": ["weight"], "attr": ["attr"]},
    }
    assert prepared.manifest["sources"]["nodes"] == {"path": nodes, "format": "parquet"}


@both_ways
def test_the_manifest_counts_what_may_be_pushed(spark: SparkSession, tmp_path: Path) -> None:
    prepared = prepare(frames(spark, mixed(), reverse=True), f"{tmp_path}/graph", 3)
    blocks = [prepared.block(index) for index in range(3)]
    for kind in (EDGE, EDGE.reversed):
        counts = prepared.manifest["edge_types"][str(kind)]
        pulled = [
            sum(len(b.sends[kind][at][: b.pulled[kind].get(at)]) for b in blocks if at in b.sends[kind])
            for at in range(3)
        ]
        pushed = [sum(len(b.pushes[kind][at].rows) for b in blocks if at in b.pushes[kind]) for at in range(3)]
        assert counts["payload_rows_pulled"] == pulled
        assert counts["payload_rows_pushed"] == pushed
        assert 0 < sum(pulled) < sum(counts["payload_rows_in"])
        assert sum(pushed) > 0
        stored = [[row for row in send_rows(block) if row.kind in PUSHES] for block in blocks]
        assert counts["push_bytes"] == [
            sum(len(row.data) for row in rows if row.name.startswith(str(kind))) for rows in stored
        ]


@both_ways
@pytest.mark.parametrize("blocks", [3, None])
def test_the_manifest_of_edges_in_both_directions(spark: SparkSession, tmp_path: Path, blocks: int | None) -> None:
    graph = GRAPHS["self_loops"]()
    prepared = prepare(frames(spark, graph, reverse=True), f"{tmp_path}/graph", blocks)
    assert prepared.schema == GraphSchema(
        {NODE: {"x": 5}}, {kind: {"weight": 1, "attr": 2} for kind in (EDGE, EDGE.reversed)}
    )
    assert prepared.manifest["reverse"]
    counts = prepared.manifest["edge_types"][str(EDGE.reversed)]
    tiles = [prepared.block(index).tiles[EDGE.reversed] for index in range(prepared.blocks)]
    assert counts["payload_rows_in"] == [sum(t.senders for s, t in mine.items() if s != LOOPS) for mine in tiles]
    assert prepared.edges == sum(tile.edges for mine in tiles for tile in mine.values()) == len(graph.edges)
    plain = prepare(frames(spark, graph), f"{tmp_path}/plain", prepared.blocks)
    assert plain.fingerprint != prepared.fingerprint
    for name in ("static_bytes", "sends_bytes"):
        more = prepared.manifest["totals"][name] - plain.manifest["totals"][name]
        assert 0 < more == sum(counts[name])


@both_ways
def test_no_edges_but_their_columns(spark: SparkSession, tmp_path: Path) -> None:
    prepared = prepare(frames(spark, GRAPHS["isolated"]()), f"{tmp_path}/graph")
    assert prepared.blocks == 1
    assert prepared.schema.edges == {EDGE: {"weight": 1, "attr": 0}}


def test_the_fingerprint_is_of_the_content(spark: SparkSession, tmp_path: Path) -> None:
    graph = mixed()
    other = graph.edges.set_column(2, "weight", pa.array([*graph.edges["weight"].to_pylist()[:-1], 7.5]))
    graphs = {"same": graph, "weight": Tables(graph.nodes, other), "edge": Tables(graph.nodes, graph.edges.slice(1))}
    prints = {name: prepare(frames(spark, g), f"{tmp_path}/{name}", 3).fingerprint for name, g in graphs.items()}
    assert len(set(prints.values())) == 3
    assert prepare(frames(spark, graph), f"{tmp_path}/other P", 2).fingerprint not in prints.values()


def test_it_is_opened_again_in_a_new_process(spark: SparkSession, tmp_path: Path) -> None:
    prepared = prepare(frames(spark, text()), f"{tmp_path}/graph", blocks=3)
    code = (
        "import sys; from pipeline import open_graph; from pipeline.blocks.rows import *; g = open_graph(sys.argv[1]);"
        "print(g.fingerprint, g.schema.to_json(), [digest(static_rows(g.block(b))) for b in range(g.blocks)]);"
        "assert 'pyspark' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code, prepared.path], capture_output=True, text=True, check=True).stdout
    digests = [digest(static_rows(prepared.block(index))) for index in range(3)]
    assert out.strip() == f"{prepared.fingerprint} {prepared.schema.to_json()} {digests}"


def test_another_version_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    prepare(frames(spark, tables([1], [])), f"{tmp_path}/graph", blocks=1)
    manifest = json.loads((tmp_path / "graph" / "manifest.json").read_text())
    (tmp_path / "graph" / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))
    with pytest.raises(StorageError, match="version 0 of the format, but this is version 7; prepare it again"):
        open_graph(f"{tmp_path}/graph")


# ---- what goes wrong

WRONG = tables([1, 2, 3, 3], [(1, 2), (1, 77), (88, 2), (88, 78)])


@both_ways
@pytest.mark.parametrize("read", [True, False])
def test_all_that_is_wrong_is_told_and_nothing_is_left(spark: SparkSession, tmp_path: Path, read: bool) -> None:
    graph = Graph.read(spark, *write(WRONG, tmp_path / "tables"), **OPTIONS) if read else frames(spark, WRONG)
    with pytest.raises(DataError) as caught:
        prepare(graph, f"{tmp_path}/out/deep/graph", blocks=3)
    assert str(caught.value).splitlines() == [
        "edges.dst holds 2 ids absent from the nodes (first: 77, 78); "
        "add these nodes, or leave their edges out with drop_dangling=True",
        "edges.src holds 1 id absent from the nodes (first: 88); "
        "add these nodes, or leave their edges out with drop_dangling=True",
        "nodes.id holds 1 id more than once (first: 3); keep one row for each",
    ]
    assert not (tmp_path / "out").exists()


@both_ways
def test_nulls_and_numbers_that_are_none(spark: SparkSession, tmp_path: Path) -> None:
    nodes = spark.sql(
        "select if(id = 3, null, id) id, array(1.0f, if(id = 4, 'NaN', 1.0)) x, nullif(id, 0) y from range(6)"
    )
    edges = spark.sql("select id src, if(id = 5, null, id) dst, if(id = 2, null, 1.0d) w from range(1, 6)")
    graph = Graph(nodes, edges, features={"x": "x", "y": ["y"]}, edge_features="w")
    with pytest.raises(DataError) as caught:
        prepare(graph, f"{tmp_path}/graph", blocks=3)
    assert "nodes.id holds 1 null; fill them" in str(caught.value)
    assert "nodes.x holds NaN or infinite numbers in 1 row (first: 4)" in str(caught.value)
    assert "nodes.y holds 1 null (first: 0)" in str(caught.value)
    assert "edges.dst holds 1 null (first: null with 5)" in str(caught.value)
    assert "edges.w holds 1 null (first: 2 -> 2)" in str(caught.value)


@both_ways
@pytest.mark.parametrize("options", [{}, {"features": {"y": "x"}}])
def test_arrays_of_different_lengths(spark: SparkSession, tmp_path: Path, options: Any) -> None:
    """Also if each block has one length only."""
    nodes = spark.sql("select id, array_repeat(1.0f, if(id = 7, 3, 2)) x from range(10)")
    with pytest.raises(
        DataError, match=r"nodes\.x holds arrays of different lengths: 2 in 9 rows, 3 in 1 row \(first: 7\)"
    ):
        prepare(Graph(nodes, spark.sql("select 1L src, 2L dst"), **options), f"{tmp_path}/graph", blocks=17)


@both_ways
def test_strangers_of_text_are_told_as_text(spark: SparkSession, tmp_path: Path) -> None:
    strangers = tables([], [("nobody", "a"), ("a", "none ")], pa.string()).edges
    graph = Tables(text().nodes, pa.concat_tables([text().edges, strangers]))
    with pytest.raises(DataError) as caught:
        prepare(frames(spark, graph), f"{tmp_path}/graph", blocks=3)
    assert "edges.dst holds 1 id absent from the nodes (first: 'none ')" in str(caught.value)
    assert "edges.src holds 1 id absent from the nodes (first: nobody)" in str(caught.value)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("blocks", [3, None])
@pytest.mark.parametrize("name", ["mixed", "text"])
def test_strangers_are_dropped_on_demand(
    spark: SparkSession, tmp_path: Path, name: str, blocks: int | None, reverse: bool
) -> None:
    graph = GRAPHS[name]()
    kind = graph.nodes.schema.field("id").type
    stranger, ids = "nobody" if kind == pa.string() else 4242, graph.nodes["id"].to_pylist()
    edges = [(stranger, name) for name in ids[:30]] + [(name, stranger) for name in ids[:20]] + [(stranger, stranger)]
    more = Tables(graph.nodes, pa.concat_tables([graph.edges, tables([], edges, kind).edges]))
    prepared = prepare(frames(spark, more, drop_dangling=True, reverse=reverse), f"{tmp_path}/graph", blocks)
    assert prepared.manifest["totals"]["dropped"] == 51
    without = prepare(frames(spark, graph, reverse=reverse), f"{tmp_path}/without", blocks)
    assert prepared.fingerprint == without.fingerprint
    assert_same(prepared, graph, reverse=reverse)


@pytest.mark.usefixtures("by_tasks")
@pytest.mark.parametrize(("name", "blocks", "reverse"), [("mixed", None, False), ("text", 3, True)])
def test_tasks_drop_strangers(
    spark: SparkSession, tmp_path: Path, name: str, blocks: int | None, reverse: bool
) -> None:
    test_strangers_are_dropped_on_demand(spark, tmp_path, name, blocks, reverse)


@both_ways
def test_hashes_that_meet(spark: SparkSession, tmp_path: Path) -> None:
    """Functions made here travel by value: workers do not see the tests."""

    def always(texts: pa.Array, seed: int) -> np.ndarray:
        return np.ones(len(texts), np.int64)

    def at_first(texts: pa.Array, seed: int) -> np.ndarray:
        return np.ones(len(texts), np.int64) if seed == 42 else text_keys(texts, seed)

    graph = tables(["a", "b", "c"], [("a", "b")], pa.string())
    with pytest.raises(DataError, match=r"nodes\.id holds 3 ids with the 64-bit hash of another \(first: a, b, c\)"):
        prepare(frames(spark, graph), f"{tmp_path}/graph", blocks=3, text_hash=always)
    prepared = prepare(frames(spark, graph), f"{tmp_path}/graph", blocks=3, text_hash=at_first)
    ids = [name for index in range(3) for name in prepared.block(index).ids[NODE].to_pylist()]
    assert sorted(ids) == ["a", "b", "c"]


@both_ways
def test_what_exists_is_not_touched(spark: SparkSession, tmp_path: Path) -> None:
    first = prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=1)
    with pytest.raises(StorageError, match="exists already; give another path, or overwrite"):
        prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=2)
    with pytest.raises(DataError, match="more than once"):
        prepare(frames(spark, WRONG), f"{tmp_path}/graph", blocks=2, overwrite=True)
    assert open_graph(f"{tmp_path}/graph").fingerprint == first.fingerprint
    assert prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=2, overwrite=True).blocks == 2
    assert os.listdir(tmp_path) == ["graph"]


def test_a_path_that_tasks_do_not_share(spark: SparkSession, tmp_path: Path) -> None:
    path = f"{tmp_path}/out/graph"
    said = Handshake(False, 2, 1 << 30, 1, barred={path: ("a",)})
    with pytest.raises(StorageError, match=f"{path}: the tasks on host a do not share .* path that all machines share"):
        prepare(frames(spark, mixed()), path, blocks=2, shake=said)
    assert os.listdir(tmp_path) == []


@both_ways
def test_tables_that_vanish(spark: SparkSession, tmp_path: Path) -> None:
    nodes, edges = write(mixed(), tmp_path / "tables")
    graph = Graph(spark.read.parquet(nodes), spark.read.parquet(edges))
    (tmp_path / "tables" / "nodes" / "0.parquet").write_bytes(b"PAR1 garbage PAR1")
    with pytest.raises(StorageError, match=r"a table cannot be read: \[FAILED_READ_FILE") as caught:
        prepare(graph, f"{tmp_path}/graph", blocks=2)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["tables"]


@pytest.mark.usefixtures("by_tasks")
def test_the_session_is_left_as_it_was(spark: SparkSession, tmp_path: Path) -> None:
    before = {key: spark.conf.get(key) for key in SETTINGS}
    prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=2)
    assert {key: spark.conf.get(key) for key in SETTINGS} == before


# ---- how many blocks


def test_the_choice_of_blocks() -> None:
    assert choose_blocks(0, 0, 0) == 1
    assert choose_blocks(100_000, 1_000_000, 64, cores=16) == 1
    assert choose_blocks(200_000, 1_000_000, 64) == 2
    assert choose_blocks(200_000, 1_000_000, 64, cores=16) == 16
    assert choose_blocks(1 << 20, 1 << 24, 64, cores=2) == 8
    assert choose_blocks(500_000_000, 20_000_000_000, 1, task_memory=64 << 30) == 256
    assert choose_blocks(500_000_000, 20_000_000_000, 64, task_memory=2 << 30) > 600


def test_no_blocks(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="blocks is 0; accepted: a whole number from 1, or auto"):
        prepare(frames(spark, mixed()), f"{tmp_path}/graph", blocks=0)


@both_ways
@pytest.mark.parametrize("read", [True, False])
def test_blocks_are_chosen_by_size(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool
) -> None:
    monkeypatch.setattr("pipeline.preparing.sizes.BLOCK_NODES", 100)
    graph = Graph.read(spark, *write(mixed(), tmp_path / "t"), **OPTIONS) if read else frames(spark, mixed())
    assert public(graph, f"{tmp_path}/graph").blocks == 3


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["mixed", "text"])
def test_across_processes(cluster: SparkSession, tmp_path: Path, name: str) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(frames(cluster, graph), f"{tmp_path}/graph", blocks=8)
    assert_same(prepared, graph)


@pytest.mark.parametrize("by_pieces", [True, False])
def test_with_a_work_directory_in_a_session(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pieces: bool
) -> None:
    """The driver ends in each step, and the next one goes on: tasks have kept what is done. Of tables that come through
    Spark too; and a process without Spark ends it."""
    monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)
    if not by_pieces:
        monkeypatch.setattr(MODULE, "pieces_of", lambda *_: None)
    paths = write(mixed(), tmp_path / "t", files=2)
    graph, noted = Graph.read(spark, *paths, **OPTIONS), []
    note = Steps.note

    def stopped(self: Steps, step: str, written: Any) -> None:
        note(self, step, written)
        noted.append(step)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(Steps, "note", stopped)
            with pytest.raises(KeyboardInterrupt):
                prepare(graph, tmp_path / "graph", 3, work_dir=tmp_path / "work")
    assert noted == ["pack", "build"]
    if by_pieces:
        monkeypatch.undo()
    assert_same(prepare(graph, tmp_path / "graph", 3, work_dir=tmp_path / "work"), mixed())
    assert os.listdir(tmp_path / "work") == [MARKER]
    assert len(os.listdir(tmp_path / "graph")) == 2
