"""What Spark says of a path that is not there, and what that tells; with sessions of three lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import StorageError
from pipeline.places.place import Place
from pipeline.places.through_spark import default_filesystem, place_in

MISSING = "[PATH_NOT_FOUND] Path does not exist: {}. SQLSTATE: 42K03"


def session(says: str) -> Any:
    """Whose file system of paths without a scheme is in what it says; `{}` is the path that it was asked for."""

    def load(paths: str | list[str]) -> None:
        raise RuntimeError(says.format(paths if isinstance(paths, str) else paths[0]))

    return SimpleNamespace(read=SimpleNamespace(format=lambda _: SimpleNamespace(load=load)))


@pytest.mark.parametrize(
    ("start", "default", "place"),
    [
        ("file:", "file", "/x"),
        ("file://", "file", "/x"),
        ("hdfs://name:8020", "hdfs://name:8020", "hdfs://name:8020/x"),
        ("hdfs://host:8020/user/a", "hdfs://host:8020/user/a", "hdfs://host:8020/user/a/x"),
        ("dbfs:", "dbfs:", "dbfs:///x"),
        ("dbfs:/user/a", "dbfs:/user/a", "dbfs:///user/a/x"),
        ("s3a://bucket", "s3a://bucket", "s3://bucket/x"),
        ("s3a://bucket/user/a", "s3a://bucket/user/a", "s3://bucket/user/a/x"),
        ("viewfs://lake", "viewfs://lake", "viewfs://lake/x"),
        ("abfss://box@account.dfs.core.windows.net", "abfss://box@account.dfs.core.windows.net",
         "abfs://box@account.dfs.core.windows.net/x"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "says", [MISSING, "java.io.IOException at file:/a b: see https://spark.apache.org/x\n" + MISSING]
)
def test_what_spark_calls_a_path_without_a_scheme(start: str, default: str, place: str, says: str) -> None:
    spark = session(says.replace("{}", start + "{}"))
    assert default_filesystem(spark) == default
    assert place_in(spark, "/x").uri == place


@pytest.mark.parametrize(
    "says", ["[INSUFFICIENT_PERMISSIONS] on {}", "java.net.ConnectException: hdfs://name:8020 refused"]
)
def test_a_default_that_does_not_answer(says: str) -> None:
    """Paths that have a scheme need none."""
    with pytest.raises(StorageError, match=r"^Spark does not name its default file system \(.*\); write paths with a"):
        place_in(session(says), "/x")
    for path in ("file:/x", "s3a://bucket/x", "viewfs://lake/a:b"):
        assert place_in(session(says), path) == Place.of(path)
    assert place_in(None, "/x") == Place.of("/x")
