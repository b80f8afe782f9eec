"""Train the model of module.py, and write down what PyTorch Geometric answers.

Comes in: nodes.parquet, edges.parquet. Goes out, beside this file: weights.safetensors, expected.parquet (the model's
output for every airport, in float32 and in float64), metrics.json. One thread, fixed seeds; about one minute:

    python data/flights/train.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import torch
import torch_geometric
from module import REGIONS, WEIGHTS, AirportRegion, build
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
SEED = 2026
EPOCHS = 300
REPEATS = 10  # other splits, to tell skill from luck


@dataclass(frozen=True)
class Airports:
    """The graph as tensors. region is -1 where unknown; split is one of train, validation, test, or empty."""

    ids: list[str]
    x: Tensor
    edge_index: Tensor
    distance: Tensor
    region: Tensor
    split: np.ndarray

    def rows(self, split: str) -> Tensor:
        return torch.from_numpy(np.flatnonzero(self.split == split))


class WithoutRoutes(nn.Module):
    """What the features alone can tell: a network of the same width which is given no edges."""

    def __init__(self, features: int = 19, hidden: int = 64) -> None:
        super().__init__()
        norm, last = nn.BatchNorm1d(hidden), nn.Linear(hidden, len(REGIONS))
        layers = (nn.BatchNorm1d(features), nn.Linear(features, hidden), norm, nn.ReLU(), nn.Dropout(0.5), last)
        self.layers = nn.Sequential(*layers)

    def logits(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.layers(x)


def load() -> Airports:
    nodes = pd.read_parquet(HERE / "nodes.parquet")
    edges = pd.read_parquet(HERE / "edges.parquet")
    position = pd.Index(nodes.id)
    return Airports(
        ids=nodes.id.tolist(),
        x=torch.from_numpy(np.stack(nodes.x)),
        edge_index=torch.from_numpy(np.stack([position.get_indexer(edges.src), position.get_indexer(edges.dst)])),
        distance=torch.tensor(edges.distance.to_numpy(np.float32, copy=True))[:, None],
        region=torch.tensor([REGIONS.index(name) if name in REGIONS else -1 for name in nodes.region]),
        split=nodes.split.fillna("").to_numpy(),
    )


def reshuffled(airports: Airports, seed: int) -> Airports:
    """The same airports in another split: each region's labels are dealt out anew."""
    random, split = np.random.default_rng(seed), airports.split.copy()
    for region in range(len(REGIONS)):
        rows = np.flatnonzero((airports.region.numpy() == region) & (split != ""))
        split[rows] = random.permutation(split[rows])
    return Airports(airports.ids, airports.x, airports.edge_index, airports.distance, airports.region, split)


def fit(model: nn.Module, airports: Airports) -> nn.Module:
    """Full-batch Adam; the weights of the epoch with the lowest validation loss. Test airports are not looked at."""
    graph = airports.x, airports.edge_index, airports.distance
    train, validation = airports.rows("train"), airports.rows("validation")
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-3)
    loss = nn.CrossEntropyLoss()
    lowest, best = float("inf"), {}
    for epoch in range(EPOCHS):
        model.train()
        optimiser.zero_grad()
        loss(model.logits(*graph)[train], airports.region[train]).backward()
        optimiser.step()
        if epoch % 5 == 4:
            model.eval()
            with torch.no_grad():
                now = loss(model.logits(*graph)[validation], airports.region[validation]).item()
            if now < lowest:
                lowest, best = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, airports: Airports, split: str = "test") -> float:
    rows = airports.rows(split)
    predicted = model.logits(airports.x, airports.edge_index, airports.distance).argmax(dim=-1)
    return (predicted[rows] == airports.region[rows]).double().mean().item()


def trained(kind: type[nn.Module], airports: Airports, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return fit(kind(), airports)


def repeated(kind: type[nn.Module], airports: Airports) -> dict[str, float]:
    """Mean and standard deviation of the test accuracy over other splits and seeds."""
    splits = [reshuffled(airports, seed) for seed in range(REPEATS)]
    found = [accuracy(trained(kind, split, seed), split) for seed, split in enumerate(splits)]
    return {"mean": round(float(np.mean(found)), 4), "standard_deviation": round(float(np.std(found)), 4)}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    airports = load()
    save_file(trained(AirportRegion, airports, SEED).state_dict(), WEIGHTS)

    model, graph = build(), (airports.x, airports.edge_index, airports.distance)
    with torch.no_grad():
        out = model(*graph)
        test_accuracy = {split: round(accuracy(model, airports, split), 4) for split in ("train", "validation", "test")}
        out64 = build().double()(graph[0].double(), graph[1], graph[2].double())
    expected = {
        "id": pa.array(airports.ids),
        "out": pa.array(list(out.numpy()), pa.list_(pa.float32())),
        "out64": pa.array(list(out64.numpy()), pa.list_(pa.float64())),
    }
    pa.parquet.write_table(pa.table(expected), HERE / "expected.parquet", compression="zstd")

    tested = airports.region[airports.rows("test")]
    metrics = {
        "question": "the Census region of an airport, from its routes and features, without coordinates",
        "classes": REGIONS,
        "accuracy": test_accuracy,
        "test_majority_share": round(tested.bincount().max().item() / len(tested), 4),
        "test_accuracy_without_routes": round(accuracy(trained(WithoutRoutes, airports, SEED), airports), 4),
        "other_splits": {
            "splits": REPEATS,
            "accuracy": repeated(AirportRegion, airports),
            "accuracy_without_routes": repeated(WithoutRoutes, airports),
        },
        "airports": {split or "none": int((airports.split == split).sum()) for split in np.unique(airports.split)},
        "max_abs_float32_minus_float64": float(f"{(out.double() - out64).abs().max().item():.3g}"),
        "seed": SEED,
        "torch": torch.__version__.split("+")[0],
        "torch_geometric": torch_geometric.__version__,
    }
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
