"""Train the model of module.py, and write down what PyTorch Geometric answers.

Comes in: the graph that generate.py makes. Goes out, beside this file: weights.safetensors, expected.parquet (the
model's output for every account, in float32 and in float64), metrics.json. One thread, fixed seeds; some minutes:

    python data/payments/train.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import torch
import torch_geometric
from generate import PAYS, tables
from module import WEIGHTS, Ring, build
from safetensors.torch import save_file
from torch import Tensor, nn
from torch_geometric.data import HeteroData

HERE = Path(__file__).parent
SEED = 2026
EPOCHS = 150
FEATURES = {"account": ["age", "balance", "business"], "card": ["limit"], "merchant": ["ticket", "online"]}


class WithoutEdges(nn.Module):
    """What an account's own columns can tell: a network of the same width which is given no edges."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        first, last = nn.Linear(3, hidden), nn.Linear(hidden, 1)
        self.layers = nn.Sequential(nn.BatchNorm1d(3), first, nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)

    def logits(self, data: HeteroData) -> Tensor:
        return self.layers(torch.log1p(data["account"].x)).squeeze(-1)


def load() -> HeteroData:
    """As PyTorch Geometric takes it; `y` and `split` are those of the accounts."""
    nodes, edges = tables()
    data = HeteroData()
    for name, columns in FEATURES.items():
        x = np.stack([nodes[name][column].to_numpy().astype(np.float32) for column in columns], axis=1)
        data[name].x = torch.from_numpy(x)
    data["device"].num_nodes = nodes["device"].num_rows
    for kind, table in edges.items():
        ends = (
            pc.index_in(table[column].combine_chunks(), nodes[name]["id"]).to_numpy()
            for column, name in (("src", kind[0]), ("dst", kind[2]))
        )
        data[kind].edge_index = torch.from_numpy(np.stack(list(ends)).astype(np.int64))
    data[PAYS].edge_attr = torch.from_numpy(edges[PAYS]["amount"].to_numpy().copy())[:, None]
    data["account"].y = torch.from_numpy(nodes["account"]["fraud"].to_numpy(zero_copy_only=False).astype(np.float32))
    data["account"].split = nodes["account"]["split"].to_pylist()
    return data


def rows(data: HeteroData, split: str) -> Tensor:
    return torch.tensor([number for number, each in enumerate(data["account"].split) if each == split])


def fit(model: nn.Module, data: HeteroData) -> nn.Module:
    """Full-batch Adam; the weights of the epoch with the best validation score. Test accounts are not looked at."""
    train, y = rows(data, "train"), data["account"].y
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(8.0))
    highest, best = -1.0, {}
    for epoch in range(EPOCHS):
        model.train()
        optimiser.zero_grad()
        loss(model.logits(data)[train], y[train]).backward()
        optimiser.step()
        if epoch % 5 == 4:
            now = average_precision(model, data, "validation")
            if now > highest:
                highest, best = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def average_precision(model: nn.Module, data: HeteroData, split: str) -> float:
    """Mean over the fraudsters of the precision down to each, in the order of the scores."""
    model.eval()
    chosen = rows(data, split)
    right = data["account"].y[chosen][model.logits(data)[chosen].argsort(descending=True, stable=True)]
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    return float((precision * right).sum() / right.sum())


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = load()
    torch.manual_seed(SEED)
    save_file(fit(Ring(), data).state_dict(), WEIGHTS)

    model = build()
    exact = data.clone()
    for store in exact.stores:
        for name, item in store.items():
            if torch.is_tensor(item) and item.is_floating_point():
                store[name] = item.double()
    with torch.no_grad():
        out, out64 = model(data)["account"], build().double()(exact)["account"]
    torch.manual_seed(SEED)
    without = fit(WithoutEdges(), data)
    nodes, _ = tables()
    expected = {"id": nodes["account"]["id"], "out": pa.array(out.numpy()), "out64": pa.array(out64.numpy())}
    pa.parquet.write_table(pa.table(expected), HERE / "expected.parquet", compression="zstd")
    tested = data["account"].y[rows(data, "test")]
    metrics = {
        "question": "does an account belong to a ring of fraudsters",
        "average_precision": {
            split: round(average_precision(model, data, split), 4) for split in ("train", "validation", "test")
        },
        "average_precision_without_edges": round(average_precision(without, data, "test"), 4),
        "share_of_fraudsters": round(float(tested.mean()), 4),
        "max_abs_float32_minus_float64": float(f"{(out.double() - out64).abs().max().item():.3g}"),
        "seed": SEED,
        "torch": torch.__version__.split("+")[0],
        "torch_geometric": torch_geometric.__version__,
    }
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
