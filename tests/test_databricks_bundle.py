"""databricks.yml: what it names is there, and its wheel tasks are commands that this version takes.

The bundle's own schema is Databricks' property, and 900 KB; it is not kept here. Where there is one, name it, and the
bundle is validated with it, too:

    databricks bundle schema > schema.json
    GRAPHSWEEP_BUNDLE_SCHEMA=schema.json python -m pytest tests/test_databricks_bundle.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BUNDLE: dict[str, Any] = yaml.safe_load((ROOT / "databricks.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
JOBS = BUNDLE["resources"]["jobs"]
TASKS = [task for job in JOBS.values() for task in job["tasks"]]
SCHEMA = os.environ.get("GRAPHSWEEP_BUNDLE_SCHEMA")
FLIGHTS = ROOT / "data" / "flights"


def errors(bundle: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    return list(jsonschema.validators.validator_for(schema)(schema).iter_errors(bundle))


@pytest.mark.skipif(SCHEMA is None, reason="GRAPHSWEEP_BUNDLE_SCHEMA names no schema; see the top of this file")
def test_it_follows_the_schema() -> None:
    text = Path(str(SCHEMA)).read_text(encoding="utf-8")
    # Python's `re` has no classes of Unicode
    schema = json.loads(text.replace(r"\\p{L}", "a-zA-Z").replace(r"\\p{N}", "0-9"))
    assert not errors(BUNDLE, schema)
    wrong = json.loads(json.dumps(BUNDLE))
    wrong["resources"]["jobs"]["nightly"]["schedule"]["cron"] = "0 4 * * *"
    assert errors(wrong, schema)


def test_variables_are_declared() -> None:
    text = (ROOT / "databricks.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == set(BUNDLE["variables"])
    given = {parameter["name"] for parameter in JOBS["nightly"]["parameters"]}
    assert set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", text)) == given


def test_tasks_name_what_is_there() -> None:
    for job in JOBS.values():
        keys = {task["task_key"] for task in job["tasks"]}
        clusters = {cluster["job_cluster_key"] for cluster in job.get("job_clusters", [])}
        environments = {each["environment_key"] for each in job.get("environments", [])}
        for task in job["tasks"]:
            assert {each["task_key"] for each in task.get("depends_on", [])} < keys
            assert task.get("job_cluster_key") in clusters or task.get("environment_key") in environments
    notebooks = {task["notebook_task"]["notebook_path"] for task in TASKS if "notebook_task" in task}
    there = {file.relative_to(ROOT).as_posix() for file in (ROOT / "notebooks" / "databricks").glob("*.py")}
    assert notebooks == there
    assert all((ROOT / path).exists() for path in BUNDLE["sync"]["paths"])
    for task in TASKS:
        if "python_wheel_task" in task:
            assert task["python_wheel_task"]["package_name"] == PROJECT["name"]
            assert task["python_wheel_task"]["entry_point"] in PROJECT["scripts"]


def commands(root: Path) -> list[list[str]]:
    """The wheel tasks, as Databricks gives them."""
    day = {"day": "2026-11-27", "features": "x", "edge_features": "distance"}
    found = []
    for task in JOBS["nightly"]["tasks"]:
        if "python_wheel_task" in task:
            text = json.dumps(task["python_wheel_task"]["parameters"]).replace("${var.root}", str(root))
            found.append(json.loads(re.sub(r"\{\{job\.parameters\.(\w+)\}\}", lambda name: day[name[1]], text)))
    return found


def run_task(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """As a wheel task is run: the entry point is loaded and called; that it ends in SystemExit counts as a failure."""
    name = "graphsweep-task"
    program = (
        "import sys\nfrom importlib.metadata import EntryPoint\n"
        f"sys.argv = {[name, *arguments]!r}\n"
        f"EntryPoint({name!r}, {PROJECT['scripts'][name]!r}, 'console_scripts').load()()\n"
        "print('returned')\n"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_nights_tasks_run_twice(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("nodes", "edges"):
        (tmp_path / "tables" / name).symlink_to(FLIGHTS / f"{name}.parquet")
    (tmp_path / "model").symlink_to(FLIGHTS / "model")
    for again in (False, True):
        for arguments in commands(tmp_path):
            done = run_task(arguments)
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith("returned\n")
            assert ("skipped" in done.stdout) is (again and arguments[0] == "infer")


def test_a_task_that_is_refused_fails(tmp_path: Path) -> None:
    done = run_task(commands(tmp_path)[1])
    assert done.returncode == 2
    assert "graphsweep: " in done.stderr
    assert "returned" not in done.stdout


@pytest.mark.parametrize("script", PROJECT["scripts"])
def test_entry_points_load(script: str) -> None:
    """As Databricks, and whoever reads metadata, loads them: attribute by attribute."""
    entry = f"EntryPoint({script!r}, {PROJECT['scripts'][script]!r}, 'console_scripts')"
    code = f"from importlib.metadata import EntryPoint; assert callable({entry}.load())"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("compute", ["standard", "dedicated", "serverless"])
def test_each_compute_has_its_settings(compute: str) -> None:
    file = ROOT / "conf" / f"databricks-{compute}.toml"
    assert Settings.load(file).tier == "auto"
    assert "What works" in file.read_text(encoding="utf-8")
