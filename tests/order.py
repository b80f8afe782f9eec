"""What runs when: tests without Spark first, those of one Spark session next, the slow ones last; and how long it took.

Comes in: the tests that pytest collected. Goes out: their order, and a line for each stage at the end of the run. The
first stage says within minutes whether the code is right: all that runs in this process, and one night's run through
Spark. The second is what takes the fixture `spark`: the same and more, by Spark's tasks, in one JVM. The third is all
that is marked `slow`: real clusters, spark-submit, commands in processes of their own, notebooks, benches, the fuzz.
One command runs all three, one after the other; `-m "not slow and not with_spark"` runs the first alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Container

import pytest

from tests.versions import HEAD

# What a file has in a stage goes to one process. Who gets the longest of a stage last works alone, so these come first.
# The minutes are rough, and only their order matters.
LONG = {
    "test_versions.py": 6,
    "test_interrupted.py": 5,
    "test_connect.py": 4,
    "test_versions_between.py": 3,
    "test_dags.py": 2,
    "test_bench_rivals.py": 2,
    "test_all_ways.py": 2,
    "test_prepare.py": 1.5,
    "test_through_spark.py": 1.5,
    "test_bench.py": 2,
    "test_infer.py": 2,
    "test_cluster.py": 2,
    "test_notebooks.py": 1.5,
    "test_soak.py": 1.5,
    "test_fuzz.py": 1.5,
    "test_memory_bound.py": 1.3,
    "test_faults.py": 1.3,
    "test_layers.py": 1.2,
    "test_typed.py": 0.8,
}
FILES = 30  # that the report names
# Each of these files starts a master and its workers: one after the other, in one process.
CLUSTERS = (
    "tests/spark/test_standalone.py",
    "tests/spark/test_executors.py",
    "tests/spark/test_own_disks.py",
    "tests/spark/test_interrupted.py",
    "tests/spark/test_py_files.py",
)
FIRST = "tests/spark/test_everywhere.py::test_a_night"  # of Spark, but no later than the first stage
STAGES = ("first", "second", "third")


def stage_of(marks: Container[str]) -> str:
    return "third" if "slow" in marks else "second" if "with_spark" in marks else "first"


class Order:
    """A plugin; in a run of several processes it is in each, and the one that reports has all reports."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.ended: dict[str, float] = {}
        self.tests: Counter[str] = Counter()
        self.work: dict[str, float] = defaultdict(float)
        self.files: defaultdict[str, float] = defaultdict(float)
        self.versions: list[str] = []

    @pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if "spark" in getattr(item, "fixturenames", ()) and not item.nodeid.startswith(FIRST):
                item.add_marker("with_spark")

        def place(item: pytest.Item) -> tuple[int, int | float]:
            stage = stage_of({mark.name for mark in item.iter_markers()})
            return STAGES.index(stage), -LONG.get(item.path.name, 0)

        items.sort(key=place)

    @pytest.hookimpl(optionalhook=True)  # unknown without pytest-xdist
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object | None:
        if config.getoption("dist") != "loadfile":
            return None
        from xdist.scheduler import LoadFileScheduling

        class Scheduling(LoadFileScheduling):
            """A process takes what a file has in one stage. Tests come sorted by stage: those follow each other."""

            def __init__(self, *given: object) -> None:
                super().__init__(*given)
                self.scopes: dict[str, str] = {}
                self.file = ""
                self.passed = 0  # files

            def _split_scope(self, nodeid: str) -> str:
                if nodeid not in self.scopes:
                    file = super()._split_scope(nodeid)
                    self.passed += file != self.file
                    self.file = file
                    self.scopes[nodeid] = "clusters" if file in CLUSTERS else f"{file} {self.passed}"
                return self.scopes[nodeid]

        return Scheduling(config, log)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        stage = stage_of(report.keywords)
        self.ended[stage] = time.monotonic()
        self.work[stage] += report.duration
        self.tests[stage] += report.when == "setup"
        self.files[report.nodeid.partition("::")[0]] += report.duration
        if report.when == "call":
            self.versions += [str(row) for name, row in report.user_properties if name == "compatibility"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """From the start of the run: with several processes a stage begins before the one before it is done."""
        for stage, ended in sorted(self.ended.items()):
            line = f"{stage} stage: {self.tests[stage]:,} tests, done after {(ended - self.started) / 60:.1f} minutes"
            terminalreporter.write_line(f"{line}; their own seconds add up to {self.work[stage] / 60:.1f} minutes")
        for line in [HEAD, *self.versions] if self.versions else []:
            terminalreporter.write_line(line)
        by_length = sorted(self.files.items(), key=lambda item: -item[1])[:FILES]
        longest = [f"{seconds:.0f} s {file}" for file, seconds in by_length if seconds >= 1]
        terminalreporter.write_line("\n  ".join(["the longest files:", *longest]))
