"""Hostile model directories: loaded, explained, and run over a small graph.

    python -m tests.fuzz        says how many CI plays

A directory is a good one of tests/formulas.py with its program changed into another, with values of other kinds, with
damaged texts or weights, or with something else in a file's place. It must be refused, or run.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy

from pipeline import Model, Settings, explain, prepare, score
from pipeline.compiler import call
from pipeline.errors import GraphsweepError
from pipeline.formula import Program, clamp, linear, lookup
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import input_name
from pipeline.graph import Graph
from pipeline.prepared import PreparedGraph
from tests.compiler.tiles import load_plain
from tests.formulas import FORMULAS, build
from tests.fuzz.mutations import NAMES, Random, change, damage, hostile, text_of
from tests.whole import whole

COMPILED = 25  # one case of so many compiles its loops, which takes a second each; the others run them as they stand


def play(case: int, directory: Path) -> str:
    random = np.random.default_rng([1, case])
    path = directory / "model"
    shutil.copytree(good(int(random.integers(len(BASES)))), path)
    kinds: list[Callable[[Path, Random], None]] = [other_program, other_program, other_values, other_values, weights]
    kinds += [text, place]
    kinds[case % len(kinds)](path, random)
    model = Model.load(path)
    assert len(model.fingerprint) == 64
    str(model).encode()
    explain(graph(), model).encode()
    with nullcontext() if case % COMPILED == 0 else plain_loops():
        report = score(graph(), model, str(directory / "scores"), settings=Settings(threads=1))
    table = pq.read_table(directory / "scores")
    given = whole("mixed")
    if model.program.is_per_edge:
        assert report.rows == len(table) == graph().edges
        found, expected = (
            sorted(zip(edges["src"].to_pylist(), edges["dst"].to_pylist(), strict=True))
            for edges in (table, given.edges())
        )
        assert found == expected, "other edges"
    else:
        assert report.rows == len(table) == graph().nodes
        assert sorted(table["id"].to_pylist()) == sorted(given.ids), "other ids"
    assert set(os.listdir(directory)) == {"model", "scores", "cwd"}
    return "ran"


@contextmanager
def plain_loops() -> Iterator[None]:
    """Generated loops as Python, for which an index beyond an array is an error."""
    compiled, call.load = call.load, load_plain
    try:
        yield
    finally:
        call.load = compiled


# ---- good ones


def _table(g: Any, x: Any, w: Any) -> Any:
    return linear(x, w.up) + lookup(w.kinds, clamp(g.degree(), 0.0, 3.0))


BASES = [*FORMULAS, "table"]


@functools.cache
def good(number: int) -> Path:
    """The directory of a good model."""
    name = BASES[number]
    weights = {"kinds": np.ones((4, 6)), "up.weight": np.ones((6, 6))}
    model = Model.from_formula(_table, weights, {"nodes.x": 6}) if name == "table" else build(name)
    model.save(root() / name)
    return root() / name


@functools.cache
def graph() -> PreparedGraph:
    """200 nodes and 1,500 edges, in 3 blocks."""
    nodes, edges = root() / "nodes.parquet", root() / "edges.parquet"
    pq.write_table(whole("mixed").nodes(), nodes)
    pq.write_table(whole("mixed").edges(), edges)
    raw = Graph.of_files(str(nodes), str(edges), edge_features=["weight", "attr"], reverse=True)
    assert raw is not None
    return prepare(raw, str(root() / "graph"), blocks=3)


@functools.cache
def root() -> Path:
    return Path(tempfile.mkdtemp(prefix="good-"))


# ---- what is done to them


def other_values(path: Path, random: Random) -> None:
    """model.json with anything anywhere."""
    data = json.loads((path / "model.json").read_text())
    change(data if random.integers(3) else data["program"], random)
    (path / "model.json").write_bytes(text_of(data, random))


def other_program(path: Path, random: Random) -> None:
    """A program of the same language: other operations, operands, attributes and outputs."""
    data = json.loads((path / "model.json").read_text())
    program = data["program"]
    for _ in range(random.integers(1, 4)):
        for _ in range(6):  # most programs that come of it are refused, and say nothing of what follows
            edited = copy.deepcopy(program)
            _edit(edited, random)
            if random.integers(8) == 0 or _is_accepted(edited):
                break
        program = data["program"] = edited
    with suppress(Exception):  # what it declares is what its program has, so that it is not refused for that
        read = Program.from_json(program)
        names = {input_name(column): column for column in read.inputs}
        old = data["inputs"]
        data["inputs"] = {
            name: {"column": old.get(name, {"column": name})["column"], "shape": list(column.shape)}
            for name, column in names.items()
        }
        data["outputs"] = {name: {"width": value.width} for name, value in read.outputs.items()}
        arrays = safetensors.numpy.load_file(path / "weights.safetensors")
        made = {
            name: np.resize(arrays[name], shape) if name in arrays else np.ones(shape)
            for name, shape in read.weights.items()
            if np.prod(shape, dtype=float) < 1e6
        }
        made = {name: np.ascontiguousarray(array, np.float32) for name, array in made.items()}
        safetensors.numpy.save_file(made, path / "weights.safetensors")
    (path / "model.json").write_text(json.dumps(data))


def _is_accepted(program: dict[str, Any]) -> bool:
    try:
        Program.from_json(program)
    except GraphsweepError:
        return False
    except Exception:
        return True  # the case itself will tell
    return True


def _one(names: list[str], random: Random) -> str:
    """One of them, as it is: NumPy's own choice cuts null characters off."""
    return names[int(random.integers(len(names)))]


def _edit(program: dict[str, Any], random: Random) -> None:
    values = program["values"]
    which = random.integers(7)
    entry = values[random.integers(len(values))]
    if which == 0:
        entry["op"] = str(random.choice(list(OPERATIONS)))
        if "inputs" in entry:
            entry["attributes"] = _attributes(entry["op"], random)
    elif which == 1 and entry.get("inputs"):
        at = random.integers(len(entry["inputs"]))
        entry["inputs"][at] = int(random.integers(len(values)))
    elif which == 2 and entry.get("attributes"):
        key = str(random.choice(list(entry["attributes"])))
        entry["attributes"][key] = _attribute(key, random) if random.integers(2) else hostile(random)
    elif which == 3 and "shape" in entry:
        entry["shape"] = [int(random.choice([0, 1, 2, 6, 10**6, 10**9, 10**18])) for _ in range(random.integers(4))]
    elif which == 4:
        name = _one(list(program["outputs"]), random)
        program["outputs"][NAMES[random.integers(len(NAMES))]] = program["outputs"].pop(name)
    elif which == 5:
        name = _one(list(program["outputs"]), random)
        program["outputs"][name] = int(random.integers(len(values)))
    else:
        for _ in range(random.integers(1, 60)):
            _append(program, random)
        program["outputs"]["more"] = len(values) - 1


def _append(program: dict[str, Any], random: Random) -> None:
    """One more operation, over what is there; of some tries the first that the rules accept."""
    values = program["values"]
    for _ in range(20):
        op = str(random.choice([name for name, operation in OPERATIONS.items() if operation.kind != "leaf"]))
        taken = OPERATIONS[op].inputs or (1, 2, 3)
        entry = {
            "op": op,
            "inputs": random.integers(max(0, len(values) - 12), len(values), random.choice(taken)).tolist(),
            "attributes": _attributes(op, random),
        }
        try:
            Program.from_json({"values": [*values, entry], "outputs": {"o": len(values)}})
        except GraphsweepError as error:
            if "output 'o' has one row" not in str(error):
                continue
        except Exception:
            pass  # the case itself will tell
        break
    values.append(entry)


def _attributes(op: str, random: Random) -> dict[str, Any]:
    return {key: _attribute(key, random) for key in sorted(OPERATIONS[op].attributes)}


def _attribute(key: str, random: Random) -> Any:
    """One of its kind, most of the time."""
    few = [int(number) for number in random.integers(0, 4, random.integers(1, 4))]
    kinds: dict[str, list[Any]] = {
        "approximate": ["none", "tanh"],
        "shape": [few, [6], [1, 6], [2, 3], [6, 1], [], [10**9], [10**18, 10**18]],
        "axes": [few, [0], [0, 1], [1, 0], [-1]],
        "axis": [0, 1, -1],
        "start": [0, 1, -1],
        "stop": [1, 3, 6],
        "step": [1, 2, 0, -1],
        "indices": [few, [0] * 1000],
        "keepdims": [True, False],
        "edges": ["edges", "edges(proper)", "edges(loops)", "edges(all+self)", "edges[node__rev_to__node]"],
        "nodes": ["nodes", "nodes[paper]"],
        "part": ["all", "proper", "loops", "proper+self"],
        "q": [[0.5], [0.0, 1.0], [0.25, 2.0], []],
        "interpolation": ["linear", "lower", "higher", "midpoint"],
    }
    choices = kinds.get(key, [0.0, 1.0, -1.0, 0.5, "inf", "-inf", "nan", 1e30, 3])
    return hostile(random) if random.integers(12) == 0 else choices[random.integers(len(choices))]


def text(path: Path, random: Random) -> None:
    (path / "model.json").write_bytes(damage((path / "model.json").read_bytes(), random))


def weights(path: Path, random: Random) -> None:
    """weights.safetensors: damaged; a header of other names, shapes, types and places; other arrays."""
    file = path / "weights.safetensors"
    content = file.read_bytes()
    which = random.integers(4)
    if which == 0:
        file.write_bytes(damage(content, random))
    elif which == 1:
        arrays = safetensors.numpy.load_file(file)
        for name in list(arrays):
            kind = random.choice([np.float64, np.float16, np.int32, np.uint8, np.bool_])
            if random.integers(2):
                arrays[name] = arrays[name].astype(kind)
        if random.integers(2):
            arrays[NAMES[random.integers(len(NAMES) - 2)]] = np.ones(3, np.float32)
        safetensors.numpy.save_file(arrays, file)
    else:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        change(header, random)
        text = text_of(header, random)
        told = int(random.choice([len(text), len(text), len(text), 0, 1, len(text) - 1, 10**6, 2**62]))
        file.write_bytes(struct.pack("<Q", max(0, told)) + text + content[8 + length :])


def place(path: Path, random: Random) -> None:
    """Something else where a file is expected."""
    file = path / ("model.json" if random.integers(2) else "weights.safetensors")
    which = random.integers(8)
    file.unlink()
    if which == 0:
        file.mkdir()
    elif which == 1:
        os.mkfifo(file)
    elif which == 2:
        file.symlink_to(["/dev/zero", "/dev/random", "/etc/passwd", "/proc/self/mem", "/dev/stdin"][random.integers(5)])
    elif which == 3:
        file.symlink_to(file)  # to itself
    elif which == 4:
        file.symlink_to(path)
    elif which == 5:
        with open(file, "wb") as hollow:  # takes no room on the disk
            hollow.truncate(1 << 40)
    elif which == 6:
        shutil.rmtree(path)
    else:
        shutil.rmtree(path)
        os.mkfifo(path)
