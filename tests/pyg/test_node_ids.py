"""Learned rows of nodes that go with the model: found by the ids of the nodes, however the tables are ordered.

The witness is the module itself, in float64, on the nodes in the order of its own rows.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import LINKX, GCNConv, HeteroConv, LGConv, RGCNConv, SAGEConv

from pipeline import Graph, Model, infer, prepare, score, verify
from pipeline.errors import DataError, ModelError
from pipeline.plan.plan import Plan
from pipeline.planning import planned_for
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from tests.bits import WAYS
from tests.stages import run_stages
from tests.tables.test_spec import run

pytestmark = pytest.mark.usefixtures("no_session")

NODES, EDGES = 41, 160
TEXTS = [f"https://example.org/entity/{number:04}#é — {'long ' * (number % 7)}" for number in range(NODES)]
NUMBERS = [(1 << 62) - 7 * number if number % 2 else number - 20 for number in range(NODES)]


def edges():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, NODES, (2, EDGES), generator=generator)


class Light(nn.Module):
    """LightGCN: rows of its own, and nothing of any table."""

    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(NODES, 6), LGConv()

    def forward(self, edge_index):
        rows = [self.embedding.weight]
        for _ in range(2):
            rows.append(self.conv(rows[-1], edge_index))
        return torch.stack(rows).mean(0)


class Entities(nn.Module):
    """RGCN on entities; the relation of an edge is a column."""

    def __init__(self):
        super().__init__()
        self.node_emb = nn.Parameter(torch.randn(NODES, 5))
        self.conv1, self.conv2 = RGCNConv(5, 5, 3, num_bases=2), RGCNConv(5, 4, 3, num_bases=2)

    def forward(self, edge_index, edge_type):
        return self.conv2(self.conv1(self.node_emb, edge_index, edge_type).relu(), edge_index, edge_type)


class Linkx(nn.Module):
    """A weight for each node as a source, and features beside it."""

    def __init__(self):
        super().__init__()
        self.net = LINKX(NODES, 3, 8, 4, 2)

    def forward(self, x, edge_index):
        return self.net(x, edge_index)


class Numbered(nn.Module):
    """forward is given the numbers of the nodes, and looks its rows up by them, as PyG's link predictors do."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lin, self.conv = nn.Embedding(NODES, 6), nn.Linear(3, 6), SAGEConv(6, 4)

    def forward(self, x, edge_index, n_id):
        return self.conv(self.lin(x) + self.embedding(n_id), edge_index)


def x():
    return torch.arange(3.0 * NODES).reshape(NODES, 3).sin()


def kinds():
    return torch.arange(EDGES) % 3


CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "lightgcn": (Light, {}, lambda net: net(edges())),
    "entities": (
        Entities,
        {"inputs": {"edge_type": "edges.kind"}, "features": {"edge_type": range(3)}},
        lambda net: net(edges(), kinds()),
    ),
    "linkx": (Linkx, {"features": {"x": 3}}, lambda net: net(x().double(), edges())),
    "numbered": (
        Numbered,
        {"inputs": {"n_id": "node_ids"}, "features": 3},
        lambda net: net(x().double(), edges(), torch.arange(NODES)),
    ),
}


def imported(name, ids=TEXTS):
    torch.manual_seed(2)
    net, options, forward = CASES[name]
    net = net().eval()
    model = Model.from_pyg(net, node_ids=ids, **options)
    with torch.no_grad():
        return model, dict(zip(ids, forward(net.double()).numpy(), strict=True))


def graph(name, ids=TEXTS, seed=3):
    """The nodes of the module, in another order than its rows."""
    order = np.random.default_rng(seed).permutation(NODES)
    table = pa.table({"id": [ids[i] for i in order], "x": [x()[i].tolist() for i in order]})
    src, dst = edges().tolist()
    own = {"src": [ids[i] for i in src], "dst": [ids[i] for i in dst], "kind": kinds().to(torch.float32).numpy()}
    return Graph(table, pa.table(own), features="x", edge_features=["kind"])


def assert_rows(table, want, atol=2e-6):
    found = dict(zip(table["id"].to_pylist(), table["output"].to_pylist(), strict=True))
    assert found.keys() == want.keys()
    for id, row in want.items():
        np.testing.assert_allclose(found[id], row, rtol=0, atol=atol)


@pytest.mark.parametrize("ids", [TEXTS, NUMBERS], ids=["texts", "numbers"])
@pytest.mark.parametrize("name", CASES)
def test_rows_are_found_by_id(name, ids, tmp_path):
    model, want = imported(name, ids)
    assert not any("embedding" in column or "n_id" in column for column in model.inputs)
    model.save(tmp_path / "m")
    assert sorted(path.suffix for path in (tmp_path / "m").iterdir()) == [".json", ".json", ".parquet", ".safetensors"]
    again = Model.load(tmp_path / "m")
    assert again.fingerprint == model.fingerprint
    assert str(again) == str(model)
    assert f"learned rows of {NODES} nodes, found by id: " in str(again)
    assert_rows(infer(graph(name, ids), again, settings={"blocks": 3}), want)


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    model, want = imported("lightgcn")
    return model, want, prepare(graph("lightgcn"), tmp_path_factory.mktemp("graph") / "g", 3)


@pytest.mark.parametrize(("tier", "read"), WAYS)
def test_every_tier_finds_the_same_rows(light, tier, read):
    model, want, prepared = light
    settings = Settings(tier=tier, read=read)
    planned = planned_for(prepared, model, settings, handshake(None))
    found = run_stages(planned, settings).result
    assert_rows(found, want)
    whole = infer(prepared, model)
    bits = [dict(zip(t["id"].to_pylist(), map(repr, t["output"].to_pylist()), strict=True)) for t in (found, whole)]
    assert bits[0] == bits[1]


def test_a_plan_takes_its_rows_along(light):
    model, _, _ = light
    plan = pickle.loads(pickle.dumps(Plan.of(model)))
    rows, own = plan.node_rows["node"], model.node_rows["node"]
    assert rows.ids == own.ids
    assert all((rows.columns[name] == array).all() for name, array in own.columns.items())
    assert plan.pushing([]).node_rows.keys() == {"node"}


def test_of_a_run_through_files_and_for_targets(light, tmp_path):
    model, want, prepared = light
    score(prepared, model, tmp_path / "files", settings={"work_dir": str(tmp_path / "work")})
    assert_rows(pq.read_table(tmp_path / "files"), want)
    some = TEXTS[5:7]
    assert_rows(infer(prepared, model, targets=some), {id: want[id] for id in some})


def test_nodes_that_are_not_in_the_graph_do_not_matter():
    model, _ = imported("lightgcn")
    table = pa.table({"id": TEXTS[3:1:-1]})
    found = infer(Graph(table, pa.table({"src": TEXTS[2:3], "dst": TEXTS[3:4]}), features=None), model)
    torch.manual_seed(2)
    net = Light().double()
    rows = net.embedding.weight.detach()[2:4]
    with torch.no_grad():
        first = net.conv(rows, torch.tensor([[0], [1]]))
        want = torch.stack([rows, first, net.conv(first, torch.tensor([[0], [1]]))]).mean(0)
    assert_rows(found, dict(zip(TEXTS[2:4], want.numpy(), strict=True)), atol=1e-6)


@pytest.mark.parametrize("name", ["lightgcn", "linkx"])
def test_verify_finds_them_too(name, tmp_path):
    model, _ = imported(name)
    raw = graph(name)
    table = infer(raw, model, settings={"blocks": 2})
    for sample in (10, "all"):
        assert verify(raw, model, table, sample=sample).passed
    column = table["output"].combine_chunks()
    turned = pa.array(column.to_pylist()[1:] + column.to_pylist()[:1], column.type)
    assert not verify(raw, model, table.set_column(1, "output", turned), sample="all").passed


# ---- of several types of nodes


BUYS, BOUGHT = ("user", "buys", "item"), ("item", "bought_by", "user")
USERS, ITEMS = [f"user {number}" for number in range(17)], [10 * number for number in range(12)]


class Bought(nn.Module):
    """A learned row for each user and for each item, of weights or by the numbers of the nodes."""

    def __init__(self, numbered):
        super().__init__()
        self.numbered = numbered
        self.emb = nn.ModuleDict({"user": nn.Embedding(len(USERS), 5), "item": nn.Embedding(len(ITEMS), 5)})
        self.lin = nn.Linear(3, 5)
        self.conv = HeteroConv({BUYS: SAGEConv((5, 5), 4), BOUGHT: SAGEConv((5, 5), 4)})

    def rows(self, type, node_id):
        return self.emb[type](node_id[type]) if self.numbered else self.emb[type].weight


class BoughtWeights(Bought):
    def __init__(self):
        super().__init__(False)

    def forward(self, x_dict, edge_index_dict):
        h = {"user": self.rows("user", None), "item": self.rows("item", None) + self.lin(x_dict["item"])}
        return self.conv(h, edge_index_dict)


class BoughtNumbers(Bought):
    def __init__(self):
        super().__init__(True)

    def forward(self, x_dict, edge_index_dict, node_id_dict):
        h = {"user": self.rows("user", node_id_dict), "item": self.lin(x_dict["item"])}
        return self.conv({**h, "item": h["item"] + self.rows("item", node_id_dict)}, edge_index_dict)


def bought():
    generator = torch.Generator().manual_seed(4)
    data = HeteroData()
    data["user"].num_nodes = len(USERS)
    data["item"].x = torch.randn(len(ITEMS), 3, generator=generator)
    ends = [torch.randint(n, (60,), generator=generator) for n in (len(USERS), len(ITEMS))]
    data[BUYS].edge_index = torch.stack(ends)
    data[BOUGHT].edge_index = data[BUYS].edge_index.flip(0)
    return data


@pytest.mark.parametrize("net", [BoughtWeights, BoughtNumbers])
def test_rows_of_several_types(net, tmp_path):
    torch.manual_seed(5)
    net, data = net(), bought()
    numbered = net.numbered
    more = {"node_id_dict": "node_ids"} if numbered else {}
    ids = {"user": USERS, "item": np.array(ITEMS)}
    model = Model.from_pyg(
        net.eval(), metadata=data.metadata(), node_ids=ids, features={"x_dict": {"item": 3}},
        inputs={"x_dict": {"item": "x"}, **more},
    )  # fmt: skip
    assert list(model.inputs) == ["nodes[item].x"]
    model.save(tmp_path / "m")
    given = [{"item": data["item"].x.double()}, data.edge_index_dict]
    if numbered:
        given.append({"user": torch.arange(len(USERS)), "item": torch.arange(len(ITEMS))})
    with torch.no_grad():
        want = net.double()(*given)
    turned = np.random.default_rng(6).permutation(len(ITEMS))
    nodes = {
        "user": pa.table({"id": USERS[::-1]}),
        "item": pa.table({"id": [ITEMS[i] for i in turned], "x": [data["item"].x[i].tolist() for i in turned]}),
    }
    src, dst = data[BUYS].edge_index.tolist()
    users, items = [USERS[i] for i in src], [ITEMS[i] for i in dst]
    both = {BUYS: pa.table({"src": users, "dst": items}), BOUGHT: pa.table({"src": items, "dst": users})}
    raw = Graph(nodes, both)
    found = infer(raw, tmp_path / "m", settings={"blocks": 2})
    for type, names in (("user", USERS), ("item", ITEMS)):
        assert_rows(found[type], dict(zip(names, want[type].numpy(), strict=True)))
    assert verify(raw, model, found, sample=5).passed
    assert [*infer(raw, model, types=["item"])] == ["item"]
    nodes["user"] = pa.table({"id": [*USERS, "another"]})
    with pytest.raises(
        ModelError, match="no learned row for 1 of 18 nodes of type user: 'another'; it was trained on 17"
    ):
        infer(Graph(nodes, both), model)


def test_whose_rows_they_are():
    metadata = (["user", "item"], [BUYS, BOUGHT])
    same = {"user": USERS, "item": USERS}

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = HeteroConv({BUYS: SAGEConv((5, 5), 4), BOUGHT: SAGEConv((5, 5), 4)})
            self.one, self.two = nn.Embedding(len(USERS), 5), nn.Embedding(len(USERS), 5)

        def forward(self, edge_index_dict):
            return self.conv({"user": self.one.weight, "item": self.two.weight}, edge_index_dict)

    with pytest.raises(
        ModelError,
        match=r"^one.weight has 17 rows, and so many ids have user and item: say whose they are, "
        r"inputs={'one.weight': {'user': 'node_ids'}}$",
    ):
        Model.from_pyg(Flat().eval(), metadata=metadata, node_ids=same)
    inputs = {"one.weight": {"user": "node_ids"}, "two.weight": {"item": "node_ids"}}
    model = Model.from_pyg(Flat().eval(), metadata=metadata, node_ids=same, inputs=inputs)
    assert {type: [*rows.columns] for type, rows in model.node_rows.items()} == {
        "user": ["one_weight"], "item": ["two_weight"]
    }  # fmt: skip
    with pytest.raises(
        ModelError, match=r"of a weight with a row for each node of a type write {TYPE: COLUMN}, or give"
    ):
        Model.from_pyg(Flat().eval(), metadata=metadata, inputs={"one.weight": "nodes.one"})
    with pytest.raises(
        ModelError, match=r"^node_ids has 12 ids of type item, and no weight of the module has a row fo"
    ):
        Model.from_pyg(Flat().eval(), metadata=metadata, node_ids={"user": USERS, "item": ITEMS[:12]}, inputs={})


# ---- on the command line


def test_export_takes_ids_of_a_table(tmp_path, monkeypatch):
    (tmp_path / "own_light.py").write_text(
        "from tests.pyg.test_node_ids import Light, torch\ndef net():\n    torch.manual_seed(2)\n    return Light()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pq.write_table(pa.table({"id": TEXTS}), tmp_path / "ids.parquet")
    model = tmp_path / "m"
    done = run("export", "own_light:net", "--untrained", "--node-ids", tmp_path / "ids.parquet", "--output", model)
    assert done.exit_code == 0, done.output
    assert "learned rows of 41 nodes, found by id: embedding_weight (6)" in done.stdout
    own, _ = imported("lightgcn")
    assert Model.load(model).fingerprint == own.fingerprint
    other = tmp_path / "other"
    done = run("export", "own_light:net", "--untrained", "--node-ids", tmp_path / "none.csv", "--output", other)
    assert done.exit_code == 2
    assert "none.csv" in done.output
    assert not other.exists()


# ---- what is said, before work starts


def test_unknown_nodes_are_named(light, tmp_path):
    model, _, _ = light
    ids = [*TEXTS, "somebody", "else", "and", "one more"]
    raw = Graph(pa.table({"id": ids}), pa.table({"src": ids[:2], "dst": ids[-2:]}), features=None)
    message = (
        r"^the model has no learned row for 4 of 45 nodes: ('\w+ ?\w*', ){3}…; it was trained on 41, for example "
        r"'https://.*'\. Leave these nodes out of the graph, or train the model with them$"
    )
    with pytest.raises(ModelError, match=message):
        score(prepare(raw, tmp_path / "g", 2), model, tmp_path / "o")
    assert not (tmp_path / "o").exists()
    with pytest.raises(ModelError, match=message):
        infer(raw, model)
    with pytest.raises(ModelError, match=r"^the model has no learned row for 2 of 2 nodes: 1, 2; it was trained on 41"):
        infer(Graph(pa.table({"id": [1, 2]}), pa.table({"src": [1], "dst": [2]}), features=None), model)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "twice": (TEXTS[:-1] + TEXTS[:1], {}, "^node_ids: 'https.* is there more than once; each node has one row$"),
    "null": ([*TEXTS[:-1], None], {}, "^node_ids: 1 of 41 ids are null$"),
    "floats": (np.arange(NODES) / 2, {}, "node_ids: the ids are double, for example 0.0; integers or text are expec"),
    "too few": (TEXTS[:-1], {}, "^node_ids has 40 ids, and no weight of .* for each of them: embedding.weight has 41$"),
    "a number": (3, {}, "^node_ids is 3; a list of ids, an array, a table with a column id, or its path, is expected$"),
    "too few, named": (
        TEXTS[:-1],
        {"inputs": {"embedding.weight": "node_ids"}},
        "^node_ids has 40 ids, and embedding.weight has 41 rows, one for each node$",
    ),
    "no ids": (None, {"inputs": {"embedding.weight": "node_ids"}}, "these are not there: give node_ids=, the ids of"),
    "no weight": (
        TEXTS,
        {"inputs": {"embeding.weight": "node_ids"}},
        "names 'embeding.weight', which forward does not",
    ),
    "no column": (pa.table({"a": TEXTS, "b": TEXTS}), {}, "^node_ids: there is no column 'id'; it has 'a, b'$"),
    "a path": ("no/such.parquet", {}, "no/such.parquet"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    ids, options, message = REFUSED[case]
    with pytest.raises((ModelError, DataError, OSError), match=message):
        Model.from_pyg(Light().eval(), node_ids=ids, **options)


def test_files_that_are_not_what_was_saved(light, tmp_path):
    model, _, _ = light
    model.save(tmp_path / "m")
    path = tmp_path / "m" / "node_rows-0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(NODES - 1, -1, -1))), path)
    assert Model.load(tmp_path / "m").fingerprint == model.fingerprint, "their order plays no part"
    pq.write_table(table.set_column(0, "id", pa.array(TEXTS[1:] + TEXTS[:1])), path)
    with pytest.raises(ModelError, match="the learned rows of its nodes are damaged, or were changed"):
        Model.load(tmp_path / "m")
    pq.write_table(table.slice(1), path)
    with pytest.raises(ModelError, match=r"node_rows-0.parquet has 40 rows; model.json says 41"):
        Model.load(tmp_path / "m")
    path.write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="cannot be read as learned rows"):
        Model.load(tmp_path / "m")
    path.unlink()
    with pytest.raises(ModelError, match=r"holds no node_rows-0.parquet: the model was not saved whole"):
        Model.load(tmp_path / "m")


def test_a_model_with_rows_is_replaced_whole(light, tmp_path):
    model, _, _ = light
    model.save(tmp_path / "m")
    plain = Model.from_pyg(GCNConv(3, 2).eval())
    plain.save(tmp_path / "m", overwrite=True)
    assert not list((tmp_path / "m").glob("*.parquet"))
    assert Model.load(tmp_path / "m").node_rows == {}


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_ids_of_a_table(format, tmp_path):
    path = tmp_path / f"ids.{format}"
    table = pa.table({"other": range(NODES), "id": [f"{number:03}" for number in range(NODES)]})
    if format == "csv":
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    model = Model.from_pyg(Light().eval(), node_ids=path)
    assert model.node_rows["node"].ids.to_pylist() == [f"{number:03}" for number in range(NODES)]
