"""Single PyG layers, unmodified: the imported program gives what the layer gives, on awkward graphs; its compiled form
is as accurate as PyG's own float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Linear, ReLU, Sequential
from torch_geometric import nn
from torch_geometric.nn import aggr

from pipeline.errors import ModelError
from pipeline.pyg import import_module
from tests.pyg import coverage
from tests.pyg.graphs import assert_same

HISTOGRAM = torch.tensor([0, 4, 6, 3, 1])  # of degrees, as PNA wants them


def mlp(width, out):
    return Sequential(Linear(width, 12), ReLU(), Linear(12, out))


WEIGHT = {"edge_weight": ()}
FEATURES = {"edge_attr": 4}
RELATIONS = {"edge_type": range(4)}

LAYERS = {
    # convolutions of a published name, with the options that change what they compute
    "gcn": (lambda: nn.GCNConv(16, 8), {}),
    "gcn weighted": (lambda: nn.GCNConv(16, 8), WEIGHT),
    "gcn improved": (lambda: nn.GCNConv(16, 8, improved=True), WEIGHT),
    "gcn cached": (lambda: nn.GCNConv(16, 8, cached=True), WEIGHT),
    "gcn without normalisation": (lambda: nn.GCNConv(16, 8, normalize=False), WEIGHT),
    "gcn without self-loops": (lambda: nn.GCNConv(16, 8, add_self_loops=False, bias=False), WEIGHT),
    "sage mean": (lambda: nn.SAGEConv(16, 8), {}),
    "sage max": (lambda: nn.SAGEConv(16, 8, aggr="max"), {}),
    "sage min": (lambda: nn.SAGEConv(16, 8, aggr="min"), {}),
    "sage sum, projected, normalised": (lambda: nn.SAGEConv(16, 8, aggr="sum", project=True, normalize=True), {}),
    "sage several": (lambda: nn.SAGEConv(16, 8, aggr=["mean", "max", "std", "var", "softmax"]), {}),
    "sage powermean": (lambda: nn.SAGEConv(16, 8, aggr=nn.PowerMeanAggregation(p=2.0)), {}),
    "sage median": (lambda: nn.SAGEConv(16, 8, aggr="median"), {}),
    "sage product": (lambda: nn.SAGEConv(16, 8, aggr="mul"), {}),
    "sage quantiles": (lambda: nn.SimpleConv(aggr.QuantileAggregation([0.1, 0.5, 1.0], "higher")), {}),
    "sage quantile, filled": (lambda: nn.SAGEConv(16, 8, aggr=aggr.QuantileAggregation(0.7, fill_value=-1.0)), {}),
    "sage quantile, midpoint": (lambda: nn.SAGEConv(16, 8, aggr=aggr.QuantileAggregation(0.35, "midpoint")), {}),
    "sage several with median": (lambda: nn.SAGEConv(16, 8, aggr=["median", "mul", "sum"]), {}),
    "sage several, attended": (
        lambda: nn.SAGEConv(
            16,
            8,
            aggr=aggr.MultiAggregation(
                ["median", "mean"], mode="attn", mode_kwargs={"in_channels": 16, "out_channels": 16, "num_heads": 2}
            ),
        ),
        {},
    ),
    "sage several quantiles, added": (
        lambda: nn.SAGEConv(
            16,
            8,
            aggr=aggr.MultiAggregation([aggr.QuantileAggregation(0.5), "mul"], mode="sum"),
        ),
        {},
    ),
    "pna of medians": (lambda: nn.PNAConv(16, 8, ["median", "mul"], ["identity", "linear"], HISTOGRAM), {}),
    "scaled median": (
        lambda: nn.SAGEConv(16, 8, aggr=aggr.DegreeScalerAggregation("median", "amplification", HISTOGRAM)),
        {},
    ),
    "gcn median": (lambda: nn.GCNConv(16, 8, aggr="median"), WEIGHT),
    "gcn product": (lambda: nn.GCNConv(16, 8, aggr="mul"), WEIGHT),
    "gin median of edges": (lambda: nn.GINEConv(mlp(16, 8), edge_dim=4, aggr="median"), FEATURES),
    "sage without root": (lambda: nn.SAGEConv(16, 8, root_weight=False), {}),
    "gin": (lambda: nn.GINConv(mlp(16, 8)), {}),
    "gin eps": (lambda: nn.GINConv(mlp(16, 8), eps=0.3, train_eps=True), {}),
    "gine": (lambda: nn.GINEConv(mlp(16, 8), edge_dim=4), FEATURES),
    "gat": (lambda: nn.GATConv(16, 8, heads=4), {}),
    "gat mean of heads": (lambda: nn.GATConv(16, 8, heads=4, concat=False, residual=True), {}),
    "gat without self-loops": (lambda: nn.GATConv(16, 8, heads=2, add_self_loops=False), {}),
    "gat edge_dim": (lambda: nn.GATConv(16, 8, heads=4, edge_dim=4), FEATURES),
    "gat edge_dim, fill add": (lambda: nn.GATConv(16, 8, edge_dim=4, fill_value="add"), FEATURES),
    "gat edge_dim, fill max": (lambda: nn.GATConv(16, 8, edge_dim=4, fill_value="max"), FEATURES),
    "gat edge_dim, fill min": (lambda: nn.GATConv(16, 8, edge_dim=4, fill_value="min"), FEATURES),
    "gat edge_dim, fill number": (lambda: nn.GATConv(16, 8, edge_dim=4, fill_value=0.5), FEATURES),
    "gat edge_dim, fill tensor": (lambda: nn.GATConv(16, 8, edge_dim=4, fill_value=torch.ones(4)), FEATURES),
    "gatv2": (lambda: nn.GATv2Conv(16, 8, heads=4, share_weights=True), {}),
    "gatv2 edge_dim": (lambda: nn.GATv2Conv(16, 8, heads=4, edge_dim=4), FEATURES),
    "transformer": (lambda: nn.TransformerConv(16, 8, heads=4, edge_dim=4, beta=True), FEATURES),
    "graphconv": (lambda: nn.GraphConv(16, 8), WEIGHT),
    "gated graph": (lambda: nn.GatedGraphConv(16, 3), {}),
    "gated residual": (lambda: nn.ResGatedGraphConv(16, 8, edge_dim=4), FEATURES),
    "appnp": (lambda: nn.APPNP(5, 0.1), WEIGHT),
    "sgc": (lambda: nn.SGConv(16, 8, 3, cached=True), WEIGHT),
    "ssg": (lambda: nn.SSGConv(16, 8, 0.1, 3), WEIGHT),
    "tag": (lambda: nn.TAGConv(16, 8, 3), WEIGHT),
    "le": (lambda: nn.LEConv(16, 8), WEIGHT),
    "arma": (lambda: nn.ARMAConv(16, 8, num_stacks=2, num_layers=2), WEIGHT),
    "agnn": (lambda: nn.AGNNConv(), {}),
    "film": (lambda: nn.FiLMConv(16, 8), {}),
    "crystal graph": (lambda: nn.CGConv(16, dim=4, batch_norm=True), FEATURES),
    "edge network": (lambda: nn.NNConv(16, 8, mlp(4, 128)), FEATURES),
    "edgeconv": (lambda: nn.EdgeConv(mlp(32, 8)), {}),
    "feast": (lambda: nn.FeaStConv(16, 8, heads=2), {}),
    "pna": (lambda: nn.PNAConv(16, 8, ["mean", "min", "max", "std"], ["identity", "amplification"], HISTOGRAM), {}),
    "genconv": (lambda: nn.GENConv(16, 8, edge_dim=4, learn_t=True), FEATURES),
    "supergat": (lambda: nn.SuperGATConv(16, 8, heads=2), {}),
    "efficient graph": (lambda: nn.EGConv(16, 8, aggregators=["symnorm", "max"]), {}),
    "path distance": (lambda: nn.PDNConv(16, 8, 4, 8), FEATURES),
    "general": (lambda: nn.GeneralConv(16, 8, attention=True, heads=2), {}),
    "lightgcn": (lambda: nn.LGConv(), WEIGHT),
    "antisymmetric": (lambda: nn.AntiSymmetricConv(16), {}),
    "mixhop": (lambda: nn.MixHopConv(16, 8), WEIGHT),
    "gaussian mixture": (lambda: nn.GMMConv(16, 8, dim=4, kernel_size=3), FEATURES),
    "simple": (lambda: nn.SimpleConv("mean", combine_root="cat"), WEIGHT),
    "cluster": (lambda: nn.ClusterGCNConv(16, 8, diag_lambda=0.3), {}),
    "weisfeiler lehman": (lambda: nn.WLConvContinuous(), WEIGHT),
    "molecular fingerprint": (lambda: nn.MFConv(16, 8), {}),
    "molecular fingerprint, few degrees": (lambda: nn.MFConv(16, 8, max_degree=3, bias=False), {}),
    "molecular fingerprint, one degree": (lambda: nn.MFConv(16, 8, max_degree=0, aggr="max"), {}),
    "molecular fingerprint against the edges": (lambda: nn.MFConv(16, 8, 5, flow="target_to_source"), {}),
    # one edge table with a column of relations
    "relational": (lambda: nn.RGCNConv(16, 8, 4), RELATIONS),
    "relational, bases": (lambda: nn.RGCNConv(16, 8, 4, num_bases=2, aggr="sum"), RELATIONS),
    "relational, fast": (lambda: nn.FastRGCNConv(16, 8, 4), RELATIONS),
    "relational attention": (lambda: nn.RGATConv(16, 8, 4), RELATIONS),
    # at the source, or over the whole graph
    "chebyshev, largest weight as eigenvalue": (lambda: nn.ChebConv(16, 8, 3), WEIGHT),
    "sage against the edges": (lambda: nn.SAGEConv(16, 8, flow="target_to_source"), {}),
    "gcn against the edges": (lambda: nn.GCNConv(16, 8, flow="target_to_source"), WEIGHT),
    "gat against the edges": (lambda: nn.GATConv(16, 8, heads=2, flow="target_to_source"), {}),
    "both directions": (lambda: nn.DirGNNConv(nn.GCNConv(16, 8)), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    torch.manual_seed(0)
    make, edges = LAYERS[name]
    coverage.check(name, make(), **edges)


def test_every_convolution_is_in_the_table_or_has_a_reason():
    tried = {coverage.kind(net) for net, _, _ in coverage.configurations().values()}
    assert tried.isdisjoint(coverage.ABSENT)
    assert tried | coverage.ABSENT.keys() >= set(nn.conv.__all__)


UNEXPRESSED = {
    "nearest quantile": (
        lambda: nn.SAGEConv(16, 8, aggr=aggr.QuantileAggregation(0.5, "nearest")),
        "quantile rounds, between two neighbours, by their place among all edges; use lower, higher, linear or",
    ),
    "lstm": (
        lambda: nn.SAGEConv(16, 8, aggr="lstm"),
        r"aggr_module \(LSTMAggregation\), \w+.py:\d+, LSTMAggregation runs an LSTM over the neighbours: it "
        "depends on the order of the edges, which a table does not have; use mean, max, std, softmax, median or quan",
    ),
    "gru": (
        lambda: nn.SimpleConv(aggr.GRUAggregation(16, 16)),
        "runs a GRU over the neighbours: it depends on the order",
    ),
    "mlp": (
        lambda: nn.SimpleConv(aggr.MLPAggregation(16, 8, 5, num_layers=1)),
        "n-th weights: it depends on the order",
    ),
    "patches": (
        lambda: nn.SimpleConv(aggr.PatchTransformerAggregation(16, 8, 5, 8)),
        "cuts the neighbours into patches: it depends on the order",
    ),
    "lcm": (lambda: nn.SimpleConv(aggr.LCMAggregation(16, 8)), "by a GRU: it depends on the order"),
    "sorted": (lambda: nn.SimpleConv(aggr.SortAggregation(3)), "keeps the k neighbours with the largest last number"),
    "set transformer": (
        lambda: nn.SimpleConv(aggr.SetTransformerAggregation(16)),
        "lets all neighbours of a node attend to each other; use softmax or GATConv",
    ),
    "multiset transformer": (
        lambda: nn.SimpleConv(aggr.GraphMultisetTransformer(16, k=3)),
        "lets all neighbours of a node attend to each other",
    ),
    "equilibrium": (
        lambda: nn.SimpleConv(aggr.EquilibriumAggregation(16, 8, [8], 2)),
        "solves for its output by gradient descent while it runs",
    ),
}


@pytest.mark.parametrize("name", UNEXPRESSED)
def test_layer_that_no_formula_expresses(name):
    make, message = UNEXPRESSED[name]
    with pytest.raises(ModelError, match=message):
        import_module(make().eval(), features=16)


def test_softmax_over_neighbours_is_one_operation():
    program = assert_same(nn.GATConv(16, 8, heads=2))
    operations = [value.op for value in program.values]
    assert operations.count("softmax") == 1
    assert "exp" not in operations


def test_edges_are_not_copied_for_self_loops():
    program = assert_same(nn.GCNConv(16, 8))
    assert {str(value.space) for value in program.values if value.is_edge} == {"edges(proper+self)"}
