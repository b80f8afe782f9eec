"""Train the model of module.py, and write down what PyTorch Geometric answers.

Comes in: the graph that tables.py makes. Goes out, beside this file: weights.safetensors, expected.parquet (the model's
rows for every airport and carrier, in float32 and in float64), metrics.json. One thread, fixed seeds; some minutes:

    python data/flights/typed/train.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch_geometric
from module import WEIGHTS, Network, build
from safetensors.torch import save_file
from tables import FLIES, Kind, pairs, tables
from torch import Tensor
from torch.nn import functional

HERE = Path(__file__).parent
FLIGHTS = HERE.parent
SEED = 2026
EPOCHS = 400
SHARES = {"validation": 0.1, "test": 0.2}  # of the pairs of carrier and airport
FEATURES = {
    "airport": ["latitude", "longitude", "altitude", "large"],
    "carrier": ["airports", "routes"],
    "state": ["airports"],
}
Given = tuple[dict[str, Tensor], dict[Kind, Tensor], dict[Kind, Tensor]]


def tensors(nodes: dict[str, pd.DataFrame], edges: dict[Kind, pd.DataFrame]) -> Given:
    """As the module takes them."""
    x = {name: torch.from_numpy(nodes[name][columns].to_numpy(np.float32)) for name, columns in FEATURES.items()}
    ids = {name: pd.Index(table.id) for name, table in nodes.items()}
    index = {
        kind: torch.from_numpy(np.stack([ids[kind[0]].get_indexer(table.src), ids[kind[2]].get_indexer(table.dst)]))
        for kind, table in edges.items()
    }
    distance = torch.tensor(edges[FLIES].distance.to_numpy(np.float32, copy=True))[:, None]
    return x, index, {FLIES: distance}


def positions(nodes: dict[str, pd.DataFrame], known: pd.DataFrame) -> Tensor:
    """Pairs of carrier and airport as numbers of rows, (2, pairs)."""
    carrier, airport = pd.Index(nodes["carrier"].id), pd.Index(nodes["airport"].id)
    return torch.from_numpy(np.stack([carrier.get_indexer(known.carrier), airport.get_indexer(known.airport)]))


def fits(rows: dict[str, Tensor]) -> Tensor:
    """(carriers, airports)."""
    return rows["carrier"] @ rows["airport"].T


def average_precision(scores: Tensor, asked: Tensor, known: Tensor) -> float:
    """Mean over the carriers of: the airports that are asked for, in the order of the scores, behind all that are
    known to be served; the mean over these of the precision down to each."""
    found = []
    for carrier in range(len(scores)):
        right = torch.zeros(scores.size(1))
        right[asked[1, asked[0] == carrier]] = 1
        mine = scores[carrier].clone()
        mine[known[1, known[0] == carrier]] = -torch.inf
        right = right[mine.argsort(descending=True, stable=True)]
        precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
        found.append(float((precision * right).sum() / right.sum()))
    return float(np.mean(found))


def split() -> dict[str, pd.DataFrame]:
    """All pairs, dealt out to train, validation and test, each carrier's apart."""
    known, random = pairs(pd.read_parquet(FLIGHTS / "edges.parquet")), np.random.default_rng(SEED)
    parts: dict[str, list[pd.DataFrame]] = {"train": [], **{name: [] for name in SHARES}}
    for _, mine in known.groupby("carrier"):
        rows, at = mine.iloc[random.permutation(len(mine))], 0
        for name, share in SHARES.items():
            count = round(share * len(mine))
            parts[name].append(rows[at : at + count])
            at += count
        parts["train"].append(rows[at:])
    return {
        name: pd.concat(each).sort_values(["carrier", "airport"], ignore_index=True) for name, each in parts.items()
    }


def fit(parts: dict[str, pd.DataFrame]) -> Network:
    """Each epoch hides a fifth of the known pairs, and asks for them; the weights of the epoch with the best validation
    score. Test pairs are not looked at."""
    torch.manual_seed(SEED)
    random, model, train = np.random.default_rng(SEED), Network(), parts["train"]
    hidden_for_good = pd.concat([parts["validation"], parts["test"]])
    nodes, edges = tables(hidden_for_good)
    whole, known, asked = tensors(nodes, edges), positions(nodes, train), positions(nodes, parts["validation"])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    highest, best = -1.0, {}
    for epoch in range(EPOCHS):
        hidden = train[random.random(len(train)) < 0.2]
        given = tensors(*tables(pd.concat([hidden_for_good, hidden])))
        carrier, airport = positions(nodes, hidden)
        model.train()
        optimiser.zero_grad()
        scores = fits(model(*given))
        seen = torch.zeros_like(scores, dtype=torch.bool)
        seen[known[0], known[1]] = True
        seen[carrier, airport] = False  # a choice among the airports that the carrier is not seen at
        chances = functional.log_softmax(scores.masked_fill(seen, -torch.inf), dim=1)
        (-chances[carrier, airport].mean()).backward()
        optimiser.step()
        if epoch % 5 == 4:
            model.eval()
            with torch.no_grad():
                now = average_precision(fits(model(*whole)), asked, known)
            if now > highest:
                highest, best = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def tested(model: Network, parts: dict[str, pd.DataFrame]) -> dict[str, float]:
    """On the pairs that neither the weights nor the choice of the epoch have seen; beside the airports that most
    carriers are known to serve."""
    nodes, edges = tables(pd.concat([parts["validation"], parts["test"]]))
    known, asked = positions(nodes, pd.concat([parts["train"], parts["validation"]])), positions(nodes, parts["test"])
    seen = positions(nodes, parts["train"])
    carriers = torch.zeros(len(nodes["airport"])).index_add_(0, seen[1], torch.ones(seen.size(1)))
    routes = tensors(nodes, edges)[1][FLIES][1].bincount(minlength=len(nodes["airport"])).float()
    of = {
        "model": fits(model(*tensors(nodes, edges))),
        "airports_of_most_carriers": (carriers + routes / 1e6).expand(len(nodes["carrier"]), -1),
        "chance": torch.rand(len(nodes["carrier"]), len(nodes["airport"]), generator=torch.Generator().manual_seed(0)),
    }
    return {name: round(average_precision(scores, asked, known), 4) for name, scores in of.items()}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parts = split()
    save_file(fit(parts).state_dict(), WEIGHTS)

    model, (nodes, edges) = build(), tables()
    x, index, distance = tensors(nodes, edges)
    with torch.no_grad():
        out = model(x, index, distance)
        exact = {name: value.double() for name, value in x.items()}
        out64 = build().double()(exact, index, {kind: value.double() for kind, value in distance.items()})
    expected = pd.concat(
        pd.DataFrame(
            {"type": name, "id": nodes[name].id, "out": list(out[name].numpy()), "out64": list(out64[name].numpy())}
        )
        for name in out
    )
    expected.to_parquet(HERE / "expected.parquet", index=False, compression="zstd")
    metrics = {
        "question": "where would an airline fly next",
        "average_precision": tested(model, parts),
        "pairs": {name: len(table) for name, table in parts.items()},
        "max_abs_float32_minus_float64": max(
            float(f"{(out[name].double() - out64[name]).abs().max().item():.3g}") for name in out
        ),
        "seed": SEED,
        "torch": torch.__version__.split("+")[0],
        "torch_geometric": torch_geometric.__version__,
    }
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
