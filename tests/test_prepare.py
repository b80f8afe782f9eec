"""Tables to a stored graph, in this process and by tasks: the bits of one process, whatever the cut; nothing is left of
failures."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
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


def held(session: SparkSession | None, graph: Tables, parts: int = 2, **options: Any) -> Graph:
    """Of tables in memory; with a session, of DataFrames."""
    both: list[Any] = [graph.nodes, graph.edges]
    if session is not None:  # through pandas-free Arrow; an empty table has its types too
        both = [session.createDataFrame(table).repartition(parts) for table in both]
    return Graph(*both, **{**OPTIONS, **options})


def read_from(session: SparkSession | None, paths: tuple[str, str], **options: Any) -> Graph:
    """Of files; without a session this process reads them."""
    return Graph(*paths, spark=session or False, **{**OPTIONS, **options})


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


@pytest.fixture(params=["in this process", pytest.param("by tasks", marks=pytest.mark.with_spark)])
def session(request: pytest.FixtureRequest) -> SparkSession | None:
    """Both ways: None, and a session whose tasks do the work."""
    if request.param == "in this process":
        return None
    request.getfixturevalue("by_tasks")
    found: SparkSession = request.getfixturevalue("spark")
    return found


def each_way(names: tuple[str, ...], here: Sequence[Sequence[Any]], by_tasks: Sequence[Sequence[Any]]) -> Any:
    """Arguments in this process, and the few that tasks have too, which takes seconds. (tests/preparing/test_steps.py
    cuts all graphs by the same steps.)"""
    rows = [pytest.param("in this process", *values) for values in here]
    rows += [pytest.param("by tasks", *values, marks=pytest.mark.with_spark) for values in by_tasks]
    return pytest.mark.parametrize(("session", *names), rows, indirect=["session"])


FEW = (("mixed", True), ("text", False), ("empty", False))


# ---- the same blocks


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_blocks_are_those_of_one_process(tmp_path: Path, name: str, reverse: bool) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(Graph(*write(graph, tmp_path), **OPTIONS, reverse=reverse), f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, graph, reverse=reverse)
    assert (prepared.nodes, prepared.edges) == (len(graph.nodes), len(graph.edges))


@each_way(("name", "reverse"), list(itertools.product(GRAPHS, (False, True))), FEW)
def test_tables_in_memory_give_the_same_blocks(
    session: SparkSession | None, tmp_path: Path, name: str, reverse: bool
) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(held(session, graph, reverse=reverse), f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, graph, reverse=reverse)
    assert (prepared.nodes, prepared.edges) == (len(graph.nodes), len(graph.edges))


@each_way(("blocks",), [[1], [8], [17]], [[17]])
def test_any_number_of_blocks(session: SparkSession | None, tmp_path: Path, blocks: int) -> None:
    prepared = prepare(held(session, mixed()), f"{tmp_path}/graph", blocks=blocks)
    assert prepared.blocks == blocks
    assert_same(prepared, mixed())


def test_undirected(session: SparkSession | None, tmp_path: Path) -> None:
    graph = GRAPHS["self_loops"]()
    prepared = prepare(held(session, graph, undirected=True), f"{tmp_path}/graph", blocks=3)
    assert prepared.undirected
    assert (prepared.edges, prepared.manifest["totals"]["self_loops"]) == (40 + 2 * 39, 40)
    assert_same(prepared, graph, undirected=True)


@each_way(("name",), [["mixed"], ["text"], ["empty"]], [["mixed"], ["text"]])
def test_the_way_that_tables_come_does_not_matter(session: SparkSession | None, tmp_path: Path, name: str) -> None:
    """DataFrames, Parquet that workers read, CSV; in another order, and in other files."""
    graph = GRAPHS[name]()
    prints = [prepare(held(session, graph, parts), f"{tmp_path}/{parts}", 3).fingerprint for parts in (1, 5)]
    for files in (1, 4):
        read = read_from(session, write(graph.shuffled(files), tmp_path / f"tables {files}", files))
        assert read.nodes.pieces(["id", "x"])
        prints.append(prepare(read, f"{tmp_path}/read {files}", 3).fingerprint)
    assert len(set(prints)) == 1


def test_csv(session: SparkSession | None, tmp_path: Path) -> None:
    graph = mixed()
    nodes = graph.nodes.select(["id", "age"])
    pa.csv.write_csv(nodes, tmp_path / "nodes.csv")
    pa.csv.write_csv(graph.edges.select(["src", "dst", "weight"]), tmp_path / "edges.csv")
    options = {"features": ["age"], "edge_features": "weight"}
    source = read_from(session, (f"{tmp_path}/nodes.csv", f"{tmp_path}/edges.csv"), **options)
    prepared = prepare(source, f"{tmp_path}/g", 3)
    assert_same(prepared, graph, **options)
    assert prepared.manifest["sources"]["edges"] == {"path": f"{tmp_path}/edges.csv", "format": "csv"}


@pytest.mark.parametrize("read", [True, False])
def test_types_and_names_of_columns(session: SparkSession | None, tmp_path: Path, read: bool) -> None:
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
        source = read_from(session, write(Tables(nodes, edges), tmp_path / "tables"), **options)
    else:
        source = held(session, Tables(nodes, edges), **options)
    prepared = prepare(source, f"{tmp_path}/graph", blocks=3)
    assert_same(prepared, Tables(nodes, edges), **options)
    assert prepared.id_type == "smallint"


def test_other_array_types_become_float32(session: SparkSession | None, tmp_path: Path) -> None:
    decimals = pa.array([[Decimal("1.5"), Decimal("0.1")]] * 5, pa.list_(pa.decimal128(2, 1)))
    nodes = pa.table({"id": range(5), "x": pa.array([[id, 2] for id in range(5)]), "y": decimals})
    graph = Tables(nodes, pa.table({"src": [1], "dst": [2]}))
    source = held(session, graph, features={"x": "x", "y": "y"}, edge_features=())
    prepared = prepare(source, f"{tmp_path}/graph", blocks=1)
    features = prepared.block(0).features[NODE]
    assert features["x"].tolist() == [[float(i), 2.0] for i in range(5)]
    assert features["y"].tolist() == [np.float32([1.5, 0.1]).tolist()] * 5


def one_block(session: SparkSession | None, at: Path, name: str, read: bool) -> tuple[Graph, PreparedGraph]:
    graph = GRAPHS[name]()
    source = read_from(session, write(graph, at / "tables")) if read else held(session, graph)
    prepared = prepare(source, f"{at}/graph")
    assert prepared.blocks == 1
    assert_same(prepared, graph)
    return source, prepared


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_one_block(tmp_path: Path, name: str, read: bool) -> None:
    one_block(None, tmp_path, name, read)


@pytest.mark.parametrize(("name", "read"), FEW)
def test_tasks_make_the_same_manifest(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: bool
) -> None:
    """As this process, which first takes what Spark has."""
    source, prepared = one_block(spark, tmp_path, name, read)
    monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)
    by_tasks = prepare(source, f"{tmp_path}/by tasks", blocks=1)
    own = ("prepare", "asked_blocks")
    assert {**by_tasks.manifest, **dict.fromkeys(own)} == {**prepared.manifest, **dict.fromkeys(own)}


def test_more_rows_than_memory_has_room_for_wait_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spilled = []
    spill = Exchange._spill
    monkeypatch.setattr(Exchange, "_spill", lambda self: (spilled.append(1), spill(self)))
    graph = mixed()
    source = read_from(None, write(graph, tmp_path / "tables", 3))
    prepared = prepare(source, f"{tmp_path}/graph", blocks=3, task_memory=4000)
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


def test_the_manifest(session: SparkSession | None, tmp_path: Path) -> None:
    graph = GRAPHS["self_loops"]()
    paths = write(graph, tmp_path / "tables")
    prepared = prepare(read_from(session, paths), f"{tmp_path}/graph", blocks=3)
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
    assert prepared.manifest["sources"]["nodes"] == {"path": paths[0], "format": "parquet"}


def test_the_manifest_counts_what_may_be_pushed(session: SparkSession | None, tmp_path: Path) -> None:
    prepared = prepare(held(session, mixed(), reverse=True), f"{tmp_path}/graph", 3)
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


@each_way(("blocks",), [[3], [None]], [[3]])
def test_the_manifest_of_edges_in_both_directions(
    session: SparkSession | None, tmp_path: Path, blocks: int | None
) -> None:
    graph = GRAPHS["self_loops"]()
    prepared = prepare(held(session, graph, reverse=True), f"{tmp_path}/graph", blocks)
    assert prepared.schema == GraphSchema(
        {NODE: {"x": 5}}, {kind: {"weight": 1, "attr": 2} for kind in (EDGE, EDGE.reversed)}
    )
    assert prepared.manifest["reverse"]
    counts = prepared.manifest["edge_types"][str(EDGE.reversed)]
    tiles = [prepared.block(index).tiles[EDGE.reversed] for index in range(prepared.blocks)]
    assert counts["payload_rows_in"] == [sum(t.senders for s, t in mine.items() if s != LOOPS) for mine in tiles]
    assert prepared.edges == sum(tile.edges for mine in tiles for tile in mine.values()) == len(graph.edges)
    plain = prepare(held(session, graph), f"{tmp_path}/plain", prepared.blocks)
    assert plain.fingerprint != prepared.fingerprint
    for name in ("static_bytes", "sends_bytes"):
        more = prepared.manifest["totals"][name] - plain.manifest["totals"][name]
        assert 0 < more == sum(counts[name])


def test_no_edges_but_their_columns(session: SparkSession | None, tmp_path: Path) -> None:
    prepared = prepare(held(session, GRAPHS["isolated"]()), f"{tmp_path}/graph")
    assert prepared.blocks == 1
    assert prepared.schema.edges == {EDGE: {"weight": 1, "attr": 0}}


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    graph = mixed()
    other = graph.edges.set_column(2, "weight", pa.array([*graph.edges["weight"].to_pylist()[:-1], 7.5]))
    graphs = {"same": graph, "weight": Tables(graph.nodes, other), "edge": Tables(graph.nodes, graph.edges.slice(1))}
    prints = {name: prepare(held(None, g), f"{tmp_path}/{name}", 3).fingerprint for name, g in graphs.items()}
    assert len(set(prints.values())) == 3
    assert prepare(held(None, graph), f"{tmp_path}/other P", 2).fingerprint not in prints.values()


def test_it_is_opened_again_in_a_new_process(tmp_path: Path) -> None:
    prepared = prepare(held(None, text()), f"{tmp_path}/graph", blocks=3)
    code = (
        "import sys; from pipeline import open_graph; from pipeline.blocks.rows import *; g = open_graph(sys.argv[1]);"
        "print(g.fingerprint, g.schema.to_json(), [digest(static_rows(g.block(b))) for b in range(g.blocks)]);"
        "assert 'pyspark' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code, prepared.path], capture_output=True, text=True, check=True).stdout
    digests = [digest(static_rows(prepared.block(index))) for index in range(3)]
    assert out.strip() == f"{prepared.fingerprint} {prepared.schema.to_json()} {digests}"


def test_another_version_is_refused(tmp_path: Path) -> None:
    prepare(held(None, tables([1], [])), f"{tmp_path}/graph", blocks=1)
    manifest = json.loads((tmp_path / "graph" / "manifest.json").read_text())
    (tmp_path / "graph" / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))
    with pytest.raises(StorageError, match="version 0 of the format, but this is version 7; prepare it again"):
        open_graph(f"{tmp_path}/graph")


# ---- what goes wrong

WRONG = tables([1, 2, 3, 3], [(1, 2), (1, 77), (88, 2), (88, 78)])


@pytest.mark.parametrize("read", [True, False])
def test_all_that_is_wrong_is_told_and_nothing_is_left(
    session: SparkSession | None, tmp_path: Path, read: bool
) -> None:
    graph = read_from(session, write(WRONG, tmp_path / "tables")) if read else held(session, WRONG)
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


def test_nulls_and_numbers_that_are_none(session: SparkSession | None, tmp_path: Path) -> None:
    x = pa.array([[1.0, float("nan") if id == 4 else 1.0] for id in range(6)], pa.list_(pa.float32()))
    nodes = pa.table({"id": [0, 1, 2, None, 4, 5], "x": x, "y": [None, 1, 2, 3, 4, 5]})
    edges = pa.table({"src": [1, 2, 3, 4, 5], "dst": [1, 2, 3, 4, None], "w": [1.0, None, 1.0, 1.0, 1.0]})
    graph = held(session, Tables(nodes, edges), features={"x": "x", "y": ["y"]}, edge_features="w")
    with pytest.raises(DataError) as caught:
        prepare(graph, f"{tmp_path}/graph", blocks=3)
    assert "nodes.id holds 1 null; fill them" in str(caught.value)
    assert "nodes.x holds NaN or infinite numbers in 1 row (first: 4)" in str(caught.value)
    assert "nodes.y holds 1 null (first: 0)" in str(caught.value)
    assert "edges.dst holds 1 null (first: null with 5)" in str(caught.value)
    assert "edges.w holds 1 null (first: 2 -> 2)" in str(caught.value)


@each_way(("options",), [[{}], [{"features": {"y": "x"}}]], [[{}]])
def test_arrays_of_different_lengths(session: SparkSession | None, tmp_path: Path, options: Any) -> None:
    """Also if each block has one length only."""
    x = pa.array([[1.0] * (3 if id == 7 else 2) for id in range(10)], pa.list_(pa.float32()))
    graph = Tables(pa.table({"id": range(10), "x": x}), pa.table({"src": [1], "dst": [2]}))
    with pytest.raises(
        DataError, match=r"nodes\.x holds arrays of different lengths: 2 in 9 rows, 3 in 1 row \(first: 7\)"
    ):
        prepare(held(session, graph, edge_features=(), **options), f"{tmp_path}/graph", blocks=17)


def test_strangers_of_text_are_told_as_text(session: SparkSession | None, tmp_path: Path) -> None:
    strangers = tables([], [("nobody", "a"), ("a", "none ")], pa.string()).edges
    graph = Tables(text().nodes, pa.concat_tables([text().edges, strangers]))
    with pytest.raises(DataError) as caught:
        prepare(held(session, graph), f"{tmp_path}/graph", blocks=3)
    assert "edges.dst holds 1 id absent from the nodes (first: 'none ')" in str(caught.value)
    assert "edges.src holds 1 id absent from the nodes (first: nobody)" in str(caught.value)


@each_way(
    ("name", "blocks", "reverse"),
    list(itertools.product(("mixed", "text"), (3, None), (False, True))),
    [("mixed", None, False), ("text", 3, True)],
)
def test_strangers_are_dropped_on_demand(
    session: SparkSession | None, tmp_path: Path, name: str, blocks: int | None, reverse: bool
) -> None:
    graph = GRAPHS[name]()
    kind = graph.nodes.schema.field("id").type
    stranger, ids = "nobody" if kind == pa.string() else 4242, graph.nodes["id"].to_pylist()
    edges = [(stranger, name) for name in ids[:30]] + [(name, stranger) for name in ids[:20]] + [(stranger, stranger)]
    more = Tables(graph.nodes, pa.concat_tables([graph.edges, tables([], edges, kind).edges]))
    prepared = prepare(held(session, more, drop_dangling=True, reverse=reverse), f"{tmp_path}/graph", blocks)
    assert prepared.manifest["totals"]["dropped"] == 51
    without = prepare(held(session, graph, reverse=reverse), f"{tmp_path}/without", blocks)
    assert prepared.fingerprint == without.fingerprint
    assert_same(prepared, graph, reverse=reverse)


def test_hashes_that_meet(session: SparkSession | None, tmp_path: Path) -> None:
    """Functions made here travel by value: workers do not see the tests."""

    def always(texts: pa.Array, seed: int) -> np.ndarray:
        return np.ones(len(texts), np.int64)

    def at_first(texts: pa.Array, seed: int) -> np.ndarray:
        return np.ones(len(texts), np.int64) if seed == 42 else text_keys(texts, seed)

    graph = tables(["a", "b", "c"], [("a", "b")], pa.string())
    with pytest.raises(DataError, match=r"nodes\.id holds 3 ids with the 64-bit hash of another \(first: a, b, c\)"):
        prepare(held(session, graph), f"{tmp_path}/graph", blocks=3, text_hash=always)
    prepared = prepare(held(session, graph), f"{tmp_path}/graph", blocks=3, text_hash=at_first)
    ids = [name for index in range(3) for name in prepared.block(index).ids[NODE].to_pylist()]
    assert sorted(ids) == ["a", "b", "c"]


def test_what_exists_is_not_touched(session: SparkSession | None, tmp_path: Path) -> None:
    first = prepare(held(session, mixed()), f"{tmp_path}/graph", blocks=1)
    with pytest.raises(StorageError, match="exists already; give another path, or overwrite"):
        prepare(held(session, mixed()), f"{tmp_path}/graph", blocks=2)
    with pytest.raises(DataError, match="more than once"):
        prepare(held(session, WRONG), f"{tmp_path}/graph", blocks=2, overwrite=True)
    assert open_graph(f"{tmp_path}/graph").fingerprint == first.fingerprint
    assert prepare(held(session, mixed()), f"{tmp_path}/graph", blocks=2, overwrite=True).blocks == 2
    assert os.listdir(tmp_path) == ["graph"]


def test_a_path_that_tasks_do_not_share(spark: SparkSession, tmp_path: Path) -> None:
    path = f"{tmp_path}/out/graph"
    said = Handshake(False, 2, 1 << 30, 1, barred={path: ("a",)})
    with pytest.raises(StorageError, match=f"{path}: the tasks on host a do not share .* path that all machines share"):
        prepare(held(spark, mixed()), path, blocks=2, shake=said)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("tasks", [True, False])
def test_tables_that_vanish(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: bool) -> None:
    if tasks:
        monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)
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
    prepare(held(spark, mixed()), f"{tmp_path}/graph", blocks=2)
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


def test_no_blocks(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="blocks is 0; accepted: a whole number from 1, or auto"):
        prepare(held(None, mixed()), f"{tmp_path}/graph", blocks=0)


@pytest.mark.parametrize("read", [True, False])
def test_blocks_are_chosen_by_size(
    session: SparkSession | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool
) -> None:
    monkeypatch.setattr("pipeline.preparing.sizes.BLOCK_NODES", 100)
    graph = read_from(session, write(mixed(), tmp_path / "t")) if read else held(session, mixed())
    assert public(graph, f"{tmp_path}/graph").blocks == 3


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["mixed", "text"])
def test_across_processes(cluster: SparkSession, tmp_path: Path, name: str) -> None:
    graph = GRAPHS[name]()
    prepared = prepare(held(cluster, graph), f"{tmp_path}/graph", blocks=8)
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
