"""An awkward typed graph, a model of it written by hand, and its answer in plain Python.

The same ids in two types, ids of text beside ids of numbers, an empty type of nodes and two of edges, self-loops,
parallel edges, a hub, a relation whose name begins with rev_, names that files and rows cannot hold as they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.blocks.block import LOOPS, Block
from pipeline.formula.program import Program, output_key
from pipeline.formula.values import Value
from pipeline.model import Model
from pipeline.schema import EdgeType

ACCOUNT, CARD, SHOP, GHOST = "account", "bank card/1", "__shop__", "ghost"
PAYS, OWNS, OWNED = (
    EdgeType(ACCOUNT, "pays", ACCOUNT),
    EdgeType(ACCOUNT, "owns", CARD),
    EdgeType(CARD, "rev_owns", ACCOUNT),
)
SELLS, HAUNTS, RENTS = (
    EdgeType(SHOP, "sells to: a.b", ACCOUNT),
    EdgeType(GHOST, "haunts", ACCOUNT),
    EdgeType(ACCOUNT, "rents", SHOP),
)
FEATURES = {ACCOUNT: "x", CARD: ["limit", "used"], SHOP: "x", GHOST: None}
EDGE_FEATURES = {PAYS: ["amount"], SELLS: {"price": "amount"}}


def tables(accounts: int = 60, cards: int = 23, shops: int = 40, seed: int = 5) -> tuple[Any, Any]:
    """Node type → table, edge type → table."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    ids = {
        ACCOUNT: np.arange(accounts) * 7 - 50,
        CARD: np.array([f"card é {number}" for number in range(cards)]),
        SHOP: np.arange(shops) * 7 - 50,  # the same as those of accounts
    }
    nodes = {
        ACCOUNT: pa.table({"id": ids[ACCOUNT], "x": list(floats(accounts, 3))}),
        CARD: pa.table({"id": ids[CARD], "limit": floats(cards), "used": floats(cards)}),
        SHOP: pa.table({"id": ids[SHOP], "x": list(floats(shops, 2))}),
        GHOST: pa.table({"id": pa.array([], pa.string())}),
    }

    def edges(source: str, target: str, count: int, hub: bool = False, **columns: Any) -> pa.Table:
        src, dst = rng.choice(ids[source], count), rng.choice(ids[target], count)
        if hub:
            dst[: count // 3] = ids[target][0]
            src[count // 3 : count // 2] = ids[source][1]
            src[-9:] = dst[-9:]  # self-loops
            src[:4], dst[:4] = src[0], dst[0]  # parallel edges
        return pa.table({"src": src, "dst": dst, **columns})

    owns = edges(ACCOUNT, CARD, 70)
    none = pa.table({"src": pa.array([], pa.string()), "dst": pa.array([], pa.int64())})
    return nodes, {
        PAYS: edges(ACCOUNT, ACCOUNT, 400, hub=True, amount=floats(400)),
        OWNS: owns,
        OWNED: pa.table({"src": owns["dst"], "dst": owns["src"]}),
        SELLS: edges(SHOP, ACCOUNT, 150, amount=floats(150)),
        HAUNTS: none,
        RENTS: pa.table({"src": pa.array([], pa.int64()), "dst": pa.array([], pa.int64())}),
    }


def model() -> Model:
    """Three exchanges: sums, a mean and a maximum over several types of edges; outputs of three types of nodes."""

    def formula(g: Any, x: Any) -> Any:
        pays, sells, owns, owned, haunts, rents = g.values()
        paid = pays.sum(pays.src(x[ACCOUNT]) * pays.edge("amount").reshape(1))
        sold = sells.sum(sells.src(x[SHOP]) * sells.edge("price").reshape(1))
        card = owns.sum(owns.src(paid))
        account = owned.max(owned.src(card)) + haunts.degree().reshape(1) + paid
        return {
            ACCOUNT: {"output": account, "pair": owned.mean(owned.src(x[CARD])) + sold},
            CARD: {"card": card},
            SHOP: {"shop": x[SHOP] + rents.degree()},
        }

    nodes = {ACCOUNT: {"x": 3}, CARD: {"x": 2}, SHOP: {"x": 2}, GHOST: {}}
    edges = {PAYS: {"amount": ()}, SELLS: {"price": ()}, OWNS: {}, OWNED: {}, HAUNTS: {}, RENTS: {}}
    kinds = {(kind.source, kind.relation, kind.target): columns for kind, columns in edges.items()}
    return Model.from_formula(formula, {}, {**nodes, **kinds})


def model_of(outputs: Mapping[str, Mapping[str, Value]]) -> Model:
    """Node type → output → its value."""
    named = {output_key(type, name): value for type, of_type in outputs.items() for name, value in of_type.items()}
    return Model(Program(named), {})


def answers(nodes: Any, edges: Any) -> dict[str, dict[Any, Any]]:
    """Output → id → its row, in float64, by dictionaries of the user's ids."""
    x, used, shop = (_features(nodes[type], FEATURES[type]) for type in (ACCOUNT, CARD, SHOP))
    paid = _reduced(edges[PAYS], x, nodes[ACCOUNT], 3, weight="amount")
    sold = _reduced(edges[SELLS], shop, nodes[ACCOUNT], 2, weight="amount")
    held = _reduced(edges[OWNED], used, nodes[ACCOUNT], 2, how="mean")
    card = _reduced(edges[OWNS], paid, nodes[CARD], 3)
    most = _reduced(edges[OWNED], card, nodes[ACCOUNT], 3, how="max")
    return {
        "output": {id: most[id] + paid[id] for id in x},
        "pair": {id: held[id] + sold[id] for id in x},
        "card": card,
        "shop": shop,
    }


def _features(table: pa.Table, columns: Any) -> dict[Any, Any]:
    if isinstance(columns, str):
        rows = table[columns].to_pylist()
    else:
        rows = list(zip(*(table[column].to_pylist() for column in columns), strict=True))
    return {id: np.array(row, np.float64) for id, row in zip(table["id"].to_pylist(), rows, strict=True)}


def _reduced(
    edges: pa.Table, values: dict[Any, Any], targets: pa.Table, width: int, weight: str | None = None, how: str = "sum"
) -> dict[Any, Any]:
    came: dict[Any, list[Any]] = defaultdict(list)
    weights = edges[weight].to_pylist() if weight else [1.0] * len(edges)
    for src, dst, factor in zip(edges["src"].to_pylist(), edges["dst"].to_pylist(), weights, strict=True):
        came[dst].append(values[src] * factor)
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max}[how]
    return {id: reduce(came[id], axis=0) if came[id] else np.zeros(width) for id in targets["id"].to_pylist()}


def stored_edges(blocks: list[Block], type: EdgeType) -> Counter[tuple[Any, ...]]:
    """The edges of a type as (src, dst, values of columns by name …), read back from tiles and send lists."""
    found: Counter[tuple[Any, ...]] = Counter()
    for block in blocks:
        for source, tile in block.tiles.get(type, {}).items():
            sender = block if source == LOOPS else blocks[source]
            to = LOOPS if source == LOOPS else block.index
            senders = sender.ids[type.source].take(pa.array(sender.sends[type][to][tile.indices])).to_pylist()
            rows = np.repeat(tile.rows, np.diff(tile.indptr))
            targets = block.ids[type.target].take(pa.array(rows)).to_pylist()
            values = [tile.values[name][:, 0].tolist() for name in sorted(tile.values)]
            found.update(zip(senders, targets, *values, strict=True))
    return found


def given_edges(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """The same of a table."""
    return Counter(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
