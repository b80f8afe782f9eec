"""What all tests share: one Spark session, on this machine, in one process or in several."""

from __future__ import annotations

import os

# torch's threads, before it is imported: those of two processes on two cores wait for each other in loops. The tests of
# pyg/test_reversed.py take 16 core-seconds with one thread and 28 to 36 with two. NumPy keeps its threads, on which no
# result may depend.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count() or 1))
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Images of containers often forbid bytecode. Each command and each worker of Spark that a test starts would compile the
# 308 modules of a run anew: 2.4 instead of 0.9 core-seconds for `python -c "import pipeline.cli, pipeline.job.score"`.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from pipeline.command.own_session import SMALL_JVM
from tests.java import Java
from tests.order import Order

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.spark.standalone import Standalone

sys.dont_write_bytecode = False  # here too, see above

# the first call of a kernel compiles it, which is no example's fault; the same examples on every machine
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster", action="store_true", help="run Spark tests on two executor processes, and those that need them"
    )
    parser.addoption(
        "--connect", action="store_true", help="run Spark tests through Spark Connect: the server is another process"
    )
    parser.addoption("--fuzz-cases", type=int, help="cases of each kind that tests/fuzz plays, instead of those of CI")


def pytest_configure(config: pytest.Config) -> None:
    # sockets to the JVM that old versions of PySpark leave to the garbage collector
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")
    config.addinivalue_line("markers", "cluster: needs executors in processes of their own; runs with --cluster")
    config.addinivalue_line("markers", "slow: of the third stage, see tests/order.py")
    config.addinivalue_line("markers", "with_spark: of the second stage; given to what takes the fixture spark")
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # pytest-xdist's own order, in which a file with one test is the last
    config.pluginmanager.register(Order(), "order")
    config.pluginmanager.register(Java(), "java")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--cluster"):
        for item in items:
            if item.get_closest_marker("cluster"):
                item.add_marker(pytest.mark.skip(reason="runs with --cluster"))


SETTINGS = {
    "spark.ui.enabled": "false",  # no port, no listener that keeps every stage in memory
    "spark.ui.showConsoleProgress": "false",  # the terminal is pytest's
    "spark.log.level": "ERROR",  # tests of errors fail tasks on purpose; their stack traces are noise
    "spark.driver.bindAddress": "127.0.0.1",  # machines whose own name does not resolve
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": SMALL_JVM,  # 0.82 of the time of the tests of infer
    "spark.sql.shuffle.partitions": "2",  # Spark's own shuffles: 200 tasks for a few rows cost seconds
    "spark.shuffle.compress": "false",
    "spark.sql.session.timeZone": "UTC",
    # a batch of the wrong type is an error, not garbage; old versions do not know it, and ignore it
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
    # rows of a recomputed task have to be the same; the default only from Spark 4.2 on
    "spark.sql.shuffle.orderIndependentChecksum.enabled": "true",
}


# Delta Lake and Iceberg are packages for versions of Spark older than the newest: tests/tables/lakes.py.
LAKES = {name: os.environ.get(f"GRAPHSWEEP_{name.upper()}") for name in ("delta", "iceberg")}
EXTENSIONS = {
    "delta": "io.delta.sql.DeltaSparkSessionExtension",
    "iceberg": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
}


def lake_settings(warehouse: Path) -> dict[str, str]:
    """Of a session that has the packages whose coordinates are given: Delta in Spark's own catalog, Iceberg in one
    that is called lake."""
    given = {name: package for name, package in LAKES.items() if package}
    if not given:
        return {}
    settings = {
        "spark.jars.packages": ",".join(given.values()),
        "spark.sql.extensions": ",".join(EXTENSIONS[name] for name in given),
        # Half of the JVM's time went into code for queries over a log of a few lines, each of which is run once. The
        # tests of these formats are about which rows there are, not about how Spark computes.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    if "delta" in given:
        settings |= {
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.databricks.delta.snapshotPartitions": "1",  # 50 tasks for each look at a log of a few lines
        }
    if "iceberg" in given:
        settings |= {
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "hadoop",
            "spark.sql.catalog.lake.warehouse": f"file://{warehouse}",
        }
    return settings


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two tasks at once in this machine's one JVM; with --cluster, two executors of one core each; with --connect, a
    server of Spark Connect with two tasks at once, and here nothing but a client."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
    from pyspark.sql import SparkSession

    if request.config.getoption("--connect"):
        from tests.spark.connect_server import as_serverless, connect_server

        with connect_server(tmp_path_factory.mktemp("connect"), SETTINGS) as url:
            session = SparkSession.builder.remote(url).getOrCreate()
            with as_serverless(session):
                yield session
            session.stop()
        return
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers run what the tests run
    cluster = request.config.getoption("--cluster")
    builder = SparkSession.builder.master("local-cluster[2,1,1024]" if cluster else "local[2]").appName("tests")
    for key, value in {**SETTINGS, **lake_settings(tmp_path_factory.mktemp("lake"))}.items():
        builder = builder.config(key, value)
    if cluster:
        builder = builder.config("spark.executor.memory", "1g")  # all that a worker of 1024 MB has
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had made a session: that of other tests is not ours. (What finds sessions is tested in processes of
    their own, tests/command/test_own_session.py.)"""
    monkeypatch.setattr("pipeline.command.own_session._somebodys", lambda: False)
    if "pyspark" in sys.modules:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession

        def active() -> None:
            raise PySparkRuntimeError(errorClass="NO_ACTIVE_OR_DEFAULT_SESSION", messageParameters={})

        monkeypatch.setattr(SparkSession, "active", active)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A real cluster of two workers, for all tests that take it: see tests/spark/standalone.py."""
    from tests.spark.standalone import cluster

    with cluster(tmp_path_factory.mktemp("standalone")) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(spark: SparkSession) -> SparkSession:
    """The same session: a process has one. For tests marked `cluster`, which run with --cluster only."""
    return spark
