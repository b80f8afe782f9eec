"""Blocks by a column of the node table: what belongs together lies together, and nothing else changes."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import dataset
from typer.testing import CliRunner

from pipeline import Graph, cli, explain, infer, open_graph, prepare, score, verify
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.kernels.hash import blocks_of
from pipeline.prepared import PreparedGraph
from pipeline.preparing import by_column, weighing
from pipeline.preparing.communities import packed
from pipeline.tables.layout import text_keys
from tests import typed_tables
from tests.bits import by_id
from tests.formulas import WIDTH, build

pytestmark = pytest.mark.usefixtures("no_session")

COMMUNITIES = 12


def tables(text: bool = False) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Nodes with a column `region`, edges that mostly stay within one; the region of each node."""
    rng = np.random.default_rng(11)
    region = rng.integers(0, COMMUNITIES, 600) ** 2 // 4  # of different sizes
    members = {name: np.flatnonzero(region == name) for name in np.unique(region)}
    src = rng.integers(0, 600, 5000)
    near = np.array([rng.choice(members[region[node]]) for node in src])
    dst = np.where(rng.random(5000) < 0.9, near, rng.integers(0, 600, 5000))
    dst[:50] = src[:50]
    ids = rng.permutation(10_000)[:600] - 5000
    named: Any = [f"é{number}" for number in ids] if text else ids
    called = pa.array([f"r {name}" for name in region]) if text else pa.array(region, pa.int16())
    nodes = pa.table({"id": named, "x": list(rng.normal(size=(600, WIDTH)).astype(np.float32)), "region": called})
    ends = nodes["id"].combine_chunks()
    edges = pa.table({"src": ends.take(pa.array(src)), "dst": ends.take(pa.array(dst)), "weight": rng.random(5000)})
    return nodes, edges, region


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(pa.array(np.random.default_rng(seed).permutation(len(table))))


def homes(graph: PreparedGraph, type: str = "node") -> dict[Any, int]:
    """Id → block."""
    return {id: block for block in range(graph.blocks) for id in graph.block(block).ids[type].to_pylist()}


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_one_community_is_in_one_block(tmp_path: Path, blocks: int, text: bool) -> None:
    nodes, edges, _ = tables(text)
    made = prepare(Graph(nodes, edges), tmp_path / "g", blocks, blocks_by="region")
    found = homes(made)
    assert found.keys() == set(nodes["id"].to_pylist())
    of_region: dict[Any, set[int]] = defaultdict(set)
    for id, region in zip(nodes["id"].to_pylist(), nodes["region"].to_pylist(), strict=True):
        of_region[region].add(found[id])
    assert all(len(blocks) == 1 for blocks in of_region.values())
    # heaviest first, into the lightest block, counted again in plain Python
    region = dict(zip(nodes["id"].to_pylist(), nodes["region"].to_pylist(), strict=True))
    work = dict(Counter(region.values()))
    for end in edges["dst"].to_pylist():
        work[region[end]] += 1
    loads, expected = [0] * blocks, {}
    for name in sorted(work, key=lambda name: (-work[name], name)):
        expected[name] = loads.index(min(loads))
        loads[expected[name]] += work[name]
    assert {name: {block} for name, block in expected.items()} == of_region
    facts = made.manifest["communities"]
    assert facts["count"] == len(work)
    assert made.manifest["blocks_by"] == {"node": "region"}


def test_the_numbers_are_those_of_the_model(tmp_path: Path) -> None:
    nodes, edges, _ = tables()
    model, raw = build("graph_norm"), Graph(nodes, edges)
    by_hash = prepare(raw, tmp_path / "hash", 5)
    made = prepare(raw, tmp_path / "g", 5, blocks_by="region")
    score(made, model, tmp_path / "scores")
    assert verify(made, model, tmp_path / "scores", nodes, edges, sample="all").passed
    scores, other = (infer(graph, model).sort_by("id") for graph in (made, by_hash))
    a, b = (np.array(table["output"].to_pylist()) for table in (scores, other))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    some = nodes["id"].to_pylist()[:40]
    of_some = by_id(infer(made, model, targets=some))
    assert of_some == {id: row for id, row in by_id(scores).items() if id in set(some)}


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    """However they are ordered, and whoever prepares."""
    nodes, edges, _ = tables(text=True)
    made = prepare(Graph(nodes, edges), tmp_path / "a", 4, blocks_by="region")
    again = prepare(Graph(shuffled(nodes, 1), shuffled(edges, 2)), tmp_path / "b", 4, blocks_by="region")
    assert again.fingerprint == made.fingerprint
    assert prepare(Graph(nodes, edges), tmp_path / "c", 4).fingerprint != made.fingerprint
    pq.write_table(nodes, tmp_path / "nodes.parquet")
    pq.write_table(edges, tmp_path / "edges.parquet")
    files = Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet")
    stepped = prepare(files, tmp_path / "d", 4, work_dir=tmp_path / "work", blocks_by="region")
    assert stepped.fingerprint == made.fingerprint
    same = prepare(files, tmp_path / "d", 4, if_same="skip", blocks_by="region")
    assert same.manifest["prepare"] == stepped.manifest["prepare"]
    with pytest.raises(StorageError, match=r"blocks by was .*region.*, now auto"):
        prepare(files, tmp_path / "d", 4, if_same="skip")
    # what tasks read while they prepare, and a killed prepare leaves, is known to be ours
    (tmp_path / "d" / Path(stepped.folder).name / ".communities-0").write_bytes(b"killed")
    assert prepare(files, tmp_path / "d", 4, overwrite=True, blocks_by="region").fingerprint == made.fingerprint
    left = {path.name for path in (tmp_path / "d").rglob("*") if path.is_file()}
    assert left == {"manifest.json", "_graphsweep.json", "static.parquet", "sends.parquet"}


@pytest.mark.parametrize("options", [{}, {"undirected": True}, {"reverse": True}], ids=["", "undirected", "reverse"])
def test_what_hashing_would_send(tmp_path: Path, options: dict[str, bool]) -> None:
    """To the row, of a graph that is counted whole: a prepared graph by hash tells it."""
    nodes, edges, _ = tables()
    raw = Graph(nodes, edges, **options)
    made = prepare(raw, tmp_path / "g", 8, blocks_by="region")
    counts = prepare(raw, tmp_path / "hash", 8).manifest["edge_types"].values()
    by_hash = sum(sum(each["payload_rows_in"]) for each in counts)
    facts = made.manifest["communities"]
    assert facts["rows_by_hash"] == by_hash
    assert not facts["estimated"]
    assert facts["rows"] == sum(sum(each["payload_rows_in"]) for each in made.manifest["edge_types"].values())
    assert facts["rows"] < by_hash / 2
    said = " ".join(explain(made, build("sage")).split())
    assert (
        f"blocks by region: {facts['count']} values; an exchange over all edges sends {facts['rows']:,} rows, "
        f"{facts['rows_own']:,} of them to their own block, where blocks by the hash of ids would send {by_hash:,}"
    ) in said
    assert "region" in repr(made)
    assert made.facts["communities"] == facts


def test_of_many_edges_some_nodes_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, edges, _ = tables()
    whole_count = prepare(Graph(nodes, edges), tmp_path / "g", 8, blocks_by="region").manifest["communities"]
    monkeypatch.setattr(weighing, "SAMPLED_EDGES", 1300)
    some = prepare(Graph(nodes, edges), tmp_path / "some", 8, blocks_by="region")
    facts = some.manifest["communities"]
    assert facts["estimated"]
    assert facts["rows_by_hash"] % 4 == 0
    assert 0.8 < facts["rows_by_hash"] / whole_count["rows_by_hash"] < 1.25
    assert f"would send about {facts['rows_by_hash']:,}" in " ".join(explain(some, build("sage")).split())


def test_types_share_their_communities(tmp_path: Path) -> None:
    nodes, edges = typed_tables.tables()
    options = {"features": typed_tables.FEATURES, "edge_features": typed_tables.EDGE_FEATURES}
    rng = np.random.default_rng(2)
    regions = {name: rng.integers(0, 9, len(table)) for name, table in nodes.items()}
    column = {name: "region" if name == typed_tables.CARD else "area" for name in nodes}
    nodes = {name: table.append_column(column[name], pa.array(regions[name])) for name, table in nodes.items()}
    made = prepare(Graph(nodes, edges, **options), tmp_path / "g", 3, blocks_by=column)
    of_region: dict[int, set[int]] = defaultdict(set)
    for name, table in nodes.items():
        found = homes(made, name)
        for id, region in zip(table["id"].to_pylist(), regions[name], strict=True):
            of_region[region].add(found[id])
    assert all(len(blocks) == 1 for blocks in of_region.values())
    score(made, typed_tables.model(), tmp_path / "scores")
    wanted = typed_tables.answers(nodes, edges)
    for type, output in (("account", "output"), (typed_tables.CARD, "card"), ("__shop__", "shop")):
        rows = pa.concat_tables(map(pq.read_table, (tmp_path / "scores").rglob(f"*{type.strip('_')[:4]}*/*.parquet")))
        for id, row in zip(rows["id"].to_pylist(), rows[output].to_pylist(), strict=True):
            np.testing.assert_allclose(row, wanted[output][id], rtol=1e-4, atol=1e-5)
    counts = prepare(Graph(nodes, edges, **options), tmp_path / "hash", 3).manifest["edge_types"].values()
    assert made.manifest["communities"]["rows_by_hash"] == sum(sum(each["payload_rows_in"]) for each in counts)


def test_two_texts_of_one_key(tmp_path: Path) -> None:
    """Another seed tells them apart, and their communities too."""
    nodes, edges, _ = tables(text=True)

    def colliding(texts: pa.Array, seed: int) -> np.ndarray:
        keys = text_keys(texts, seed)
        if seed == 42:
            keys[np.array(pc.is_in(texts, pa.array(nodes["id"].to_pylist()[:2])))] = 7
        return keys

    made = prepare(Graph(nodes, edges), tmp_path / "g", 4, text_hash=colliding, blocks_by="region")
    found = homes(made)
    assert len(found) == 600
    of_region = defaultdict(set)
    for id, region in zip(nodes["id"].to_pylist(), nodes["region"].to_pylist(), strict=True):
        of_region[region].add(found[id])
    assert all(len(blocks) == 1 for blocks in of_region.values())


def test_edges_without_ends_are_found_out_as_ever(tmp_path: Path) -> None:
    nodes, edges, _ = tables()
    with pytest.raises(DataError, match=r"edges\.src holds .* absent from the nodes"):
        prepare(Graph(nodes.slice(3), edges), tmp_path / "g", 4, blocks_by="region")
    assert not (tmp_path / "g").exists()
    dropped = Graph(nodes.slice(3), edges, drop_dangling=True)
    made = prepare(dropped, tmp_path / "g", 4, blocks_by="region")
    by_hash = prepare(dropped, tmp_path / "hash", 4)
    assert made.edges == by_hash.edges < 5000
    assert made.manifest["communities"]["rows_by_hash"] == by_hash.manifest["totals"]["payload_rows_in"]


def test_how_many_blocks(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, edges, _ = tables()
    count = len(nodes["region"].unique())
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "choose_blocks", lambda *_: 50)
    assert prepare(Graph(nodes, edges), tmp_path / "a", blocks_by="region").blocks == count
    made = prepare(Graph(nodes, edges), tmp_path / "b", 20, blocks_by="region")
    assert made.blocks == 20
    assert f"there are {count} values in 20 blocks: some stay empty" in caplog.text
    # as many more as memory asks for
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "choose_blocks", lambda *_: 2)
    biggest = max(made.manifest["per_block"]["nodes"]), max(made.manifest["per_block"]["edges"])
    memory = 3 * (40 * biggest[0] + 16 * biggest[1]) + 1000
    more = prepare(Graph(nodes, edges), tmp_path / "c", task_memory=memory, blocks_by="region")
    assert 2 < more.blocks <= count


def test_the_heaviest_goes_first() -> None:
    loads = np.bincount(packed(np.array([7, 6, 5, 5, 4, 3]), 3), [7, 6, 5, 5, 4, 3])
    assert loads.tolist() == [10, 10, 10]
    assert packed(np.array([2, 2, 2, 2]), 2).tolist() == [0, 1, 0, 1]
    assert packed(np.array([], np.int64), 3).tolist() == []


def test_a_csv_column(tmp_path: Path) -> None:
    nodes, edges, _ = tables()
    flat = pa.table({"id": nodes["id"], "a": np.arange(600.0), "region": nodes["region"]})
    pa_csv.write_csv(flat, tmp_path / "nodes.csv")
    pa_csv.write_csv(edges, tmp_path / "edges.csv")
    given = ["prepare", "--nodes", f"{tmp_path}/nodes.csv", "--edges", f"{tmp_path}/edges.csv", "--features", "a"]
    done = CliRunner().invoke(
        cli.app, [*given, "--output", f"{tmp_path}/g", "--blocks", "3", "--blocks-by", "region", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["blocks_by"] == {"node": "region"}
    done = CliRunner().invoke(cli.app, [*given, "--output", f"{tmp_path}/no", "--blocks-by", "regin"])
    assert done.exit_code == 2
    assert "--blocks-by: the node table has no column 'regin'; did you mean 'region'?" in done.output
    found = homes(open_graph(tmp_path / "g"))
    blocks = [{found[id] for id in flat.filter(pc.equal(flat["region"], one))["id"].to_pylist()} for one in (0, 1, 2)]
    assert [len(each) for each in blocks] == [1, 1, 1]


def test_tables_in_memory_that_hold_more_than_was_wanted(tmp_path: Path) -> None:
    """pandas and datasets give only the columns that are asked for."""
    nodes, edges, _ = tables(text=True)
    wanted = prepare(Graph(nodes, edges), tmp_path / "a", 3, blocks_by="region")
    frame = nodes.to_pandas()
    frame["what"] = [object()] * len(frame)
    assert prepare(Graph(frame, edges), tmp_path / "b", 3, blocks_by="region").fingerprint == wanted.fingerprint
    pq.write_table(nodes, tmp_path / "nodes.parquet")
    rows = dataset(tmp_path / "nodes.parquet")
    assert prepare(Graph(rows, edges), tmp_path / "c", 3, blocks_by="region").fingerprint == wanted.fingerprint
    with pytest.raises(DataError, match="the node table has no column 'regin'; did you mean 'region'"):
        prepare(Graph(frame, edges), tmp_path / "d", 3, blocks_by="regin")
    frame["region"] = [1.0, None] * 300
    with pytest.raises(DataError, match=r"nodes\.region is double"):
        prepare(Graph(frame, edges), tmp_path / "d", 3, blocks_by="region")


def test_what_cannot_be_used_is_said_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, edges, region = tables()
    raw = Graph(nodes, edges)

    def refused(kind: type[Exception], match: str, graph: Graph = raw, by: Any = "region", **options: Any) -> None:
        with pytest.raises(kind, match=match):
            prepare(graph, tmp_path / "g", blocks_by=by, **options)
        assert not (tmp_path / "g").exists()

    refused(DataError, "the node table has no column 'regin'; did you mean 'region'", by="regin")
    refused(DataError, r"nodes\.x is array<float>; integers or text that name a community", by="x")
    for by in (7, "", [], {}, {"node": 1}):
        refused(SettingError, "blocks_by is .*; the name of a column", by=by)
    refused(SettingError, "blocks_by names 'account', which is no type", by={"account": "region"})
    holed = nodes.set_column(2, "region", pa.array([None, None, *map(int, region[2:])], pa.int64()))
    refused(DataError, r"nodes\.region holds 2 nulls.*null with", Graph(holed, edges))
    floats = nodes.set_column(2, "region", nodes["region"].cast(pa.float64()))
    refused(DataError, r"nodes\.region is double", Graph(floats, edges))
    refused(DataError, r"the community 0 has \d+ nodes and [\d,]+ edges: to prepare it as one block takes .* finer",
            task_memory=35_000)  # fmt: skip
    refused(SettingError, "to know the community of each of 600 nodes takes 16.8 KB in each task", task_memory=20_000)
    monkeypatch.setattr(by_column, "MOST", 4)
    refused(DataError, r"there are \d+ different values, and at most 4 are taken")


def test_types_that_do_not_go_together(tmp_path: Path) -> None:
    nodes, edges = typed_tables.tables()
    options = {"features": typed_tables.FEATURES, "edge_features": typed_tables.EDGE_FEATURES}
    with pytest.raises(DataError, match=r"nodes\[account\] has no column 'region'"):
        prepare(Graph(nodes, edges, **options), tmp_path / "g", blocks_by="region")
    with pytest.raises(SettingError, match="names no column of the node type 'bank card/1'"):
        prepare(Graph(nodes, edges, **options), tmp_path / "g", blocks_by={"account": "id"})
    with pytest.raises(DataError, match=r"one kind in all node tables; here are nodes\[account\] integers, .* text"):
        prepare(Graph(nodes, edges, **options), tmp_path / "g", blocks_by="id")


def test_on_the_command_line(tmp_path: Path) -> None:
    from pipeline.command.columns import columns_by_type

    assert columns_by_type([]) is None
    assert columns_by_type(["region"]) == "region"
    assert columns_by_type(["a=x", "b=y=z"]) == {"a": "x", "b": "y=z"}
    for given in (["a", "b"], ["a=x", "b"], ["=x"], ["a="]):
        with pytest.raises(SettingError, match="one column for all node tables, or TYPE=COLUMN"):
            columns_by_type(given)
    with pytest.raises(SettingError, match="names the type 'a' twice"):
        columns_by_type(["a=x", "a=y"])


def test_keys_of_no_nodes_have_the_block_of_their_hash(tmp_path: Path) -> None:
    """Whoever asks; else an edge without an end would be looked for in one block by some, in another one by others."""
    from pipeline.preparing.communities import ByCommunity, Members

    keys = np.arange(10, dtype=np.int64)
    by = ByCommunity(np.array([3, 1], np.int32), {"node": Members.of(keys, (keys % 2).astype(np.int32))})
    asked = np.array([4, 77, 5, -3], np.int64)
    hashed = np.empty(4, np.int32)
    blocks_of(asked, 4, hashed)
    (tmp_path / "blocks").mkdir()
    for each in (by, by.written(f"file://{tmp_path}/blocks")):
        assert each.place("node", asked, hashed).tolist() == [3, hashed[1], 1, hashed[3]]
