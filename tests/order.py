"""What runs when: the quick tests first, the slow ones behind them, and how long both took.

Comes in: the tests that pytest collected. Goes out: their order, and two lines at the end of the run. The first stage
says within minutes whether the code is right: one machine, one Spark session in each process. The second is all that is
marked `slow`: real clusters, spark-submit, commands in processes of their own, notebooks, benches, the fuzz. One
command runs both, first the first; `-m "not slow"` runs that alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import pytest

from tests.versions import HEAD

# Files are given to processes whole. Who gets the longest of a stage last works alone, so these come first. The minutes
# are rough, and only their order matters.
LONG = {
    "test_bench_rivals.py": 7,
    "test_fuzz.py": 5,
    "test_interrupted.py": 5,
    "test_versions.py": 5,
    "test_dags.py": 4,
    "test_bench.py": 3,
    "test_cluster.py": 2,
    "test_notebooks.py": 2,
    "test_prepare.py": 2,
    "test_infer.py": 2,
    "test_jobs.py": 1.5,
    "test_bench_large.py": 1,
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


def is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


class Order:
    """A plugin; in a run of several processes it is in each, and the one that reports has all reports."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.ended: dict[str, float] = {}
        self.tests: Counter[str] = Counter()
        self.work: dict[str, float] = defaultdict(float)
        self.files: defaultdict[str, float] = defaultdict(float)
        self.versions: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        mixed = {item.path for item in items if is_slow(item)} & {item.path for item in items if not is_slow(item)}
        for path in mixed:
            raise pytest.UsageError(f"{path}: some of its tests are slow, some are not; make two files of it")
        items.sort(key=lambda item: (is_slow(item), -LONG.get(item.path.name, 0)))

    @pytest.hookimpl(optionalhook=True)  # unknown without pytest-xdist
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object | None:
        if config.getoption("dist") != "loadfile":
            return None
        from xdist.scheduler import LoadFileScheduling

        class Scheduling(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                file = super()._split_scope(nodeid)
                return "clusters" if file in CLUSTERS else file

        return Scheduling(config, log)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        stage = "second" if "slow" in report.keywords else "first"
        self.ended[stage] = time.monotonic()
        self.work[stage] += report.duration
        self.tests[stage] += report.when == "setup"
        self.files[report.nodeid.partition("::")[0]] += report.duration
        if report.when == "call":
            self.versions += [str(row) for name, row in report.user_properties if name == "compatibility"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Both from the start of the run: with several processes the second begins before the first is done."""
        for stage, ended in sorted(self.ended.items()):
            line = f"{stage} stage: {self.tests[stage]:,} tests, done after {(ended - self.started) / 60:.1f} minutes"
            terminalreporter.write_line(f"{line}; their own seconds add up to {self.work[stage] / 60:.1f} minutes")
        for line in [HEAD, *self.versions] if self.versions else []:
            terminalreporter.write_line(line)
        by_length = sorted(self.files.items(), key=lambda item: -item[1])[:FILES]
        longest = [f"{seconds:.0f} s {file}" for file, seconds in by_length if seconds >= 1]
        terminalreporter.write_line("\n  ".join(["the longest files:", *longest]))
