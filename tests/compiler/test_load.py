"""Generated text on disk and in processes: compiled once, verified, never anybody else's."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

from pipeline.blocks.block import Tile
from pipeline.compiler import compile_reduction, load
from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.loops import write_loop
from pipeline.formula import GraphArrays, Relation, leaky_relu, node_input, weight
from pipeline.formula.values import apply
from pipeline.schema import NODE
from tests.compiler.tiles import compiled, expected

ROOT = Path(__file__).parents[2]
G = Relation(columns={"weight": (1,)})
X = node_input("x", (16,))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache directory, and nothing loaded yet."""
    monkeypatch.setattr("pipeline.kernels.jit.cache_directory", lambda: tmp_path)
    monkeypatch.setattr(load, "_loaded", {})
    return tmp_path / "loops"


def text(factor: float = 2.0) -> str:
    return write_loop(edge_program(G.sum(G.src(X) * factor)), {X.id: 0})


def test_one_private_file_per_text(own_cache):
    function = load.load(text())
    assert load.load(text()) is function
    (path,) = own_cache.glob("*.py")
    assert re.fullmatch(r"graphsweep_loop_[0-9a-f]{64}\.py", path.name)
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o700
    assert load.source(function) == path.read_text() == load.HEADER + text()
    load.load(text(3.0))
    assert len(list(own_cache.iterdir())) == 2  # no temporary files


def test_a_planted_file_is_replaced_and_never_executed(own_cache, tmp_path, monkeypatch):
    load.load(text())
    (path,) = own_cache.glob("*.py")
    good = path.read_bytes()
    marker = tmp_path / "executed"
    for planted in (f"open({str(marker)!r}, 'w')\n".encode() + good, b"", b"\xff\x00"):
        path.write_bytes(planted)
        monkeypatch.setattr(load, "_loaded", {})
        load.load(text())
        assert path.read_bytes() == good
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_bytes(b"keep me")
    path.unlink()
    path.symlink_to(elsewhere)
    monkeypatch.setattr(load, "_loaded", {})
    load.load(text())
    assert not path.is_symlink()
    assert path.read_bytes() == good
    assert elsewhere.read_bytes() == b"keep me"
    assert not marker.exists()


def test_an_unchanged_file_is_left_alone(own_cache, monkeypatch):
    """Numba's cache goes by the file's time: writing it again would compile again."""
    load.load(text())
    (path,) = own_cache.glob("*.py")
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr(load, "_loaded", {})
    load.load(text())
    assert path.stat().st_mtime_ns == 1


def test_names_of_columns_and_weights_are_not_in_the_code():
    hostile = "');import os;os.system('true')#{0}"
    g = Relation(columns={hostile: (4,)})
    rng = np.random.default_rng(0)
    value = g.sum(g.src(node_input(hostile, (4,))) * g.edge(hostile) * weight(hostile, (4,)))
    function = compile_reduction(value, dict.fromkeys(_sent(value), 0), {hostile: np.ones(4, np.float32)})
    code = load.source(function.loop.tile)
    assert "os." not in code
    assert "import os" not in code
    graph = GraphArrays.single(np.arange(5), np.arange(5), np.zeros((5, 1)), **{hostile: np.ones((5, 4), np.float32)})
    graph.node_columns[NODE][hostile] = rng.normal(size=(5, 4)).astype(np.float32)
    weights = {hostile: rng.normal(size=4).astype(np.float32)}
    np.testing.assert_allclose(compiled(value, graph, weights, 2), expected(value, graph, weights), rtol=1e-6)


def _sent(value):
    return [entry.inputs[0].id for entry in edge_program(value).inner if entry.op == "src"]


@pytest.mark.parametrize("number", [0.1, -0.0, 1e-45, 3.4e38, 16777217.0, float("inf"), float("-inf"), float("nan")])
def test_constants_are_exact(number):
    value = G.max(apply("where", G.dst(X), number, number))
    graph = GraphArrays.single(np.zeros(1, int), np.zeros(1, int), np.ones((1, 16), np.float32))
    np.testing.assert_array_equal(compiled(value, graph, {}, 1)[0], np.full(16, number, np.float32))


def test_one_compiled_version_whatever_may_be_written(own_cache):
    """Arrow's views are read-only, NumPy's arrays mostly not: Numba would compile for each combination."""
    value = G.sum(G.src(X) * G.edge("weight") * G.dst(X) * weight("w", (16,)))
    rng = np.random.default_rng(0)
    reduction = compile_reduction(value, {X.id: 0}, {"w": np.ones(16, np.float32)})
    for writable in (True, False, True):
        arrays = [np.array([0], np.int32), np.array([0, 2], np.int32), np.array([0, 1], np.int32)]
        payload, local, column = (rng.normal(size=(n, w)).astype(np.float32) for n, w in ((2, 16), (3, 16), (2, 1)))
        for array in (*arrays, payload, local, column):
            array.flags.writeable = writable
        accumulator = reduction.start(3, lambda value, local=local: local)
        tile = Tile(*arrays, values={"weight": column})
        reduction.add(accumulator, tile, payload, lambda value, local=local: local)
    assert reduction.loop is not None
    assert len(reduction.loop.tile.signatures) == 1


SCRIPT = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from pipeline.blocks.block import Tile
    from pipeline.compiler import compile_reduction
    from pipeline.formula import Relation, leaky_relu, node_input
    from pipeline.formula.values import apply
    g = Relation()
    h, a = node_input("h", (4, 16)), node_input("a", (4, 1))
    value = apply("softmax_sum", leaky_relu(g.src(a) + g.dst(a), 0.2), g.src(h))
    rng = np.random.default_rng(0)
    payload = rng.normal(size=(3, 68)).astype(np.float32)
    local = rng.normal(size=(2, 4, 1)).astype(np.float32)
    tile = Tile(*(np.array(x, np.int32) for x in ([0, 1], [0, 1, 3], [0, 1, 2])))
    start = time.perf_counter()
    reduction = compile_reduction(value, {h.id: 0, a.id: 64}, {})
    accumulator = reduction.start(2, lambda value: local)
    reduction.add(accumulator, tile, payload, lambda value: local)
    seconds = time.perf_counter() - start
    result = reduction.finish(accumulator)
    hits = sum(reduction.loop.tile.stats.cache_hits.values()) if hasattr(reduction.loop.tile, "stats") else -1
    print(hits, seconds, " ".join(f"{x:.7g}" for x in result.reshape(-1)))
    """
)


def run(**environment: str) -> tuple[int, float, np.ndarray]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    hits, seconds, *numbers = done.stdout.split()
    return int(hits), float(seconds), np.array(numbers, np.float64)


@pytest.mark.slow
def test_a_fresh_process_loads_what_another_compiled(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    hits, seconds, numbers = run(**cache)
    assert hits == 0
    hits, again, same = run(**cache)
    assert hits == 1
    assert again < seconds / 2  # 2 s against 0.05 s on a quiet machine
    np.testing.assert_array_equal(same, numbers)


@pytest.mark.slow
def test_without_compilation_the_numbers_are_the_same(tmp_path):
    """NUMBA_DISABLE_JIT=1, for debugging: the generated text is plain Python over arrays."""
    _, _, plain = run(NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))
    _, _, numbers = run(NUMBA_CACHE_DIR=str(tmp_path))
    np.testing.assert_allclose(plain, numbers, rtol=1e-6)


def test_loops_let_go_of_the_interpreter_lock():
    """Blocks run in threads."""
    value = apply("softmax_sum", leaky_relu(G.src(X), 0.2), G.src(X))
    reduction = compile_reduction(value, {X.id: 0}, {})
    assert reduction.loop is not None
    if not numba.config.DISABLE_JIT:
        assert reduction.loop.tile.targetoptions["nogil"]
