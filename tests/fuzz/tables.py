"""Hostile tables: prepared and scored without Spark; what comes out is what plain Python computes of the same rows.

Columns of every Arrow type, nulls in them and in their arrays, extremes, duplicates, unknown ends, text that is no
UTF-8, files that are damaged. A table must be refused, left to Spark, or give for each node its features and the sum
over its edges of weight times the source's features. The oracle reads the rows as Python objects, one by one.
"""

from __future__ import annotations

import datetime
import decimal
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import Graph, Model, Settings, prepare, score
from tests.fuzz.models import plain_loops
from tests.fuzz.mutations import NAMES, Random, damage

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
NUMBERS = [*INTEGERS, pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.decimal128(9, 2)]
OTHERS = [
    pa.binary(),
    pa.date32(),
    pa.timestamp("ns"),
    pa.null(),
    pa.struct({"a": pa.int32()}),
    pa.map_(pa.string(), pa.int32()),
]
# what most tables are made of; the rest is rare among the cases, as it is in life
PLAIN = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string())
FLOATS = [0.0, -0.0, 1.0, -2.5, 1e-45, 3e38, 1e39, 1e300, math.inf, -math.inf, math.nan]
TEXT = [
    "",
    "a",
    "ä",
    "日本語",
    " a",
    "A",
    "a\0b",
    "x" * 300,
    "7",
    "007",
    *(name for name in NAMES if name.isprintable()),
]


def play(case: int, directory: Path) -> str:
    random = np.random.default_rng([3, case])
    nodes, edges = _tables(random)
    paths = [directory / "nodes.parquet", directory / "edges.parquet"]
    for table, path in zip((nodes, edges), paths, strict=True):
        _write(table, path, random)
    damaged = random.integers(6) == 0
    if damaged:
        path = paths[random.integers(2)]
        path.write_bytes(damage(path.read_bytes(), random))
    options = {
        "edge_features": ["w"],
        "undirected": bool(random.integers(4) == 0),
        "drop_dangling": bool(random.integers(4) == 0),
    }
    graph = Graph.of_files(*paths, **options)
    if graph is None:
        return "left to Spark"
    prepared = prepare(graph, directory / "graph", blocks=int(random.choice([1, 2, 5])))
    width = prepared.schema.nodes["node"]["x"]
    with plain_loops():
        score(prepared, _model(width), directory / "scores", settings=Settings(threads=1))
    if damaged:
        nodes, edges = (pq.read_table(path) for path in paths)  # what it says now
    found = pq.read_table(directory / "scores")
    _compare(found, _expected(nodes, edges, options["undirected"], bool(options["drop_dangling"])), width)
    return "ran, the right rows"


def _model(width: int) -> Model:
    return Model.from_formula(
        lambda g, x: x + g.sum(g.src(x) * g.edge("w").reshape(1)), {}, {"nodes.x": width, "edges.w": ()}
    )


# ---- tables


def _tables(random: Random) -> tuple[pa.Table, pa.Table]:
    n, e = int(random.choice([0, 1, 2, 7, 40])), int(random.choice([0, 1, 5, 120]))
    text = bool(random.integers(3) == 0)
    kind = _one(TEXTS if text else INTEGERS, random)
    ids = _ids(n, text, kind, random)
    known = ids or ([""] if text else [0])
    ends = [[known[at] for at in random.integers(0, len(known), e)] for _ in range(2)] if ids else [[], []]
    columns = {"id": _array(ids, kind, random), "x": _features(n, random)}
    rows = {
        name: _array(end, kind if random.integers(8) else _one([*INTEGERS, *TEXTS], random), random)
        for name, end in zip(("src", "dst"), ends, strict=True)
    }
    rows["w"] = _numbers(len(ends[0]), random)
    nodes, edges = pa.table(columns), pa.table(rows)
    which = random.integers(24)
    if which == 0:
        nodes = nodes.append_column("x", nodes["x"])
    elif which == 1:
        edges = edges.append_column("more", _other(len(edges), random))
    elif which == 2:
        nodes = nodes.set_column(random.integers(2), str(random.choice(["id", "x"])), _other(len(nodes), random))
    elif which == 3:
        edges = edges.set_column(0, "src", _other(len(edges), random))
    return nodes, edges


def _ids(n: int, text: bool, kind: pa.DataType, random: Random) -> list[Any]:
    if text:
        found: list[Any] = [TEXT[at] for at in random.permutation(len(TEXT))[:n]]
        found += [f"user-{at}" for at in range(n - len(found))]
    else:
        bits, signed = kind.bit_width, not str(kind).startswith("u")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        some = {low, high, 0, 1, *(int(at) for at in random.integers(0, 100, 4 * n + 1))}
        found = [int(at) for at in random.permutation(np.array(sorted(some), object))[:n]]
    if found and random.integers(12) == 0:
        found[-1] = found[0]
    return found


def _array(items: list[Any], kind: pa.DataType, random: Random) -> pa.Array:
    """Of a kind, or of the items' own where they do not fit; now and then with a null, or bytes that are no text."""
    if items and random.integers(12) == 0:
        items = [*items[:-1], None]
    text = any(isinstance(item, str) for item in items)
    try:
        if pa.types.is_dictionary(kind):
            return pa.array(items, pa.string()).dictionary_encode()
        array = pa.array(items, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = pa.array(items)
    if text and items and random.integers(10) == 0 and pa.types.is_string(array.type):
        buffers = array.buffers()
        data = bytearray(buffers[2] or b"")
        if data:
            data[random.integers(len(data))] = 0xFF
            return pa.Array.from_buffers(pa.string(), len(array), [buffers[0], buffers[1], pa.py_buffer(bytes(data))])
    return array


def _features(n: int, random: Random) -> pa.Array:
    if random.integers(5) == 0:
        return _numbers(n, random)
    width = int(random.choice([0, 1, 3, 8]))
    inner = _one([pa.float32(), pa.float64(), pa.float32(), *NUMBERS], random)
    flat = _numbers(n * width, random, inner).to_pylist()
    rows: list[Any] = [flat[at * width : (at + 1) * width] for at in range(n)]
    if n and random.integers(10) == 0:
        rows[random.integers(n)] = [None, [], [None] * width, flat[: width + 1]][random.integers(4)]
    kinds = [pa.list_(inner), pa.list_(inner), pa.large_list(inner), pa.list_(inner, width), pa.list_(pa.list_(inner))]
    try:
        return pa.array(rows, kinds[random.integers(len(kinds))] if random.integers(15) == 0 else kinds[0])
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array(rows, pa.list_(inner))


def _numbers(count: int, random: Random, kind: pa.DataType | None = None) -> pa.Array:
    kind = kind or _one([pa.float32(), pa.float64(), pa.int64(), *NUMBERS], random)
    items: list[Any] = random.integers(0, 5, count).tolist()
    if pa.types.is_boolean(kind):
        items = [item > 2 for item in items]
    elif pa.types.is_floating(kind):
        items = [float(item) / 2 for item in items]
        if count and random.integers(6) == 0:
            items[random.integers(count)] = FLOATS[random.integers(len(FLOATS))]
        if kind == pa.float16():
            return pa.array(np.array(items, np.float16))
    elif pa.types.is_decimal(kind):
        items = [decimal.Decimal(item) for item in items]
    if count and random.integers(10) == 0:
        items[random.integers(count)] = None
    return pa.array(items, kind)


def _other(count: int, random: Random) -> pa.Array:
    kind = _one([*OTHERS, *NUMBERS, *TEXTS], random)
    items: dict[Any, Any] = {pa.binary(): b"\xff", pa.date32(): datetime.date(2020, 1, 1), pa.string(): "1.5"}
    return (
        pa.array([items.get(kind)] * count, items and kind)
        if not pa.types.is_dictionary(kind)
        else pa.nulls(count, pa.string())
    )


def _one(kinds: list[Any], random: Random) -> Any:
    """One of them; mostly one that is read without Spark."""
    plain = [kind for kind in kinds if kind in PLAIN]
    chosen = plain if plain and random.integers(15) else kinds
    return chosen[random.integers(len(chosen))]


def _write(table: pa.Table, path: Path, random: Random) -> None:
    if random.integers(10) == 0 and not len(table):
        with pq.ParquetWriter(path, table.schema):  # no row group at all
            return
    pq.write_table(
        table, path, row_group_size=int(random.choice([1, 7, 1000])), use_dictionary=bool(random.integers(2))
    )


# ---- what comes of them


def _expected(nodes: pa.Table, edges: pa.Table, undirected: bool, drop: bool) -> dict[Any, list[float]]:
    """Id → its row, in float64 of float32 inputs; AssertionError for rows that should have been refused."""
    x = {node: _row(row) for node, row in zip(*(nodes[name].to_pylist() for name in ("id", "x")), strict=True)}
    assert len(x) == len(nodes), "an id is there twice"
    assert None not in x, "an id is null"
    assert len(set(map(len, x.values()))) <= 1, "rows of different lengths"
    made = {node: list(row) for node, row in x.items()}
    for src, dst, w in zip(*(edges[name].to_pylist() for name in ("src", "dst", "w")), strict=True):
        weight = _number(w)
        assert src is not None, "an end is null"
        assert dst is not None, "an end is null"
        if src not in x or dst not in x:
            assert drop, "an end is no node"
            continue
        for a, b in [(src, dst), (dst, src)] if undirected and src != dst else [(src, dst)]:
            made[b] = [old + weight * new for old, new in zip(made[b], x[a], strict=True)]
    return made


def _row(item: Any) -> list[float]:
    return [_number(number) for number in item] if isinstance(item, list) else [_number(item)]


def _number(item: Any) -> float:
    assert item is not None, "a number is null"
    with np.errstate(over="ignore"):
        found = float(np.float32(float(item)))
    assert math.isfinite(found), f"{item} is not finite in float32"
    return found


def _compare(found: pa.Table, expected: dict[Any, list[float]], width: int) -> None:
    rows = dict(zip(found["id"].to_pylist(), found["output"].to_pylist(), strict=True))
    assert len(found) == len(rows) == len(expected), f"{len(found)} rows of {len(rows)} ids; {len(expected)} nodes"
    assert rows.keys() == expected.keys(), "other ids"
    for node, row in expected.items():
        assert len(rows[node]) == width == len(row), node
        for got, want in zip(rows[node], row, strict=True):
            if abs(want) < 1e37:
                assert abs(got - want) <= 1e-4 * max(1.0, abs(want)), f"{node}: {got} instead of {want}"
