"""Volumes of Databricks, with sessions of three lines that say what its Spark says."""

from __future__ import annotations

import pytest

from pipeline.errors import StorageError
from pipeline.places import mounted
from pipeline.places.place import Place
from pipeline.places.through_spark import default_filesystem, literal, place_in
from pipeline.tables.listing import absolute
from pipeline.tables.spark_files import spark_path
from tests.places.test_through_spark import MISSING, session

DBFS = session(MISSING.replace("{}", "dbfs:{}"))
CLOSED = session("[DBFS_DISABLED] Public DBFS root is disabled. Access is denied on path: {}")


@pytest.fixture
def databricks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mounted.VARIABLE, "client.4.9")


@pytest.mark.parametrize("spark", [DBFS, CLOSED], ids=["open", "closed"])
def test_a_volume_is_a_folder_that_python_sees(databricks: None, spark: object) -> None:
    for given in ("/Volumes/main/a/b/x", "/Volumes/main/./a/../a/b/x/"):
        place = place_in(spark, given)  # type: ignore[arg-type]
        assert (place.is_local, place.path, place.for_spark) == (
            True, "/Volumes/main/a/b/x", "dbfs:/Volumes/main/a/b/x",
        )  # fmt: skip
        assert absolute(place) == "/Volumes/main/a/b/x"
        assert place.child("y").for_spark == "dbfs:/Volumes/main/a/b/x/y"
        # of what a command is told its output is, before anybody has asked a session
        assert Place.of(given, "dbfs:") == Place.of(given)
    assert literal(Place.of("/Volumes/main/a/b/x[1]")) == r"dbfs:/Volumes/main/a/b/x\[1\]"
    assert spark_path(Place.of("/Volumes/main/a/b/*.parquet"), True) == "dbfs:/Volumes/main/a/b/*.parquet"


def test_by_the_name_that_spark_gives_it(databricks: None) -> None:
    for given in (
        "dbfs:/Volumes/main/a/b",
        "dbfs:///Volumes/main/a/b",
        "DBFS:/Volumes/main/a/b",
        "file:/Volumes/main/a/b",
    ):
        place = Place.of(given)
        assert (place.is_local, place.path, place.for_spark) == (True, "/Volumes/main/a/b", "dbfs:/Volumes/main/a/b")
    assert Place.of("/Volumes/main/a").holds(Place.of("dbfs:/Volumes/main/a/b"))


def test_what_else_is_there(databricks: None) -> None:
    workspace = place_in(DBFS, "/Workspace/Users/me/x")
    assert (workspace.is_local, workspace.for_spark) == (True, "file:///Workspace/Users/me/x")
    for spark in (DBFS, CLOSED):
        root = place_in(spark, "/FileStore/x")
        assert (root.is_local, root.for_spark) == (False, "dbfs:///FileStore/x")
    assert Place.of("dbfs:/x").is_local is False
    assert default_filesystem(CLOSED) == "dbfs:"


def test_elsewhere_it_is_a_folder_as_any_other() -> None:
    """On a Mac; and for a client that is connected to Databricks, which has no volumes mounted."""
    assert Place.of("/Volumes/disk/x").for_spark == "file:///Volumes/disk/x"
    assert place_in(DBFS, "/Volumes/main/a/b").is_local is False
    assert Place.of("dbfs:/Volumes/main/a/b").is_local is False
    with pytest.raises(StorageError, match="Spark does not name its default file system"):
        place_in(CLOSED, "/Volumes/main/a/b")
