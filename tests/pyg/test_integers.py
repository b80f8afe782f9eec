"""Columns of integers: embeddings, one-hot rows, tables of matrices, masks; three ways of computing, one answer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import utils
from torch_geometric.nn import (
    FastRGCNConv,
    FiLMConv,
    GATConv,
    GCNConv,
    GINEConv,
    HEATConv,
    MessagePassing,
    RGATConv,
    RGCNConv,
    SAGEConv,
)

from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.pyg import import_module
from pipeline.run.fused import run_fused
from pipeline.schema import EDGE, NODE
from tests.pyg.graphs import GRAPHS, assert_close, run

BLOCKS = (1, 3, 8, 17)


class Categories(nn.Module):
    """The usual: an embedding beside the features, another one on the edges."""

    def __init__(self):
        super().__init__()
        self.kinds = nn.Embedding(10, 8, padding_idx=0)
        self.relations = nn.Embedding(5, 4)
        self.conv = GATConv(24, 8, edge_dim=4, heads=2)

    def forward(self, x, edge_index, kind, relation):
        return self.conv(torch.cat([x, self.kinds(kind)], 1), edge_index, self.relations(relation))


class OneHot(nn.Module):
    def __init__(self, one_hot):
        super().__init__()
        self.one_hot = one_hot
        self.conv = SAGEConv(26, 8)

    def forward(self, x, edge_index, kind):
        return self.conv(torch.cat([x, self.one_hot(kind)], 1), edge_index)


class Several(nn.Module):
    """As the atom encoder of the Open Graph Benchmark: a row of integers, a table for each."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(k, 16) for k in (9, 4, 12)])
        self.bonds = nn.Embedding(4, 16)
        self.conv = GINEConv(nn.Linear(16, 8))

    def forward(self, x, edge_index, atom, bond):
        h = sum(table(atom[:, i]) for i, table in enumerate(self.tables))
        return self.conv(x + h, edge_index, self.bonds(bond))


class Masked(MessagePassing):
    """A sum for each relation, the edges of the others masked."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 16, 8))

    def forward(self, x, edge_index, relation):
        out = 0
        for r in range(3):
            out = out + self.propagate(edge_index, x=x @ self.weight[r], mask=(relation == r).float()[:, None])
        return out

    def message(self, x_j, mask):
        return x_j * mask


class Scaled(MessagePassing):
    """A learned number and a learned row by relation, of a table that is computed; on added loops 0."""

    def __init__(self):
        super().__init__(aggr="max")
        self.scale = nn.Parameter(torch.randn(6))
        self.shift = nn.Parameter(torch.randn(16, 6))

    def forward(self, x, edge_index, relation):
        edge_index, relation = utils.add_self_loops(edge_index, relation, fill_value=0, num_nodes=x.size(0))
        return self.propagate(edge_index, x=x, relation=relation)

    def message(self, x_j, relation):
        return x_j * self.scale[relation].view(-1, 1) + self.shift.t()[relation] + self.shift[:, relation].t()


class Taken(MessagePassing):
    """Some of the edges, with their weights: attention, a product and a largest over them, a mask of a mask."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(16, 8)

    def forward(self, x, edge_index, relation, amount):
        x, kept = self.lin(x), relation != 1
        some, relation, amount = edge_index[:, kept], relation[kept], amount[kept]
        src, dst = some
        share = utils.softmax(amount / 10 + x[src, 0], dst, num_nodes=x.size(0))
        out = torch.zeros_like(x).index_add(0, dst, share[:, None] * x[src])
        few = some[:, relation == 0]
        for aggr in ("mul", "max", "min", "mean"):
            out = out + utils.scatter(
                x[few[0]] / (amount[relation == 0] + 1)[:, None], few[1], dim_size=len(x), reduce=aggr
            )
        return out + utils.degree(few[1], len(x))[:, None]


class Written(MessagePassing):
    """Rows of some edges written, and added, to a tensor of all."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(16, 8)

    def forward(self, x, edge_index, relation, amount):
        message = self.lin(x)[edge_index[0]]
        for number in (0, 2):
            message[relation == number] = message[relation == number] * (number + amount[relation == number, None])
        message[relation == 1] += message[relation == 1].relu()
        return utils.scatter(message, edge_index[1], dim_size=len(x))


class Arithmetic(nn.Module):
    """One table for pairs of integers, and integers as numbers."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(12, 16)
        self.conv = GCNConv(16, 8)

    def forward(self, x, edge_index, kind, age):
        h = self.table(kind * 4 + age.clamp(max=3)) * (kind == 2).float().view(-1, 1) + age.view(-1, 1) / 10
        return self.conv(torch.where((kind != 1).unsqueeze(-1), h, x), edge_index)


class EdgeEnhanced(nn.Module):
    """HEATConv: HeteroLinear by a column of the nodes, an embedding by one of the edges, and edge features."""

    def __init__(self):
        super().__init__()
        self.conv = HEATConv(16, 8, 3, 4, 5, 1, 6, heads=2)

    def forward(self, x, edge_index, node_type, edge_type, amount):
        return self.conv(x, edge_index, node_type, edge_type, amount.to(x.dtype).view(-1, 1) / 10)


class SimpleHGN(MessagePassing):
    """As its users write it: the kind of an edge has an embedding that attention reads; the node itself is added."""

    def __init__(self):
        super().__init__(aggr="add", node_dim=0)
        self.lin, self.root = nn.Linear(16, 8, bias=False), nn.Linear(16, 8, bias=False)
        self.kinds, self.lin_kind = nn.Embedding(4, 5), nn.Linear(5, 10, bias=False)
        self.att = nn.Parameter(torch.randn(3, 1, 2, 4))
        self.att_kind = nn.Parameter(torch.randn(1, 2, 5))

    def forward(self, x, edge_index, edge_type):
        h = self.lin(x).view(-1, 2, 4)
        kind = self.lin_kind(self.kinds(edge_type)).view(-1, 2, 5)
        out = self.propagate(edge_index, h=h, kind=(kind * self.att_kind).sum(-1))
        return F.elu(F.normalize(out.view(-1, 8) + self.root(x), dim=-1))

    def message(self, h_i, h_j, kind, index, ptr, size_i):
        logits = (h_i * self.att[0]).sum(-1) + (h_j * self.att[1]).sum(-1) + kind
        share = utils.softmax(F.leaky_relu(logits, 0.05), index, ptr, size_i)
        return h_j * share.unsqueeze(-1)


LAYERS = {  # module, node columns and edge columns: name → (shape of a row, integers below)
    "categories": (Categories, {"kind": ((), 10)}, {"relation": ((), 5)}),
    "one-hot": (lambda: OneHot(lambda k: F.one_hot(k, 10).float()), {"kind": ((), 10)}, {}),
    "one-hot of pyg": (lambda: OneHot(lambda k: utils.one_hot(k, 10)), {"kind": ((), 10)}, {}),
    "one-hot, linear": (lambda: OneHot(lambda k: F.one_hot(k.long(), 10) * 0.5), {"kind": ((), 10)}, {}),
    "several in a row": (Several, {"atom": ((3,), 4)}, {"bond": ((), 4)}),
    "masks": (Masked, {}, {"relation": ((), 3)}),
    "numbers and rows by relation": (Scaled, {}, {"relation": ((), 6)}),
    "a matrix for each relation": (lambda: FastRGCNConv(16, 8, 4), {}, {"edge_type": ((), 4)}),
    "bases": (lambda: FastRGCNConv(16, 8, 4, num_bases=2, aggr="sum"), {}, {"edge_type": ((), 4)}),
    "blocks": (lambda: FastRGCNConv(16, 8, 4, num_blocks=2, aggr="sum"), {}, {"edge_type": ((), 4)}),
    "relations": (lambda: RGCNConv(16, 8, 3), {}, {"edge_type": ((), 3)}),
    "relations, largest": (lambda: RGCNConv(16, 8, 3, aggr="max", root_weight=False), {}, {"edge_type": ((), 3)}),
    "relations, product": (lambda: RGCNConv(16, 8, 3, aggr="mul", num_bases=2), {}, {"edge_type": ((), 3)}),
    "relations, blocks": (lambda: RGCNConv(16, 8, 3, aggr="sum", num_blocks=4), {}, {"edge_type": ((), 3)}),
    "relations, attended": (lambda: RGATConv(16, 8, 3), {}, {"edge_type": ((), 3)}),
    "relations, attended each by itself": (
        lambda: RGATConv(16, 8, 3, attention_mechanism="within-relation", heads=2),
        {},
        {"edge_type": ((), 3)},
    ),
    "written to some edges": (Written, {}, {"relation": ((), 3), "amount": ((), 20)}),
    "relations, modulated": (lambda: FiLMConv(16, 8, num_relations=3), {}, {"edge_type": ((), 3)}),
    "edge-enhanced": (
        EdgeEnhanced,
        {"node_type": ((), 3)},
        {"edge_type": ((), 4), "amount": ((), 20)},
    ),
    "simple heterogeneous": (SimpleHGN, {}, {"edge_type": ((), 4)}),
    "some edges": (Taken, {}, {"relation": ((), 3), "amount": ((), 20)}),
    "arithmetic": (Arithmetic, {"kind": ((), 3), "age": ((), 50)}, {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_integers(name):
    torch.manual_seed(0)
    make, on_nodes, on_edges = LAYERS[name]
    net = make().eval()
    inputs = {key: f"nodes.{key}" for key in on_nodes} | {key: f"edges.{key}" for key in on_edges}
    told = {key: (*shape, range(below)) for key, (shape, below) in (on_nodes | on_edges).items()}
    program, weights, columns = import_module(net, inputs=inputs, features={"x": 16, **told})
    model = Model(program, weights, columns)
    plan = Plan.of(model)
    for title, (nodes, src, dst) in GRAPHS.items():
        rng = np.random.default_rng(1)
        x = rng.normal(size=(nodes, 16)).astype(np.float32)
        kinds, relations = (
            {key: rng.integers(0, below, (rows, *shape)) for key, (shape, below) in chosen.items()}
            for chosen, rows in ((on_nodes, nodes), (on_edges, len(src)))
        )
        expected = run(net, x.astype(float), src, dst, kinds | relations)["output"]
        arrays = GraphArrays(
            {NODE: nodes},
            {EDGE: (np.array(src, int), np.array(dst, int))},
            {NODE: {"x": x, **kinds}},
            {EDGE: relations},
        )
        assert_close(interpret(program, model.weights, arrays)["output"], expected, title, 1e-6)
        for blocks in BLOCKS:
            found = through_blocks(plan, x, kinds, src, dst, relations, blocks)
            assert_close(found, expected, f"{title}, {blocks} blocks", 1e-5)


def through_blocks(plan, x, kinds, src, dst, relations, blocks):
    """The embedding in node order, through the tables, the compiler and the fused run."""
    floats = pa.list_(pa.float32())

    def column(array):
        return pa.array(array) if array.ndim == 1 else pa.array(list(array.astype(np.float32)), floats)

    nodes = pa.table(
        {"id": pa.array(range(len(x)), pa.int64()), "x": column(x), **{k: column(a) for k, a in kinds.items()}}
    )
    ends = {"src": pa.array(src, pa.int64()), "dst": pa.array(dst, pa.int64())}
    edges = pa.table({**ends, **{name: column(array) for name, array in relations.items()}})
    names = {name: name for name in ("x", *kinds)}
    parts = blocks_from_tables(nodes, edges, blocks, names, list(relations))
    found = np.empty((len(x), plan.program.outputs["output"].width))
    for part, outputs in zip(parts, run_fused(plan, parts), strict=True):
        found[part.ids[NODE].to_numpy()] = outputs["output"]
    return found


# ---- what is found without being told


def found(net, inputs, **options):
    program, _, _ = import_module(net.eval(), inputs=inputs, **options)
    return {str(column): column.shape for column in program.inputs}, program


def test_embeddings_are_found_by_trying():
    shapes, program = found(Categories(), {"kind": "nodes.kind", "relation": "edges.type"})
    assert shapes == {"nodes.x": (16,), "nodes.kind": (), "edges.relation": ()}
    assert [value.inputs[0].shape for value in program.values if value.op == "lookup"] == [(10, 8), (5, 4)]


def test_a_row_of_integers_is_found_by_its_width():
    inputs = {"atom": "nodes.atom", "bond": "edges.bond"}
    assert found(Several(), inputs, features={"x": 16, "atom": 3})[0]["nodes.atom"] == (3,)


def test_an_embedding_alone():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(1000, 16)
            self.conv = SAGEConv(16, 8)

        def forward(self, x, edge_index):
            return self.conv(self.table(x.squeeze()), edge_index)

    assert found(Alone(), None)[0] == {"nodes.x": ()}


def test_numbers_that_are_only_compared_may_be_floats():
    assert found(Masked(), {"relation": "edges.type"}, features={"x": 16})[0]["edges.relation"] == ()


REFUSED = {
    "fractions made integers": (
        lambda self, x, e, kind: self.table(kind.long()),
        {"kind": ()},
        "to turns numbers into torch.int64; if that column holds integers, say so: features={'kind': range(K)}",
    ),
    "classes counted": (
        lambda self, x, e, kind: F.one_hot(kind),
        {"kind": range(3)},
        "one_hot counts the classes by the largest number of a column; give num_classes",
    ),
    "too many classes": (
        lambda self, x, e, kind: F.one_hot(kind, 5000).float(),
        {"kind": range(3)},
        "one_hot makes rows of 5,000 columns of which one is not 0; use torch.nn.Embedding instead",
    ),
    "several lanes": (
        lambda self, x, e, kind: x.gather(1, torch.stack([kind, kind], 1)),
        {"kind": range(3)},
        "gather takes several columns of a row by numbers that depend on the row",
    ),
    "more than the module takes": (
        lambda self, x, e, kind: self.table(kind),
        {"kind": range(11)},
        "forward of Does failed on an example graph .* IndexError: index out of range",
    ),
    "self-loops beside some edges": (
        lambda self, x, e, kind: self.conv(x, utils.add_self_loops(e[:, kind == 1], num_nodes=len(x))[0]),
        {"kind": range(3)},
        "cat adds self-loops to some of the edges; add them before the mask is applied",
    ),
    "self-loops among some edges": (
        lambda self, x, e, kind: self.conv(x, utils.remove_self_loops(e[:, kind == 1])[0]),
        {"kind": range(3)},
        "ne looks for self-loops among some of the edges; do that before the mask is applied",
    ),
    "the median of some edges": (
        lambda self, x, e, kind: self.median(x, e[:, kind == 1]),
        {"kind": range(3)},
        "quantile sorts the messages of some edges; use mean, max or sum",
    ),
    "not from 0": (
        lambda self, x, e, kind: x,
        {"kind": range(1, 5)},
        "features gives 'kind' range.1, 5.; write integers as",
    ),
}


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.table = nn.Embedding(10, 16)
        self.conv, self.median = SAGEConv(16, 8), SAGEConv(16, 8, aggr="median")

    def forward(self, x, edge_index, kind):
        return self.function(self, x, edge_index, kind)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    function, told, message = REFUSED[name]
    table = "edges" if "some edges" in name else "nodes"
    with pytest.raises(ModelError, match=message.replace("{", r"\{").replace("(K)", r"\(K\)")):
        import_module(Does(function).eval(), inputs={"kind": f"{table}.kind"}, features={"x": 16, **told})


def test_a_lane_chosen_by_each_row():
    def chosen(self, x, e, kind):
        return x.gather(1, kind.view(-1, 1)) * self.table.weight[:1]

    _, program = found(Does(chosen), {"kind": "nodes.kind"}, features={"x": 16}, unused=["conv.*", "median.*"])
    x = np.arange(48.0).reshape(3, 16)
    arrays = GraphArrays.single([], [], x)
    arrays.node_columns[NODE]["kind"] = np.array([3, 0, 15])
    table = np.ones((1, 16))
    names = list(program.weights)
    weights = {name: np.eye(16) if program.weights[name] == (16, 16) else table for name in names}
    np.testing.assert_array_equal(interpret(program, weights, arrays)["output"][:, 0], [3, 16, 47])
