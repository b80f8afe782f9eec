"""What cannot be said in a formula is refused: with the module's path, the user's line, the operation, and a remedy."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import utils
from torch_geometric.nn import GCNConv, GPSConv, LightGCN, MessagePassing, RGATConv, SAGEConv

from pipeline.errors import FormulaError, ModelError
from pipeline.model import Model
from pipeline.pyg import import_module
from tests.pyg.graphs import Does


def refused(net, message, **options):
    with pytest.raises(ModelError, match=message):
        import_module(net.eval(), **{"features": 16, "unused": ["*"], **options})


def test_names_path_line_operation_and_remedy():
    class Inner(nn.Module):
        def forward(self, x):
            return x.sort(dim=0).values

    net = Does(lambda self, x, e: self.blocks[1](x), blocks=nn.ModuleList([nn.Identity(), Inner()]))
    line = inspect.getsourcelines(Inner)[1] + 2
    refused(
        net,
        rf"^cannot import this model: blocks.1 \(Inner\), test_refusals.py:{line}, sort sorts all nodes, or takes the "
        r"largest of them; the rows of a table have no order: import the part of the module before it \(for top-k or "
        r"sort pooling, the layers before the pooling\)$",
    )


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x, e: self.gru(x)[0],
        lambda self, x, e: self.gru(x[None])[0][0],
        lambda self, x, e: torch.stack([row * 2 for row in x]),
    ],
)
def test_nodes_one_by_one(forward):
    """At once: to go on would record some operations for each node."""
    net = Does(forward, gru=nn.GRU(16, 4, batch_first=True))
    refused(
        net,
        r"test_refusals.py:\d+, unbind goes through the nodes one by one, as through the steps of a sequence; the rows "
        r"of a table have no order: a recurrent layer takes its steps from an axis of their own, \(nodes, steps, "
        r"numbers\) with batch_first=True$",
    )


def test_weights_without_numbers():
    with torch.device("meta"):
        net = GCNConv(4, 2)
    refused(net, r"weights on the device meta, which hold no numbers \(bias, lin.weight\): load them first", unused=[])


def test_names_the_line_of_pyg_where_there_is_no_other():
    refused(GPSConv(16, None), r"attn \(MultiheadAttention\), gps_conv.py:\d+, ")


def test_what_no_output_needs_is_not_refused():
    net = Does(lambda self, x, e: (x.sort(dim=0), x.mean(), torch.rand(3), e.max(), x * 2)[-1])
    program, _, _ = import_module(net.eval(), features=16)
    assert [value.op for value in program.values if value.op not in ("input", "constant")] == ["mul"]


def _loops_written(self, x, e):
    messages = x[:, 0][e[0]]
    messages[e[0] == e[1]] = 0
    return x + torch.zeros(len(x)).index_add(0, e[1], messages)[:, None]


def _square(matrix):
    return matrix @ matrix


WHOLE = "works across all nodes, not within a row"
OPERATIONS = {
    "product of all": (lambda self, x, e: x - x.prod(0), "prod multiplies all nodes; use sum, mean, max or min over"),
    "largest node": (lambda self, x, e: x * x.argmax(0), "argmax asks which of the nodes is the largest: rows have no"),
    "largest node beside its value": (lambda self, x, e: x * x.max(0).indices, "max asks which of the nodes is the l"),
    "some of several graphs": (
        lambda self, x, e: utils.scatter(x, torch.zeros(len(x), dtype=torch.long), dim_size=3)[0] + x,
        "scatter_add reduces all nodes into one of 3 rows; the nodes are those of one graph: give batch=None, or zeros",
    ),
    "number of nodes in Python": (
        lambda self, x, e: x / (x.size(0) - 1),
        "does not compute what the module computes .*, div; a number of the example graph may be part of it",
    ),
    "virtual node among the nodes": (
        lambda self, x, e: torch.cat([x, x.mean(0, keepdim=True)]),
        "cat joins nodes and graph one after the other",
    ),
    "repeated lanes": (lambda self, x, e: x.repeat(2, 1), rf"repeat {WHOLE} \(axis 0 holds the rows\); over all rows"),
    "attention over nodes": (
        lambda self, x, e: (x @ x.t()).softmax(1) @ x,
        "mm multiplies rows with rows of nodes: a dense product over the whole graph; use edge_index",
    ),
    "products of edges": (
        lambda self, x, e: x @ (x[e[0]].t() @ x[e[1]]),
        "mm sums over all edges in a matrix product; reduce into the nodes first",
    ),
    "dense adjacency": (
        lambda self, x, e: utils.to_dense_adj(e, max_num_nodes=x.size(0))[0] @ x,
        "reads a number that depends on the graph into Python .* It comes from: .*max counts the nodes by the largest",
    ),
    "square of nodes": (
        lambda self, x, e: torch.zeros(len(x), len(x)) @ x,
        "zeros makes a dense array of nodes by nodes; use e",
    ),
    "transposed": (lambda self, x, e: x.t(), "has its rows in axis 1; they must be the first axis"),
    "rows as lanes": (
        lambda self, x, e: x.t().reshape(-1, 8),
        r"view mixes nodes with other axes: \(16, 1009\) → \(2018, 8\); keep the nodes in an axis of their own",
    ),
    "broadcast": (lambda self, x, e: x[:, 0] + x[:, :1], "broadcasts nodes in axis 0 of 1 against axis 0 of 2"),
    "some rows": (lambda self, x, e: F.pad(x[:-1], (0, 0, 1, 0)), "slice takes some of the nodes by their position"),
    "order of rows": (
        lambda self, x, e: x.flip(0),
        "flip changes the order of the nodes; the rows of a table have no order",
    ),
    "one row": (
        lambda self, x, e: x - x[0],
        "select takes one of the nodes by its position; the rows of a table have no order",
    ),
    "row numbers": (lambda self, x, e: x * torch.arange(len(x))[:, None], "computes with the numbers of the nodes"),
    "number of edges": (
        lambda self, x, e: x * e.size(1) ** 0.5 / torch.tensor(e.size(1)),
        "div computes with the number of edges; give that",
    ),
    "random": (lambda self, x, e: x + torch.randn_like(x), "randn_like draws random numbers; a model must give the"),
    "dropout that stays on": (
        lambda self, x, e: F.dropout(x),
        "(bernoulli|native_dropout) draws random numbers.*training=self",
    ),
    "half of the edges": (
        lambda self, x, e: torch.zeros_like(x).index_add(0, e[1, : e.size(1) // 2], x[e[:, : e.size(1) // 2][0]]),
        "slice takes some of the edges by their position; the rows of a table have no order.*such as their relation",
    ),
    "integers": (lambda self, x, e: x.long() * 2.0, "to turns numbers into torch.int64"),
    "half precision": (lambda self, x, e: x.half().float(), "computes in torch.float16; use the model in float32"),
    "complex": (lambda self, x, e: torch.fft.fft(x).real, "fft_.* is not supported on values of nodes or edges"),
    "uninitialised": (lambda self, x, e: x + torch.empty_like(x), "empty_like leaves memory as it was"),
    "cumulated": (lambda self, x, e: x.cumsum(0), "cumsum is not supported on values of nodes or edges: it "),
    "edges in order": (lambda self, x, e: x + x[e[0].sort()[0]].sum(), "sort sorts the edges by the numbers of"),
    "masked edges": (
        lambda self, x, e: self.conv(x, e[:, e[0] < e[1]]),
        "lt computes with a row of edge_index as if it were a value",
    ),
    "edges backwards": (lambda self, x, e: self.conv(x, e.flip(1)), "flip changes the order of the edges; the rows of"),
    "one edge of pairs": (lambda self, x, e: x[e.t()[3]].sum() + x, "select takes one edge of edge_index"),
    "ends one after the other": (
        lambda self, x, e: torch.zeros_like(x).index_add(0, torch.cat([e[0], e[1]]), x[torch.cat([e[1], e[0]])]),
        "cat needs a value per node or edge; this is a row of edge_index",
    ),
    "one end twice": (lambda self, x, e: self.conv(x, e[[1, 1]]), "index takes the same end of each edge twice"),
    "one end stacked": (
        lambda self, x, e: self.conv(x, torch.stack([e[1], e[1]])),
        "stack makes an edge index of other rows than the src and the dst of the same edges",
    ),
    "edges and reversed edges": (
        lambda self, x, e: self.conv(x, torch.cat([e, e.flip(0)], 1)),
        "cat adds every edge against its direction to edge_index; leave this out, and prepare .* with undirected=True",
    ),
    "some self-loops written": (_loops_written, "masked_fill writes to the self-loops only; remove them first"),
    "both directions": (
        lambda self, x, e: self.conv(x, utils.to_undirected(e)),
        "to_undirected adds every edge against its direction to edge_index, and joins edges of the same two nodes to "
        "one; leave it out of forward, join the rows of the table of edges before, and prepare .* with undirected=True",
    ),
    "edges joined": (
        lambda self, x, e: self.conv(x, utils.coalesce(e)),
        "coalesce joins edges of the same two nodes to one, where graphsweep has an edge for each row of the table, "
        "and what is computed of them differs; leave it out of forward, and join the rows of the table of edges before",
    ),
    "a matrix of distinct edges": (
        lambda self, x, e: utils.to_torch_csr_tensor(e, size=(len(x), len(x))) @ x,
        "to_torch_csr_tensor makes a matrix in which edges of the same two nodes are one entry of 1, where graphsweep "
        r"has .*; if no two rows have the same nodes, write its values: \(edge_index, torch.ones\(edge_index.size\(1",
    ),
    "edges of two hops": (
        lambda self, x, e: _square(utils.to_torch_csr_tensor(e, x.new_ones(e.size(1)), (len(x), len(x)))) @ x,
        "mm multiplies sparse matrices of the edges with each other: the edges of two hops, which are in no table; "
        r"multiply step by step: A @ \(A @ x\)",
    ),
    "self-loops twice": (
        lambda self, x, e: self.conv(
            x, utils.add_self_loops(utils.add_self_loops(e, num_nodes=len(x))[0], num_nodes=len(x))[0]
        ),
        "cat adds self-loops to edges to which they were added before; add them once, with the sum of both values",
    ),
    "nearest nodes": (
        lambda self, x, e: x[torch.cdist(x, x).topk(3).indices[:, 0]],
        r"computes the distance of every node to every other \(k-NN\): a dense N x N matrix; give the neighbours as",
    ),
    "the largest nodes": (lambda self, x, e: x[x[:, 0].topk(5).indices], "topk sorts all nodes, or takes the largest"),
    "sorted columns": (lambda self, x, e: x.sort(1).values, "sort is not supported on the columns of a row"),
    "degree of a fraction": (
        lambda self, x, e: x * (utils.degree(e[0], len(x)) / 2).long()[:, None],
        "to turns numbers into torch.int64; formulas compute in float32",
    ),
    "more edges": (lambda self, x, e: self.conv(x, torch.cat([e, e], 1)), "cat adds other edges to edge_index than"),
    "one edge": (lambda self, x, e: x[e[:, 0]].sum() + x, "select takes one edge of edge_index"),
    "nodes by edges": (lambda self, x, e: torch.cat([x, x[e[0]]]), "cat joins nodes and edges one after the other"),
    "edges of edges": (lambda self, x, e: x[e[0]][e[1]].sum() + x, "index takes edge values by the number of a node"),
    "some lanes": (
        lambda self, x, e: torch.zeros_like(x).scatter_add(0, e[1][:, None].expand(-1, 4), x[e[0]]),
        "scatter_add scatters some of the columns: index and source have different shapes",
    ),
    "last one wins": (
        lambda self, x, e: torch.zeros_like(x).scatter(0, e[1][:, None].expand(-1, 16), x[e[0]]),
        "scatter writes one edge's value over another's: which one stays depends on the order of the edges",
    ),
    "by a column": (
        lambda self, x, e: torch.zeros(7, 16).index_add(0, (x.sum(1) != 0).nonzero()[:, 0] % 7, x),
        "remainder is not supported on values of nodes or edges",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name):
    function, message = OPERATIONS[name]
    refused(Does(function, conv=SAGEConv(16, 16), other=nn.Parameter(torch.ones(16))), message)


READS = {
    "item": lambda self, x, e: x * x.sum().item(),
    "if": lambda self, x, e: x if (x > 0).any() else -x,
    "float": lambda self, x, e: x + float(x[0, 0]),
    "tolist": lambda self, x, e: x * torch.tensor(x.tolist()),
    "numpy": lambda self, x, e: torch.from_numpy(x.numpy()) * 2,
    "equal": lambda self, x, e: x if torch.equal(x, x) else -x,
    "edges": lambda self, x, e: x * torch.tensor(e.tolist()[0][0]),
}


@pytest.mark.parametrize("name", READS)
def test_a_value_read_by_python(name):
    refused(Does(READS[name]), r"Does, test_refusals.py:\d+, .* reads a number that depends on the graph into Python")


def test_counting_nodes_by_edge_index():
    def forward(self, x, e):
        e, _ = utils.add_self_loops(e)
        return torch.zeros_like(x).index_add(0, e[1], x[e[0]])

    refused(Does(forward), "misses isolated nodes; give num_nodes=x.size")


def test_node_embeddings_inside_the_model():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50, 16)
            self.conv = SAGEConv(16, 8)

        def forward(self, x, edge_index):
            return x[:, :8] + self.table.weight[edge_index[0]].sum()

    refused(Table(), r"Table, .*index looks up a learned table by the number of a node; give node_ids=, the")


TABLE = {
    "add": lambda self, x, e: self.conv(self.table.weight + x, e),
    "cat": lambda self, x, e: torch.cat([self.table.weight, x], dim=1),
    "mul": lambda self, x, e: x * self.table.weight.sigmoid(),
}


@pytest.mark.parametrize("operation", TABLE)
def test_a_table_of_the_nodes(operation):
    net = Does(TABLE[operation], table=nn.Embedding(50, 16), conv=SAGEConv(16, 8))
    message = "takes the 50 rows of a learned table for the nodes; give node_ids=, the ids of the nodes"
    refused(net, rf"Does, test_refusals.py:\d+, {operation} {message}")


def test_light_gcn_itself():
    message = r"convs.0 \(LGConv\), .*scatter_add takes the 50 rows of a learned table for the nodes; give node_ids="
    refused(LightGCN(50, 8, 2), message, features=None)


def test_a_constant_of_as_many_rows():
    kept = {}

    def forward(self, x, e):
        noise = kept.setdefault(x.size(0), torch.from_numpy(np.ones((x.size(0), 1))))
        return x * noise

    refused(
        Does(forward), r"a tensor of shape \(1009, 1\) has one row per node but does not come from forward's inputs"
    )


def test_outputs_that_are_not_per_node():
    refused(Does(lambda self, x, e: {"a": x, "b": torch.ones(3)}), "output 'b' of the module does not depend on the n")
    refused(Does(lambda self, x, e: {"graph": x.sum(0)}), r"'graph' .* \(graph-level output\); graphsweep")
    refused(Does(lambda self, x, e: (x, "text")), "output 'output_1' of forward is str, not a tensor")
    refused(Does(lambda self, x, e: 3), "forward returned int; a tensor, or several by name, is expected")
    refused(Does(lambda self, x, e: []), "forward returned nothing")


def test_training_mode():
    net = nn.Sequential(GCNConv(16, 4))
    with pytest.raises(ModelError, match=r"training mode \(Sequential, 0, .*call net.eval\(\) first"):
        import_module(net)
    net.eval()[0].train()
    with pytest.raises(ModelError, match=r"the module is in training mode \(0, "):
        import_module(net)


def test_weights_that_are_not_finite():
    net = GCNConv(16, 4).eval()
    net.bias.data[1] = float("nan")
    with pytest.raises(ModelError, match="weights that hold NaN or infinity: bias"):
        import_module(net)


def test_a_weight_that_is_not_used_may_hold_anything():
    """PyG's RGATConv leaves l2 as the memory was, which is NaN now and then."""
    net = RGATConv(16, 8, 3).eval()
    net.l2.data[:] = float("nan")
    _, weights, _ = import_module(net, features={"x": 16, "edge_type": range(3)}, inputs={"edge_type": "edges.kind"})
    assert "l2" not in weights


def test_weights_without_a_shape():
    with pytest.raises(ModelError, match=r"weights without a shape yet \(lin_l.weight\): run the module once"):
        import_module(SAGEConv(-1, 8, bias=False, root_weight=False).eval(), features=16)


def test_a_scripted_module():
    with pytest.raises(ModelError, match="a TorchScript module hides its operations"):
        import_module(torch.jit.trace(nn.Linear(16, 8).eval(), torch.ones(3, 16)))


def test_not_a_module():
    with pytest.raises(ModelError, match=r"a torch.nn.Module is expected, not int"):
        import_module(3)
    with pytest.raises(ModelError, match=r"not type; SAGEConv is a class: make one, with its trained weights$"):
        import_module(SAGEConv)


def test_an_error_of_the_module_itself():
    refused(GCNConv(8, 4), r"forward of GCNConv failed on an example graph with rows of {'x': \(16,\)}: RuntimeError")


def test_the_users_function_is_restored_after_an_error():
    before = utils.softmax
    refused(Does(lambda self, x, e: x.sort(0).values), "sort")
    assert utils.softmax is before
    assert torch.get_default_dtype() is torch.float32
    assert not torch.nn.modules.module._global_forward_hooks


def test_numbers_that_are_never_finite():
    refused(
        Does(lambda self, x, e: (x * 0).log() - float("inf")),
        "output 'output' of the module is NaN or infinite in every row of a random graph, so the import cannot be",
    )


class Uneven(MessagePassing):
    """Takes another way on small graphs."""

    def forward(self, x, edge_index):
        if x.size(0) > 1000:
            return self.propagate(edge_index, x=x)
        return x


def test_control_flow_that_depends_on_the_size():
    refused(Uneven(), r"does not compute what the module computes \(output 'output' on another graph\): its operations")


def test_a_number_of_the_example_in_the_program():
    refused(
        Does(lambda self, x, e: torch.tanh(x) * (x.size(0) ** 0.5)),
        r"does not compute .*: the first operation that differs is Does, test_refusals.py:\d+, mul; a number of the",
    )


def test_sparse_matrices_have_a_remedy():
    def by_matrix(self, x, e):
        numbers = torch.arange(x.size(0)).repeat(2, 1)
        return torch.sparse.mm(torch.sparse_coo_tensor(numbers, x[:, 0], (x.size(0), x.size(0))), x)

    refused(Does(by_matrix), "sparse_coo_tensor.* makes a sparse matrix of something else than the edges .* index_add")


class Adjacent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(16, 4)

    def forward(self, x, adj_t):
        return self.conv(x, adj_t)


MATRIX = (
    r"say what its values are: inputs=\{'adj_t': \('edge_index', 'edges.COLUMN'\)\}, or "
    r"inputs=\{'adj_t': \('edge_index', 'gcn_norm'\)\} if PyG's gcn_norm made it before training, or "
    r"inputs=\{'adj_t': \('edge_index', None\)\} if all of them are 1$"
)


def test_an_adjacency_matrix_has_values():
    refused(Adjacent(), "^forward takes 'adj_t': if it is the graph, " + MATRIX)
    message = "^inputs gives 'adj_t' the edge_index, which has no values, and a matrix has: "
    refused(Adjacent(), message + MATRIX, inputs={"adj_t": "edge_index"})


def test_torchs_functions_in_a_formula():
    """Of a formula nobody needs torch: here, where it is there."""
    options = {"weights": {}, "inputs": {"nodes.x": 3}}
    with pytest.raises(FormulaError, match=r"torch.relu cannot be used in a formula; use the functions of graphsweep"):
        Model.from_formula(lambda g, x, w: torch.relu(x), **options)
    with pytest.raises(FormulaError, match=r"torch.cat cannot be used in a formula"):
        Model.from_formula(lambda g, x, w: torch.cat([x, x]), **options)
