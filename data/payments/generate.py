"""A payments graph, made up: accounts, cards, devices and merchants of a small bank, and rings of fraudsters.

Comes in: a seed. Goes out: a table for each type, as Parquet, in the folders that `--graph-spec` reads. The same bytes
on every run with the same NumPy and pyarrow:

    python data/payments/generate.py FOLDER

Nothing in here is about real people. A ring is a few accounts that were opened by the same hands: they log in from the
same few devices, send money around in circles of similar amounts, and spend it at a few merchants. A member alone looks
like any other account; an account with the same age and balance is often honest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 2026
ACCOUNTS, CARDS, DEVICES, MERCHANTS, RINGS = 12_000, 15_000, 9_000, 400, 60
NODES = ("account", "card", "device", "merchant")
SPLIT = (("train", 0.5), ("validation", 0.7), ("test", 1.0))  # upper ends of the shares of the accounts

OWNS, USES = ("account", "owns", "card"), ("account", "uses", "device")
PAYS, BUYS = ("account", "pays", "account"), ("card", "buys at", "merchant")
OWNED, USED, SOLD = ("card", "owned by", "account"), ("device", "used by", "account"), ("merchant", "sells to", "card")
EDGES = (OWNS, OWNED, USES, USED, PAYS, BUYS, SOLD)


def tables(seed: int = SEED) -> tuple[dict[str, pa.Table], dict[tuple[str, str, str], pa.Table]]:
    """Node type → table; edge type → table."""
    rng = np.random.default_rng(seed)
    rings = _rings(rng)
    ring = np.full(ACCOUNTS, -1)
    for number, members in enumerate(rings):
        ring[members] = number
    owner = np.concatenate([np.arange(ACCOUNTS), rng.integers(0, ACCOUNTS, CARDS - ACCOUNTS)])
    nodes = {
        "account": _accounts(rng, ring),
        "card": _frame(id=np.arange(CARDS) + 40_000_000, limit=rng.choice([500, 1000, 2000, 5000], CARDS)),
        "device": pa.table({"id": [f"d-{number:05}" for number in range(DEVICES)]}),
        "merchant": _frame(
            id=[f"M{number:04}" for number in range(MERCHANTS)],
            ticket=rng.lognormal(3.5, 0.8, MERCHANTS),
            online=rng.integers(0, 2, MERCHANTS),
        ),
    }
    uses, logins = _uses(rng, rings)
    payers, payees, amounts = _payments(rng, rings)
    buyers, sellers, spent = _purchases(rng, rings, owner)
    ids = {name: table["id"] for name, table in nodes.items()}
    own = np.arange(CARDS)
    edges = {
        OWNS: _edges(ids, OWNS, owner, own),
        OWNED: _edges(ids, OWNED, own, owner),
        USES: _edges(ids, USES, *uses, logins=logins),
        USED: _edges(ids, USED, *uses[::-1], logins=logins),
        PAYS: _edges(ids, PAYS, payers, payees, amount=amounts),
        BUYS: _edges(ids, BUYS, buyers, sellers, amount=spent),
        SOLD: _edges(ids, SOLD, sellers, buyers, amount=spent),
    }
    return nodes, edges


def _rings(rng: np.random.Generator) -> list[np.ndarray]:
    """The accounts of each ring: 4 to 9, none in two of them."""
    sizes = rng.integers(4, 10, RINGS)
    return np.split(rng.permutation(ACCOUNTS)[: sizes.sum()], sizes.cumsum()[:-1])


def _accounts(rng: np.random.Generator, ring: np.ndarray) -> pa.Table:
    fraud = ring >= 0
    age = np.where(fraud, rng.lognormal(4.6, 0.9, ACCOUNTS), rng.lognormal(6.0, 1.1, ACCOUNTS))  # days
    balance = np.where(fraud, rng.lognormal(6.0, 1.2, ACCOUNTS), rng.lognormal(6.8, 1.3, ACCOUNTS))
    share = (rng.permutation(ACCOUNTS) + 0.5) / ACCOUNTS
    return _frame(
        id=[f"AC{number:06}" for number in rng.permutation(ACCOUNTS) + 100_000],
        age=age.round(),
        balance=balance.round(2),
        business=rng.integers(0, 10, ACCOUNTS) == 0,
        fraud=fraud,
        ring=ring.astype(np.int32),
        split=[next(name for name, end in SPLIT if part < end) for part in share],
    )


def _uses(rng: np.random.Generator, rings: list[np.ndarray]) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Who logs in from where. A household shares a device now and then; a ring shares all of its two or three."""
    accounts = np.concatenate([np.arange(ACCOUNTS), rng.integers(0, ACCOUNTS, ACCOUNTS // 2)])
    devices = rng.integers(0, DEVICES, len(accounts))
    ring = np.array([account for members in rings for account in members for _ in range(2)])
    shared = np.concatenate([rng.choice(rng.integers(0, DEVICES, 3), 2 * len(members)) for members in rings])
    ends = np.unique(np.stack([np.concatenate([accounts, ring]), np.concatenate([devices, shared])]), axis=1)
    return (ends[0], ends[1]), rng.geometric(0.05, ends.shape[1]).astype(np.float64)


def _payments(rng: np.random.Generator, rings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who sends money to whom: some accounts get much of it; a ring sends similar amounts around."""
    count = 6 * ACCOUNTS
    payers = rng.integers(0, ACCOUNTS, count)
    payees = (ACCOUNTS * rng.random(count) ** 3).astype(np.int64)  # a few are paid by thousands
    amounts = rng.lognormal(4.0, 1.2, count)
    for members in rings:
        around = np.tile(members, 3)
        payers, payees = np.concatenate([payers, around]), np.concatenate([payees, np.roll(around, -1)])
        amounts = np.concatenate([amounts, rng.normal(rng.uniform(200, 900), 15, len(around))])
    order = rng.permutation(len(payers))
    return payers[order], payees[order], amounts[order]


def _purchases(
    rng: np.random.Generator, rings: list[np.ndarray], owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = 4 * CARDS
    cards, merchants = rng.integers(0, CARDS, count), (MERCHANTS * rng.random(count) ** 2).astype(np.int64)
    for members in rings:
        held = np.flatnonzero(np.isin(owner, members))
        cards = np.concatenate([cards, np.repeat(held, 3)])
        merchants = np.concatenate([merchants, rng.choice(rng.integers(0, MERCHANTS, 2), 3 * len(held))])
    return cards, merchants, rng.lognormal(3.5, 1.0, len(cards))


def _edges(
    ids: dict[str, pa.ChunkedArray], kind: tuple[str, str, str], src: np.ndarray, dst: np.ndarray, **columns: np.ndarray
) -> pa.Table:
    ends = {"src": ids[kind[0]].take(pa.array(src)), "dst": ids[kind[2]].take(pa.array(dst))}
    return pa.table({**ends, **{name: values.astype(np.float32) for name, values in columns.items()}})


def _frame(**columns: object) -> pa.Table:
    """Measures in float32; ids, words and flags as they are."""
    made = {name: np.asarray(values) for name, values in columns.items()}
    kinds = {name: np.float32 for name, values in made.items() if values.dtype == np.float64}
    return pa.table({name: values.astype(kinds.get(name, values.dtype)) for name, values in made.items()})


def write(folder: Path) -> None:
    """As the folders that `--graph-spec` reads."""
    nodes, edges = tables()
    for name, table in nodes.items():
        (folder / "nodes" / name).mkdir(parents=True)
        pq.write_table(table, folder / "nodes" / name / "part-0.parquet")
    for kind, table in edges.items():
        place = folder / "edges" / "__".join(kind)
        place.mkdir(parents=True)
        pq.write_table(table, place / "part-0.parquet")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]))
