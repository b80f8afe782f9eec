"""The model: in which part of the country is an airport? As PyTorch Geometric runs it.

Comes in: an airport's features (nodes.parquet, column x), the routes between airports, and each route's distance in km.
Goes out: for every airport four probabilities, in the order of REGIONS. It knows no coordinates and no names.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv, SAGEConv

REGIONS = ("West", "Midwest", "South", "Northeast")
WEIGHTS = Path(__file__).parent / "weights.safetensors"


class AirportRegion(nn.Module):
    """Attention over routes, then their mean; the head reads the features and both layers (jumping knowledge)."""

    def __init__(self, features: int = 19, hidden: int = 64, heads: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(features)  # feet, kilometres and counts to one scale
        self.attention = GATv2Conv(features, hidden // heads, heads, edge_dim=1, add_self_loops=False, residual=True)
        self.attention_norm = nn.BatchNorm1d(hidden)
        self.mean = SAGEConv(hidden, hidden)
        self.mean_norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features + 2 * hidden, len(REGIONS))

    def logits(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """(nodes, 19), (2, edges), (edges, 1) → (nodes, 4)."""
        x = self.scale(x)
        near = self.attention(x, edge_index, edge_attr / 1000)
        near = self.dropout(self.attention_norm(near).relu())
        far = self.mean(near, edge_index)
        far = self.dropout(self.mean_norm(far).relu())
        return self.head(torch.cat([x, near, far], dim=-1))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.logits(x, edge_index, edge_attr).softmax(dim=-1)


def build() -> AirportRegion:
    """The trained model, ready for inference."""
    model = AirportRegion()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
