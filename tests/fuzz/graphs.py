"""Hostile directories of prepared graphs: opened, explained, and scored.

A good graph has its manifest changed, its files damaged, exchanged, or replaced by other things; or it is written anew
with other numbers in its arrays and all checksums right, as only an enemy would do. It must be refused, or scored; and
where nobody has made the checksums right, with the very rows of the good graph.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline import Model, Settings, explain, open_graph, score
from pipeline.blocks import storage
from pipeline.blocks.content import file_of, sums_of
from pipeline.blocks.manifest import sealed
from pipeline.blocks.rows import Row
from pipeline.prepared import PreparedGraph
from tests.formulas import build
from tests.fuzz.models import graph, plain_loops, root
from tests.fuzz.mutations import Random, change, damage, text_of

MODELS = ("sage", "gat", "merging", "virtual_node", "both_ends")


def play(case: int, directory: Path) -> str:
    random = np.random.default_rng([2, case])
    name = MODELS[int(random.integers(len(MODELS)))]
    path = directory / "graph"
    shutil.copytree(good().path, path)
    kinds: list[Callable[[Path, Random], None]] = [manifest, manifest, file, file, exchanged, place, forged, forged]
    kind = kinds[case % len(kinds)]
    kind(path, random)
    prepared = open_graph(str(path))
    explain(prepared, model(name)).encode()
    with plain_loops():
        report = score(prepared, model(name), str(directory / "scores"), settings=Settings(threads=1))
    found = pq.read_table(directory / "scores").sort_by("id")
    assert report.rows == len(found)
    if kind is not forged:
        assert found.equals(expected(name)), "other rows than those of the graph"
    assert set(os.listdir(directory)) == {"graph", "scores", "cwd"}
    return "ran" if kind is forged else "ran, the same rows"


# ---- the good one


def good() -> PreparedGraph:
    return graph()


@functools.cache
def model(name: str) -> Model:
    return build(name)


@functools.cache
def expected(name: str) -> Any:
    with plain_loops():
        score(good(), model(name), str(root() / f"scores-{name}"), settings=Settings(threads=1))
    return pq.read_table(root() / f"scores-{name}").sort_by("id")


@functools.cache
def other() -> Path:
    """The same tables in other blocks."""
    from pipeline import prepare
    from pipeline.graph import Graph

    tables = str(root() / "nodes.parquet"), str(root() / "edges.parquet")
    raw = Graph.of_files(*tables, edge_features=["weight", "attr"], undirected=True)
    assert raw is not None
    return Path(prepare(raw, str(root() / "other"), blocks=3).path)


def files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.parquet"))


# ---- what is done to it


def manifest(path: Path, random: Random) -> None:
    """Anything anywhere; half of the time with a seal that is right."""
    data = json.loads((path / "manifest.json").read_text())
    inner = data[str(random.choice(list(data)))]
    change(inner if isinstance(inner, dict | list) and random.integers(2) else data, random)
    if random.integers(2):
        data = sealed(data)
    (path / "manifest.json").write_bytes(text_of(data, random))


def file(path: Path, random: Random) -> None:
    chosen = files(path)[random.integers(len(files(path)))]
    chosen.write_bytes(damage(chosen.read_bytes(), random))


def exchanged(path: Path, random: Random) -> None:
    """Files of two blocks, of two kinds, of two graphs; one too many, or none."""
    one, two = (files(path)[at] for at in random.choice(len(files(path)), 2, replace=False))
    which = random.integers(5)
    if which == 0:
        one.write_bytes(two.read_bytes())
    elif which == 1:
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    elif which == 2:
        one.write_bytes(files(other())[random.integers(len(files(other())))].read_bytes())
    elif which == 3:
        shutil.copy(one, one.with_name("more.parquet"))
    else:
        one.unlink()


def place(path: Path, random: Random) -> None:
    """Something else where a file is expected."""
    chosen = [path / "manifest.json", *files(path)][random.integers(1 + len(files(path)))]
    chosen.unlink()
    which = random.integers(5)
    if which == 0:
        os.mkfifo(chosen)
    elif which == 1:
        chosen.mkdir()
    elif which == 2:
        chosen.symlink_to(["/dev/zero", "/etc/passwd", chosen, path][random.integers(4)])
    elif which == 3:
        with open(chosen, "wb") as hollow:
            hollow.truncate(1 << 40)
    else:
        chosen.touch()


def forged(path: Path, random: Random) -> None:
    """Other numbers in some arrays, all checksums right."""
    data = json.loads((path / "manifest.json").read_text())
    index = int(random.integers(data["blocks"]))
    folder = f"{path}/{storage.folder_name(data['prepare'])}"
    rows = [_forged(row, random) if random.integers(12) == 0 else row for row in storage.read_rows(folder, index)]
    if random.integers(4) == 0:
        del rows[random.integers(len(rows))]
    if random.integers(8) == 0:
        rows.append(rows[random.integers(len(rows))])
    data["sums"][index] = sums_of(rows)
    if random.integers(6) == 0:
        data["per_block"]["nodes"][index] += int(random.integers(-3, 4))
        data["totals"]["nodes"] = sum(data["per_block"]["nodes"])
    (path / "manifest.json").write_text(json.dumps(sealed(data)))
    for name in ("static", "sends"):
        storage.write_rows(folder, index, name, [row for row in rows if file_of(row) == name])


def _forged(row: Row, random: Random) -> Row:
    data = row.data.copy()
    which = random.integers(9)
    if which == 0 and len(data):
        numbers = data[: len(data) - len(data) % 4].view(np.int32)
        if len(numbers):
            wrong = [-1, 0, 1, 2**31 - 1, -(2**31), 10**6, 200, int(numbers[0]) + 1]
            numbers[random.integers(len(numbers))] = wrong[random.integers(len(wrong))]
    elif which == 1:
        data = data[: random.integers(len(data) + 1)]
    elif which == 2:
        data = np.concatenate([data, data])
    elif which == 3:
        return row._replace(dtype=str(random.choice(["<f4", "<i4", "<i8", "|u1", "|O", "<U4", "|V4", "nonsense", ""])))
    elif which == 4:
        return row._replace(width=int(random.choice([-1, 0, 1, 3, 2**31 - 1])))
    elif which == 5:
        return row._replace(source=int(random.choice([-2, -1, 0, 1, 2, 3, 2**31 - 1])))
    elif which == 6:
        return row._replace(name=str(random.choice(["", "node", "a__b__c", "node__to__node", "node/x", "../../x"])))
    elif which == 7:
        return row._replace(part=int(random.choice([-1, 1, 7])))
    else:
        data = np.frombuffer(random.bytes(len(data)), np.uint8)
    return row._replace(data=data)
