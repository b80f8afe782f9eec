"""The model: where would an airline fly next? As PyTorch Geometric runs it.

Comes in: the typed graph of tables.py. Goes out: for each airport and each carrier a row of 16 numbers. The product of
a carrier's row and an airport's says how well the airport fits the carrier's network.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv, HeteroConv, SAGEConv

WEIGHTS = Path(__file__).parent / "weights.safetensors"
WIDTHS = {"airport": 4, "carrier": 2, "state": 1}
Triple = tuple[str, str, str]


class Network(nn.Module):
    """Layers over all types of edges. Routes are weighed by attention that sees their length; the rest are means."""

    def __init__(self, hidden: int = 32, heads: int = 2, rows: int = 16, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.scale = nn.ModuleDict({name: nn.BatchNorm1d(width) for name, width in WIDTHS.items()})
        self.encode = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in WIDTHS.items()})
        self.layers = nn.ModuleList(HeteroConv(relations(hidden, heads), aggr="sum") for _ in range(layers))
        self.norms = nn.ModuleList(
            nn.ModuleDict({name: nn.LayerNorm(hidden) for name in WIDTHS}) for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.rows = nn.ModuleDict({name: nn.Linear(hidden, rows) for name in ("airport", "carrier")})

    def forward(
        self,
        x_dict: dict[str, Tensor],
        edge_index_dict: dict[Triple, Tensor],
        edge_attr_dict: dict[Triple, Tensor],
    ) -> dict[str, Tensor]:
        """(airports, 4), (carriers, 2), (states, 1) → (airports, 16), (carriers, 16)."""
        x = {name: self.encode[name](self.scale[name](x_dict[name])) for name in WIDTHS}
        distance = {kind: value / 1000 for kind, value in edge_attr_dict.items()}
        for layer, norms in zip(self.layers, self.norms, strict=True):
            found = layer(x, edge_index_dict, edge_attr_dict=distance)
            x = {name: self.dropout(norms[name](x[name] + value).relu()) for name, value in found.items()}
        return {name: rows(x[name]) for name, rows in self.rows.items()}


def relations(hidden: int, heads: int) -> dict[Triple, nn.Module]:
    """A layer for each type of edges."""
    between = [
        ("carrier", "serves", "airport"), ("airport", "served by", "carrier"),
        ("airport", "lies in", "state"), ("state", "holds", "airport"),
    ]  # fmt: skip
    flies = GATv2Conv(hidden, hidden // heads, heads, edge_dim=1, add_self_loops=False)
    return {("airport", "flies to", "airport"): flies, **{kind: SAGEConv(hidden, hidden) for kind in between}}


def build() -> Network:
    """The trained model, ready for inference."""
    model = Network()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
