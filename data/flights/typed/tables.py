"""The airline network as a typed graph: airports, carriers, states; who flies where, who serves what, what lies where.

Comes in: nodes.parquet and edges.parquet of data/flights. Goes out: the folder that `--graph-spec` reads, or `tables()`
in memory:

    python data/flights/typed/tables.py data/flights/typed/tables
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

FLIGHTS = Path(__file__).parents[1]
FLIES = ("airport", "flies to", "airport")
SERVES = ("carrier", "serves", "airport")
SERVED = ("airport", "served by", "carrier")
LIES = ("airport", "lies in", "state")
HOLDS = ("state", "holds", "airport")
EDGES = (FLIES, SERVES, SERVED, LIES, HOLDS)
Kind = tuple[str, str, str]


def pairs(routes: pd.DataFrame) -> pd.DataFrame:
    """Who serves what: carrier, airport, in this order, each pair once."""
    ends = [routes[["carrier", end]].rename(columns={end: "airport"}) for end in ("src", "dst")]
    return pd.concat(ends).drop_duplicates().sort_values(["carrier", "airport"], ignore_index=True)


def tables(without: pd.DataFrame | None = None) -> tuple[dict[str, pd.DataFrame], dict[Kind, pd.DataFrame]]:
    """Node tables by type, edge tables by type. `without`: pairs of carrier and airport of which nothing is to be
    known: the carrier's routes from and to there are left out."""
    airports, routes = pd.read_parquet(FLIGHTS / "nodes.parquet"), pd.read_parquet(FLIGHTS / "edges.parquet")
    carriers = sorted(routes.carrier.unique())
    if without is not None:
        hidden = set(without.itertuples(index=False, name=None))
        seen = [
            (carrier, src) not in hidden and (carrier, dst) not in hidden
            for carrier, src, dst in zip(routes.carrier, routes.src, routes.dst, strict=True)
        ]
        routes = routes[seen]
    serves = pairs(routes)
    lies = airports[airports.state.notna()][["id", "state"]]
    counted = {
        "airports": serves.carrier.value_counts().reindex(carriers, fill_value=0),
        "routes": routes.carrier.value_counts().reindex(carriers, fill_value=0),
    }
    nodes = {
        "airport": airports[["id", "name", "city", "latitude", "longitude", "altitude", "large"]],
        "carrier": pd.DataFrame(counted).rename_axis("id").reset_index(),
        "state": lies.groupby("state").size().rename("airports").rename_axis("id").reset_index(),
    }
    edges = {
        FLIES: routes[["src", "dst", "distance"]],
        SERVES: serves.set_axis(["src", "dst"], axis=1),
        SERVED: serves.set_axis(["dst", "src"], axis=1)[["src", "dst"]],
        LIES: lies.set_axis(["src", "dst"], axis=1),
        HOLDS: lies.set_axis(["dst", "src"], axis=1)[["src", "dst"]],
    }
    return nodes, {kind: table.reset_index(drop=True) for kind, table in edges.items()}


def main(folder: str) -> None:
    nodes, edges = tables()
    named = {f"nodes/{name}": table for name, table in nodes.items()}
    named |= {f"edges/{'__'.join(kind)}": table for kind, table in edges.items()}
    for name, table in named.items():
        path = Path(folder) / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
