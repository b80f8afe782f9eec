"""The package under the product's name: the same objects, whatever else is called pipeline, and what a wheel brings.

Each import is in a process of its own, in a folder of its own: what this process has imported says nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(pipeline.__file__).parent.parent
USERS = "raise RuntimeError('the module of the user was run')\n"


def python(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Python in a folder, which it searches first of all: what lies there comes before what is installed."""
    searched = os.pathsep.join([str(folder), path or str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": searched},
        capture_output=True,
        text=True,
        check=False,
    )


def said(folder: Path, code: str) -> str:
    done = python(folder, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_is_the_same_object(tmp_path: Path) -> None:
    code = "import graphsweep, pipeline\nfor name in pipeline.__all__:\n"
    code += "    assert getattr(graphsweep, name) is getattr(pipeline, name), name\nprint(len(pipeline.__all__))"
    assert said(tmp_path, code) == str(len(pipeline.__all__))


@pytest.mark.parametrize("first", ["graphsweep", "pipeline"])
def test_parts_are_the_same_modules_in_either_order(tmp_path: Path, first: str) -> None:
    second = {"graphsweep": "pipeline", "pipeline": "graphsweep"}[first]
    parts = ("formula", "errors", "plan.memory", "layers")
    code = "from importlib import import_module as get\n" + "".join(
        f"one = get('{first}.{part}'); other = get('{second}.{part}')\n"
        f"assert one is other and one.__spec__.name == one.__name__ == 'pipeline.{part}', one.__spec__\n"
        for part in parts
    )
    assert said(tmp_path, code + "print('same')") == "same"


def test_a_function_stays_a_function_when_its_module_is_imported(tmp_path: Path) -> None:
    code = "import graphsweep.infer, graphsweep\nfrom graphsweep import infer\nprint(callable(infer), infer.__module__)"
    assert said(tmp_path, code) == "True pipeline.infer"


def test_importing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import graphsweep, sys\nprint({'pyspark', 'numba', 'torch', 'numpy', 'pyarrow', 'typer'} & set(sys.modules))"
    )
    assert said(tmp_path, code) == "set()"


def test_a_part_that_there_is_not_is_named_as_it_was_asked_for(tmp_path: Path) -> None:
    code = "try:\n    import graphsweep.formulas\nexcept ModuleNotFoundError as error:\n    print(error, error.name)"
    assert said(tmp_path, code) == "No module named 'graphsweep.formulas' graphsweep.formulas"


@pytest.mark.parametrize("name", ["pipeline.py", "pipeline/__init__.py"])
def test_what_the_user_calls_pipeline_is_not_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(USERS)
    assert said(tmp_path, "import graphsweep\nprint(graphsweep.infer.__module__)") == "pipeline.infer"
    assert python(tmp_path, "-m", "graphsweep", "--help").returncode == 0
    # what pip writes for the console command
    script = tmp_path / "graphsweep-command"
    module, _, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
        "graphsweep"
    ].partition(":")
    first, _, _ = function.partition(".")
    script.write_text(f"import sys\nfrom {module} import {first}\nsys.exit({function}())\n")
    done = python(tmp_path, str(script), "infer", "--model", "m", "--output", "o")
    assert done.returncode == 2, done.stderr
    assert "give either --graph, or both --nodes and --edges" in done.stderr


def test_a_module_of_the_user_that_has_the_name_already_is_said(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("MINE = 1\n")
    done = python(tmp_path, "-c", "import pipeline, graphsweep")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "ImportError: graphsweep cannot be imported: its package is called pipeline, and a module of that name was "
        f"imported before, from {tmp_path / 'pipeline.py'}; rename that one, or run this in another Python process"
    )


def test_half_an_installation_is_said(tmp_path: Path) -> None:
    (tmp_path / "graphsweep.py").write_text((ROOT / "graphsweep.py").read_text())
    done = python(tmp_path, "-c", "import graphsweep", path=str(tmp_path))
    assert "graphsweep is not installed whole: no pipeline beside" in done.stderr


def test_a_wheel_brings_both_names() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["pipeline"], "force-include": {"graphsweep.py": "graphsweep.py"}}
    assert (ROOT / "graphsweep.py").is_file()
