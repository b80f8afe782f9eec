"""The US airline network of July 2026 as a graph: airports are nodes, every carrier's route is an edge.

Comes in: the tables of the package `bokeh_sampledata` (README.md tells where these come from). Goes out, beside this
file: nodes and edges as Parquet and as CSV, and the outlines of the states, for the map. The same bytes on every run:

    pip install bokeh_sampledata==2026.1 && python data/flights/prepare.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from bokeh_sampledata import package_path
from bokeh_sampledata.airport_routes import airports as AIRPORTS
from bokeh_sampledata.airport_routes import routes as ROUTES
from bokeh_sampledata.us_states import records
from shapely.geometry import MultiPolygon, Point

HERE = Path(__file__).parent
EDITION = {  # the package's files that everything here is made from; another edition would give another graph
    "airports.csv": "a49b8ae18c01720eeb67711203efe6e0e9627917c82863ceb80b13b526006986",
    "routes.csv.gz": "c1bab7a00e50c911629a31b7f5d261f0cb602dc276416234dd52f1d5671fd967",
    "geographic_boundaries.db": "e58bcdeaca9dc5854e2b06f83ffc9e925a4b916bd01fd9bb24d74404fa7e9328",
}
CENSUS_REGIONS = {  # of the US Census Bureau; the District of Columbia counts as South
    "West": "AK AZ CA CO HI ID MT NM NV OR UT WA WY",
    "Midwest": "IA IL IN KS MI MN MO ND NE OH SD WI",
    "South": "AL AR DC DE FL GA KY LA MD MS NC OK SC TN TX VA WV",
    "Northeast": "CT MA ME NH NJ NY PA RI VT",
}
REGION_OF = {state: region for region, states in CENSUS_REGIONS.items() for state in states.split()}
SPLIT = (("train", 0.5), ("validation", 0.7), ("test", 1.0))  # upper ends of the shares of each region's airports
STATES = records()
EARTH_KM = 6371.0088  # mean radius


def edition_differs() -> list[str]:
    """The package's files whose content is not the one that this graph was made from."""
    return [
        name
        for name, expected in EDITION.items()
        if hashlib.sha256(package_path(name).read_bytes()).hexdigest() != expected
    ]


def distance_km(latitude: np.ndarray, longitude: np.ndarray, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Great-circle distance (haversine) in kilometres, rounded to 0.1."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    half = np.sin((lat[src] - lat[dst]) / 2) ** 2
    half += np.cos(lat[src]) * np.cos(lat[dst]) * np.sin((lon[src] - lon[dst]) / 2) ** 2
    return np.round(2 * EARTH_KM * np.arcsin(np.sqrt(half)), 1)


def edges() -> pd.DataFrame:
    """One row for each carrier's route, in the order (src, dst, carrier).

    Every end is in the airport table: were one not, its distance could not be computed, and this fails.
    """
    ends = AIRPORTS.set_index("IATA")
    table = ROUTES.rename(columns={"Source": "src", "Destination": "dst", "Airline": "carrier"})
    table = table.sort_values(["src", "dst", "carrier"], ignore_index=True)[["src", "dst", "carrier"]]
    src, dst = ends.index.get_indexer(table.src), ends.index.get_indexer(table.dst)
    if (unknown := np.minimum(src, dst) < 0).any():
        raise SystemExit(f"{unknown.sum()} routes end at airports which are not in the table")
    table["distance"] = distance_km(ends.Latitude.to_numpy(), ends.Longitude.to_numpy(), src, dst).astype("float32")
    table["carriers"] = table.groupby(["src", "dst"]).carrier.transform("size").astype("int32")
    return table


def nodes(routes: pd.DataFrame) -> pd.DataFrame:
    """One row for each airport, in the order of its id: who it is, the label, the split, and the features."""
    table = AIRPORTS.sort_values("IATA", ignore_index=True)
    who = pd.DataFrame(
        {
            "id": table.IATA,
            "name": table.Name,
            "city": table.City,
            "country": table.Country,
            "latitude": table.Latitude.round(6),
            "longitude": table.Longitude.round(6),
        }
    )
    who["state"] = [
        state_at(longitude, latitude) if country == "United States" else None
        for longitude, latitude, country in zip(who.longitude, who.latitude, who.country, strict=True)
    ]
    who["region"] = who.state.map(REGION_OF).astype(object)
    who["split"] = splits(who[who.id.isin(routes.src) & who.region.notna()]).reindex(who.index)
    x = features(table, routes)
    who["x"] = list(x.to_numpy(np.float32))
    return pd.concat([who, x], axis=1)


def features(airports: pd.DataFrame, routes: pd.DataFrame) -> pd.DataFrame:
    """What the model may know of an airport: nothing of its position or name. The columns of `x`, in their order."""
    leaving = routes.groupby("src")
    x = pd.DataFrame(index=pd.Index(airports.IATA))
    x["altitude"] = airports.Altitude.to_numpy(np.int32)
    x["large"] = (airports.Type == "large_airport").to_numpy(np.int32)
    x["routes"] = leaving.size()
    x["destinations"] = leaving.dst.nunique()
    x["carriers"] = leaving.carrier.nunique()
    # in float64: pandas 2 and 3 add float32 in different ways
    x["distance_mean"] = routes.distance.astype("float64").groupby(routes.src).mean().round(1)
    x["distance_max"] = leaving.distance.max()
    for carrier, flown in routes.groupby("carrier"):
        x[f"share_{carrier}"] = (flown.groupby("src").size() / x.routes).round(4)
    whole = ["altitude", "large", "routes", "destinations", "carriers"]
    return x.fillna(0).astype({name: "int32" if name in whole else "float32" for name in x}).reset_index(drop=True)


def state_at(longitude: float, latitude: float) -> str:
    """The state at this place, or the nearest: one airport lies on a beach which the simplified outline cuts off."""
    place = Point(longitude, latitude)
    return min(STATES, key=lambda state: state["geometry"].distance(place))["code"]


def splits(airports: pd.DataFrame) -> pd.Series:
    """Half of each region's airports to train on, a fifth to stop at, the rest to test: by a hash of the id."""
    order = airports.id.map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    position = order.groupby(airports.region).rank() - 1
    share = position / airports.groupby("region").id.transform("size")
    return share.map(lambda value: next(name for name, end in SPLIT if value < end))


def outlines() -> pd.DataFrame:
    """The states' borders for the map, simplified to 0.03 degrees, without specks: one row for each point."""
    rows = []
    for state in STATES:
        simple = state["geometry"].simplify(0.03)
        parts = simple.geoms if isinstance(simple, MultiPolygon) else [simple]
        largest = max(part.area for part in parts)
        kept = [part for part in parts if part.area >= min(0.01, largest)]
        for ring, part in enumerate(kept):
            rows += [(state["code"], REGION_OF[state["code"]], ring, lon, lat) for lon, lat in part.exterior.coords]
    return pd.DataFrame(rows, columns=["state", "region", "ring", "longitude", "latitude"]).round(3)


ARROW = {"object": pa.string(), "str": pa.string(), "int32": pa.int32(), "int64": pa.int32()}  # pandas → Arrow
ARROW |= {"float32": pa.float32(), "float64": pa.float64()}


def arrow(frame: pd.DataFrame) -> pa.Table:
    """The frame with plain types which every reader knows: string, int, float, double, array<float>."""
    types = {name: pa.list_(pa.float32()) if name == "x" else ARROW[str(frame[name].dtype)] for name in frame}
    return pa.table({name: pa.array(frame[name], type, from_pandas=True) for name, type in types.items()})


def tables() -> dict[str, pa.Table]:
    """All that this script writes: file stem → table."""
    routes = edges()
    return {"nodes": arrow(nodes(routes)), "edges": arrow(routes), "outlines": arrow(outlines())}


def main() -> None:
    if differing := edition_differs():
        raise SystemExit(f"bokeh_sampledata has another edition of {', '.join(differing)}; install version 2026.1")
    made = tables()
    for stem, table in made.items():
        pa.parquet.write_table(table, HERE / f"{stem}.parquet", compression="zstd")
    for stem in ("nodes", "edges"):
        flat = made[stem].drop_columns(["x"]) if stem == "nodes" else made[stem]
        flat.to_pandas().to_csv(HERE / f"{stem}.csv", index=False, lineterminator="\n")
    print(*(f"{stem}: {table.num_rows} rows" for stem, table in made.items()), sep="\n")


if __name__ == "__main__":
    main()
