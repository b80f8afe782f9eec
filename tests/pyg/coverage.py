"""The coverage table of pipeline/pyg/COVERAGE.md, written by the list that the tests run over.

    python -m tests.pyg.coverage

Every class of torch_geometric.nn.conv is in it: with the options tried, or with the reason for its absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch_geometric import nn

import pipeline
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.pyg import import_module
from tests.pyg import aggregations
from tests.pyg.accuracy import accuracy, shipped, shipped_by_plan
from tests.pyg.graphs import imported_same

TABLE = Path(pipeline.__file__).parent / "pyg" / "COVERAGE.md"

NEIGHBOURS = "chooses its neighbours while it runs"
TYPED = "takes several node and edge types; it is imported, and checked in tests/pyg/test_typed*.py"
COLUMNS = "takes the types as columns of integers; it is imported, and checked in tests/pyg/test_integers.py"
GPU = "a GPU's version of the class of the same name"
ABSENT = {
    "MessagePassing": "the base class: users' own subclasses are imported like any other module",
    "CuGraphGATConv": GPU,
    "CuGraphRGCNConv": GPU,
    "CuGraphSAGEConv": GPU,
    "FusedGATConv": GPU,
    "DynamicEdgeConv": NEIGHBOURS,
    "GravNetConv": NEIGHBOURS,
    "XConv": NEIGHBOURS,
    "HGTConv": TYPED,
    "HANConv": TYPED,
    "HEATConv": COLUMNS,
    "HeteroConv": TYPED,
    "HypergraphConv": "its edges join more than two nodes",
    "MeshCNNConv": "works on the faces of a mesh, with four neighbours in a fixed order",
    "WLConv": "hashes colours in the order in which they are met",
    "GPSConv": "attends from every node to every other: a dense product over the whole graph",
    "PANConv": "multiplies sparse matrices in a compiled extension (torch-sparse), which cannot be recorded",
    "SplineConv": "computes in a compiled extension (torch-spline-conv), which cannot be recorded",
}

HEADER = """\
# Which layers of PyTorch Geometric are imported

Written by `python -m tests.pyg.coverage` from the list that the tests run over; nobody edits it. Each row is one
configuration: imported by running it once, then compared on three graphs, among them one with 10,000 edges into one
node, cut into 1, 3 and 8 blocks.

* **error**: of the compiled float32 program against PyG in float64, as a share of the largest number; **PyG's**: of
  PyG's own float32 run. Tests hold the first to 4 × the second, or 1e-6.
* **lanes sent**: float32 numbers per node that cross the network in one run: as the layer is written, and as planned.

What an import never passes over, whatever the class:

* **Attributes of `data`.** Each one that `forward(data)` asks for has to be named, `inputs={"edge_weight":
  "edges.amount"}`, or None if the data has none, `inputs={"edge_weight": None}`. Looking over all of them (`keys()`, a
  loop) is refused.
* **Weights that are never read** are an error that names them and the arguments left out; `unused=["decoder.*"]`
  accepts them, and `print(model)` lists them. Those that PyG's own classes always leave are only listed.
* **Values of a matrix.** An argument such as `adj_t` is `("edge_index", "edges.weight")`; `("edge_index", None)` if all
  values are 1; `("edge_index", "gcn_norm")` if it was normalised once before training, as in OGB's GCNs and PyG's
  gcn2_cora: every node has one self-loop of weight 1, then D^-1/2 A D^-1/2. For another normalisation, import a module
  that takes edge_index, makes the matrix by `torch.sparse_coo_tensor(edge_index.flip(0), values, (n, n))` and
  `.to_sparse_csr()`, and calls the net. The matrix is a torch.sparse one; parallel edges are entries of their own.
* **Branches on a size** (`x.size(0) > 2000`, `len(x)`, `numel()`, arithmetic, roots, logarithms of these): a graph on
  the other side is made and compared, or the import is refused where it would be too large. Not followed are sizes that
  go through `int()`, `float()`, NumPy or a tensor: for these there is one larger graph, of 1,500 to 50,000 nodes. Not
  seen are branches inside TorchScript functions, and what is done if a mask chooses no node at all.

| class | tried as | supersteps | lanes sent: as written | as planned | error | PyG's |
|---|---|---:|---:|---:|---:|---:|
"""
TYPED_MODELS = """

## Models of several node and edge types

`Model.from_pyg(net)` takes a module whose forward takes `x_dict` and `edge_index_dict`, or one HeteroData under any
name. Where the module does not hold the types itself (HGTConv, HANConv and HeteroConv do), say them:
`metadata=data.metadata()`; or `like=data`, which also tells the widths and which types have edge features. Widths are
found where they are not told: `features={"x_dict": {"paper": 64}}`. Each of these is compared with PyG in
float64, on 1, 3 and 8 blocks, with types that are empty (tests/pyg/test_typed*.py):

| what | as tried |
|---|---|
| HeteroConv | SAGEConv, GATConv, GATv2Conv, GraphConv; joined by sum, mean, max, min, cat |
| HGTConv | several heads, with skips; a type that only sends; one softmax over all relations into a node |
| HANConv | one and several heads; its attention over relations averages over all nodes of a type |
| to_hetero | sum, mean, max, min, mul |
| to_hetero_with_bases | three bases |
| HeteroDictLinear, HeteroLinear | types in any order; types as a column of the nodes |
| HeteroLayerNorm, HeteroBatchNorm | by a vector of types; by where each type begins |
| HeteroJumpingKnowledge | cat, max, lstm |
| HEATConv, (Fast)RGCNConv, RGATConv, FiLMConv, SimpleHGN | types as columns, `range(4)`; of all types in one tensor |
| your own | all types in one tensor by torch.cat, offsets added to edge_index; cut again with split or slices |

A tensor of all types may be cut where one type ends and the next one begins, and nowhere else. What is computed
across the rows of several types (a sum, a norm) is refused: do it for each type. HGTConv takes relations by their
place: a program takes them by name, as the module does with its edge types in the order of its metadata."""
REDUCTIONS = """
## Which reductions aggregations become

What PyG's aggregations are when they are planned. A module of your own that is made of scatters becomes the same.

| reduction | from |
|---|---|
"""
FOOTER = """
## Public families of node models

Written anew in their authors' spelling, compared with PyG in float64 (tests/pyg/test_model_families.py,
test_spellings.py, test_node_tables.py, test_models.py, test_matrix.py, test_edge_outputs.py, test_edge_sets.py).
Those marked * were imported once, with the import's own check on other graphs, and are in no test. Nothing is told but
what stands here.

| family | told |
|---|---|
| GCNII, GPRGNN, FAGCN, GAMLP, degrees as categories | nothing |
| a row per edge: Multi-GNN (GINe, PNA), interaction networks, scores of the given edges | nothing |
| self-loops added twice, their values being added up: BernNet, ChebNetII (test_loops_again.py) | nothing |
| OGB's GCN and SAGE*, APPNP*, JKNet*, MixHop*, UniMP*, DeeperGCN*, RevGNN*, PMLP* | nothing; an adj_t as above |
| a sparse matrix made in forward: H2GCN, SGFormer, DIFFormer*, ACM-GCN, GGCN, Correct and Smooth | nothing |
| sparse matrices of several sets of edges, their sums and products (test_edge_sets.py) | as several edge_index |
| linear attention beside a convolution, as in GraphGPS* | nothing |
| SIGN on stored hops, heads of two-stage nets: no edges | a column for each hop |
| coalesce inside forward, before sums of value times row or a maximum (test_merged_edges.py) | nothing |
| GAE, VGAE, ARGVA, DeepGraphInfomax | nothing: imported as their encoder |
| edge classifiers and link decoders over the edges of one type of a HeteroData model | nothing |
| a learned row per node: LightGCN, LINKX, RGCN on entities, rows looked up by `n_id` (test_node_ids.py) | `node_ids=` |
| the same, its rows as a column of the nodes | `inputs={"embedding.weight": "nodes.COLUMN"}` |
| SAGE on sampled adjs | `inputs={"adjs": ["edge_index", "edge_index"]}`, one for each layer |
| rows of the nodes beside rows of edges, attention, a loss, pairs | `outputs=["output_0"]` |
| SignedGCN, multi-view nets: several edge_index | their tables: `{"pos_edge_index": "pos", "neg_edge_index": "neg"}` |

Refused, with what to import instead: a row per graph (pooling), link decoders for pairs that are no edges, full
attention (GPSConv), k-NN, top-k and sort pooling, Graph U-Nets (products of sparse matrices), to_undirected inside
forward, coalesce before anything else than sums and maxima, self-loops added twice for more than sums, learned rows of
two types in one tensor (users, then items).
torch_scatter's max, min and mul, which are compiled, are imported; its functions by pointers (segment_csr) are refused.
They are tested on functions that stand in for the extension (test_torch_scatter.py). torch_sparse is in no test.

### How much of public code that is

Measured once, in November 2026, on the code of others, which is not in this repository: 163 models and layers from 30
public repositories that give a row per node. Each was built as its author's script builds it, with random weights, and
imported with what the messages asked for (a column, a width, `unused=`, `outputs=`; ten in a module of a few lines that
hands over what they take); then compared with PyG 2.8 in float64 on a graph with isolated nodes, a hub, self-loops and,
unless it takes a matrix, parallel edges.

* **157 of 163 (96 %) gave PyG's numbers**: within 1e-9 of the largest, or 1e-6 where the model rounds to float32 itself
  or weights are made of weights. None gave other numbers without a word. Five of the 157 (GCN and APPNP on `adj_t`)
  were compared as on a SparseTensor; the import says that a torch.sparse matrix with self-loops gives other ones.
* **6 were refused**: nodes sorted by their graph (SGFormer and Polynormer with its attention, of
  torch_geometric.nn.models; their authors' own versions are imported); batch and y_graph asked of data (GPSE); types
  looked at one by one, `if idx.sum() == 0` (pyHGT); edges joined inside forward (MagNet); a list of sampled
  adj_t (OGB's mag240m).
* Not counted: 7 that give no row per node from an edge_index of the table (pooling, dense N x N, random numbers, a
  graph that forward takes from a global variable), and 11 that do not run as they are on PyG 2.8 or without
  torch_sparse. Where a model makes a SparseTensor in forward, a torch.sparse matrix stood in its place.

Of: pyg-team/pytorch_geometric (examples and nn.models), snap-stanford/ogb, and
DGraphXinye/DGraphFin_baseline, EtoDemerzel0427/ogbn-arxiv-baselines, IBM/Multi-GNN, Jusminno2/gnn_research,
LUOyk1999/tunedGNN, RecklessRonan/GloGNN, SherylHYX/pytorch_geometric_signed_directed,
VITA-Group/Deep_GCN_Benchmarking, Zhang-Linhui/graph_glh, acbull/pyHGT,
benedekrozemberczki/pytorch_geometric_temporal, cw-seo/SiReN-reco, divelab/DeeperGNN,
echowve/meshGraphNets_pytorch, emalgorithm/directed-graph-neural-network, feng-Qinyu/OGBN-GATv2, ivam-he/BernNet,
ivam-he/ChebNetII, jianhao2016/GPRGNN, lightaime/deep_gcns_torch, pygod-team/pygod, qitianwu/DIFFormer,
qitianwu/SGFormer, sankalpams/OGBN-Arxiv-GNN-Classification, siantist/graph_mining,
tech-srl/how_attentive_are_gats, vganapati/graph-neural-networks, ytchx1999/PyG-ogbn-products.

## Which are not in the table

| class | because |
|---|---|"""


@dataclass(frozen=True)
class Row:
    """One configuration. What comes before the errors is the same on every machine."""

    kind: str
    name: str
    supersteps: int
    written: int
    planned: int
    error: float = 0.0
    pyg: float = 0.0

    def __str__(self) -> str:
        return f"{self.fixed} {self.error:.1e} | {self.pyg:.1e} |"

    @property
    def fixed(self) -> str:
        return f"| {self.kind} | {self.name} | {self.supersteps} | {self.written} | {self.planned} |"


def kind(net: torch.nn.Module) -> str:
    """The outermost convolution."""
    names = [type(module).__name__ for module in net.modules()]
    return next(name for name in names if name in nn.conv.__all__)


def row(name: str, net: torch.nn.Module, program, weights, found=None) -> Row:
    plan = Plan(*lower(program, weights))
    errors = (found.ours, found.pyg) if found else ()
    return Row(kind(net), name, len(plan.steps), shipped(program), shipped_by_plan(plan), *errors)


# Weights that a layer has and, called as it is tried, never reads.
UNUSED = {"molecular fingerprint without root": ["conv.lins_r.*"]}


def check(name: str, net: torch.nn.Module, x: int = 16, **edges) -> None:
    """The module's numbers on awkward graphs, PyG's accuracy when compiled, and a row of the table."""
    # where the first node has no edge, PyG's quantiles take the last but one of no messages: an IndexError
    sorts = any(isinstance(module, nn.aggr.QuantileAggregation) for module in net.modules())
    program, weights = imported_same(net, x, first_has_edge=sorts, unused=UNUSED.get(name, ()), **edges)
    found = accuracy(net, program, weights, x, **edges)
    assert found.good, found
    assert row(name, net, program, weights).fixed in TABLE.read_text(), "python -m tests.pyg.coverage writes it anew"


def configurations() -> dict[str, tuple[torch.nn.Module, int, dict[str, object]]]:
    """Name → module, width of x, edge arguments and their widths."""
    from tests.pyg import test_layers, test_more_layers

    made: dict[str, tuple[torch.nn.Module, int, dict[str, object]]] = {}
    for name, (make, edges) in test_layers.LAYERS.items():
        torch.manual_seed(0)
        made[name] = make(), 16, edges
    for name, (make, call) in test_more_layers.LAYERS.items():
        torch.manual_seed(0)
        made[name] = test_more_layers.Wrapped(make(), call), test_more_layers.WIDTH, {}
    return made


def write() -> None:
    rows = []
    for name, (net, x, edges) in configurations().items():
        net.eval()
        columns = {key: f"edges.{key}" for key in edges}
        unused = UNUSED.get(name, ())
        program, weights, _ = import_module(net, inputs=columns, features={"x": x, **edges}, unused=unused)
        rows.append(row(name, net, program, weights, accuracy(net, program, weights, x, **edges)))
    lines = [str(one) for one in sorted(rows, key=lambda one: one.kind)]
    absent = [f"| {kind} | {reason} |" for kind, reason in sorted(ABSENT.items())]
    reduced = REDUCTIONS + aggregations.table() + TYPED_MODELS
    TABLE.write_text(HEADER + "\n".join([*lines, reduced, FOOTER, *absent]) + "\n")


if __name__ == "__main__":
    write()
