"""databricks.yml: what it says is what Databricks' own classes of it take, what it names is there, and its wheel tasks
are commands that this version takes.

`databricks-bundles` is their Python for bundles: a class for each resource, which refuses keys, values and lacks that
the bundle's schema refuses. The schema itself (`databricks bundle schema`, 900 KB) is in no package.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job

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
FLIGHTS = ROOT / "data" / "flights"


# https://docs.databricks.com/dev-tools/bundles/reference: all top-level mappings, and what ours hold
TOP = {"artifacts", "bundle", "experimental", "include", "permissions", "presets", "resources", "run_as", "scripts",
       "sync", "targets", "variables", "workspace"}  # fmt: skip
INNER = {
    "bundle": {"name", "cluster_id", "compute_id", "databricks_cli_version", "deployment", "git", "uuid", "engine"},
    "sync": {"include", "exclude", "paths"},
}
EACH = {
    "variables": {"default", "description", "lookup", "type"},
    "artifacts": {"build", "dynamic_version", "executable", "files", "path", "type"},
    "targets": {"mode", "default", *TOP - {"experimental", "include", "targets"}},
}


def test_what_stands_around_the_jobs_is_documented() -> None:
    assert BUNDLE.keys() <= TOP
    for name, known in INNER.items():
        assert BUNDLE[name].keys() <= known, name
    for name, known in EACH.items():
        for key, entry in BUNDLE[name].items():
            assert entry.keys() <= known, (name, key)
    assert BUNDLE["resources"].keys() == {"jobs"}
    assert {target["mode"] for target in BUNDLE["targets"].values()} <= {"development", "production"}
    assert {artifact["type"] for artifact in BUNDLE["artifacts"].values()} <= {"whl", "jar"}


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_those_of_databricks_classes(name: str) -> None:
    """And nothing is lost on the way."""
    assert Job.from_dict(JOBS[name]).as_dict() == JOBS[name]


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        (("schedule",), "cron", "0 4 * * *"),
        (("schedule",), "pause_status", "PAUSE"),
        (("tasks", 0), "retries", 2),
        (("tasks", 0), "max_retries", "two"),
        (("tasks", 0, "python_wheel_task"), "entrypoint", "graphsweep-task"),
        (("environments", 0, "spec"), "dependency", []),
    ],
)
def test_the_classes_refuse_what_is_wrong(where: tuple[str | int, ...], key: str, value: object) -> None:
    job: Any = copy.deepcopy(JOBS["nightly"])
    inner = job
    for step in where:
        inner = inner[step]
    inner[key] = value
    with pytest.raises((TypeError, ValueError)):
        Job.from_dict(job)


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
