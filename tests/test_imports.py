"""What is loaded by whom, and what no module may call, held by reading the sources and by importing them in a fresh
process. Who may import whom is held by import-linter, in pyproject.toml; here is what its contracts cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from tests.formulas import build
from tests.whole import whole

ROOT = Path(pipeline.__file__).parent
SOURCES = {
    ".".join(["pipeline", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): file
    for file in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in SOURCES.items()}


def belongs(module: str, part: str) -> bool:
    return module == f"pipeline.{part}" or module.startswith(f"pipeline.{part}.")


def imports(tree: ast.Module, but_for_types: bool = True) -> Iterator[str]:
    """Every module that is imported somewhere; not those that only type checkers see."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if but_for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh process has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_only_pyg_imports_torch():
    found = {
        module
        for module, tree in TREES.items()
        for name in imports(tree, but_for_types=False)
        if name.partition(".")[0] in ("torch", "torch_geometric")
    }
    assert all(belongs(module, "pyg") for module in found), found


def test_importing_the_package_loads_nothing_heavy():
    assert not {"pyspark", "numba", "torch", "numpy", "pyarrow", "typer"} & loaded_by("import pipeline")


def test_the_block_program_loads_without_spark_and_torch():
    parts = ("kernels", "formula", "layers", "plan", "compiler", "preparing", "run")
    modules = [name for name in TREES if any(belongs(name, part) for part in parts)]
    loaded = loaded_by("import " + ", ".join(modules))
    assert not {"pyspark", "torch", "torch_geometric"} & loaded


def test_everything_but_pyg_loads_without_torch():
    modules = [name for name in TREES if not belongs(name, "pyg")]
    assert not {"torch", "torch_geometric"} & loaded_by("import " + ", ".join(modules))


def test_the_command_line_loads_without_spark():
    assert not {"pyspark", "torch", "numba"} & loaded_by("import pipeline.cli")


@pytest.mark.parametrize("name", pipeline.__all__)
def test_the_packages_names_are_what_they_say(name):
    """Also after the module of the same name has been imported."""
    home = pipeline._HOMES[name]
    code = f"import {home}\nfrom pipeline import {name}\nassert {name}.__module__ == {home!r}, {name}.__module__"
    loaded_by(code + f"\nassert {name}.__name__ == {name!r}\nassert {name!r} in dir(__import__('pipeline'))")


def test_names_that_the_package_does_not_have():
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'Grpah'"):
        _ = pipeline.Grpah


# ---- what works on every cluster, and nowhere prints


@pytest.mark.parametrize("module", TREES)
def test_nothing_that_spark_connect_lacks(module):
    banned = {"sparkContext", "rdd", "_jvm", "_jdf", "_jsc", "_jsparkSession", "broadcast", "foreachPartition"}
    found = [
        f"line {node.lineno}: .{node.attr}"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute) and node.attr in banned
    ]
    assert not found
    assert not [name for name in imports(TREES[module]) if name == "pyspark.sql.functions.broadcast"]


@pytest.mark.parametrize("module", TREES)
def test_nothing_prints(module):
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    assert not [f"line {call.lineno}" for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_only_the_entry_points_read_the_environment():
    found = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    # lineage: whether somebody has configured the client of OpenLineage, which reads it itself; mounted: whether this
    # is Databricks, where paths mean something else, in every process alike
    assert found <= {"pipeline.command.own_session", "pipeline.command.lineage", "pipeline.places.mounted"}


def test_what_scores_a_prepared_graph_loads_neither_pandas_nor_scipy(tmp_path: Path, no_session: None):
    """They took 0.7 of the 3.7 core-seconds of a command over 4 million edges."""
    graph, model = tmp_path / "graph", tmp_path / "model"
    tables = whole("mixed")
    pipeline.prepare(pipeline.Graph(tables.nodes(), tables.edges(), edge_features=["weight", "attr"]), graph)
    build("sage").save(model)
    given = ["infer", "--graph", str(graph), "--model", str(model), "--output", str(tmp_path / "scores"), "--quiet"]
    seldom = ("scipy.special", "scipy.sparse")  # of scipy itself Numba asks for the version
    after = f"import sys; assert not set(sys.modules) & {set(seldom)}"
    loaded = loaded_by(f"from pipeline.cli import app; app({given}, standalone_mode=False); {after}")
    assert "numba" in loaded
    assert "pandas" not in loaded
    assert list((tmp_path / "scores").glob("*.parquet"))
