"""The model: does an account belong to a ring of fraudsters? As PyTorch Geometric runs it.

Comes in: tables of a payments graph (generate.py). Goes out: for every account one probability.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GATv2Conv, HeteroConv, SAGEConv

WEIGHTS = Path(__file__).parent / "weights.safetensors"
WIDTHS = {"account": 3, "card": 1, "merchant": 2}  # devices have no columns: what they are is who uses them
Triple = tuple[str, str, str]


class Ring(nn.Module):
    """Two layers over all types of edges. Money is weighed by attention that sees the amount; the rest are means."""

    def __init__(self, hidden: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.scale = nn.ModuleDict({name: nn.BatchNorm1d(width) for name, width in WIDTHS.items()})
        self.encode = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in WIDTHS.items()})
        self.layers = nn.ModuleList(HeteroConv(relations(hidden, heads), aggr="sum") for _ in range(2))
        self.norms = nn.ModuleList(
            nn.ModuleDict({name: nn.LayerNorm(hidden) for name in (*WIDTHS, "device")}) for _ in range(2)
        )
        self.head = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def logits(self, data: HeteroData) -> Tensor:
        """→ (accounts,)."""
        own = {name: self.encode[name](self.scale[name](torch.log1p(data[name].x))) for name in WIDTHS}
        own["device"] = torch.zeros(data["device"].num_nodes, own["account"].size(1)).to(own["account"])
        amounts = {kind: torch.log1p(amount) for kind, amount in data.edge_attr_dict.items()}
        x = own
        for layer, norms in zip(self.layers, self.norms, strict=True):
            found = layer(x, data.edge_index_dict, edge_attr_dict=amounts)
            x = {name: norms[name](value).relu() for name, value in found.items()}
        return self.head(torch.cat([own["account"], x["account"]], dim=-1)).squeeze(-1)

    def forward(self, data: HeteroData) -> dict[str, Tensor]:
        return {"account": self.logits(data).sigmoid()}


def relations(hidden: int, heads: int) -> dict[Triple, nn.Module]:
    """A layer for each type of edges."""
    between = [
        ("account", "owns", "card"), ("card", "owned by", "account"), ("account", "uses", "device"),
        ("device", "used by", "account"), ("card", "buys at", "merchant"), ("merchant", "sells to", "card"),
    ]  # fmt: skip
    pays = GATv2Conv(hidden, hidden // heads, heads, edge_dim=1, add_self_loops=False)
    return {("account", "pays", "account"): pays, **{kind: SAGEConv(hidden, hidden) for kind in between}}


def build() -> Ring:
    """The trained model, ready for inference."""
    model = Ring()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
