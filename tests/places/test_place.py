"""What a path names, however it is spelt, and which places touch each other."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.places.place import Place, refuse_overlap


@pytest.mark.parametrize(
    "text",
    ["/data/x", "file:/data/x", "file:///data/x", "FILE://localhost/data/x", "/data//x/", "//data/x", "/data/./x", "file:////data/x"],
)  # fmt: skip
def test_one_place_of_this_machine(text: str) -> None:
    place = Place.of(text)
    assert (place.scheme, place.path, place.uri, place.for_spark) == ("file", "/data/x", "/data/x", "file:///data/x")
    assert str(place) == text


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path"),
    [
        ("s3://b/k/", "s3", "b", "/k"),
        ("s3a://b/k", "s3", "b", "/k"),
        ("s3a://b", "s3", "b", "/"),
        ("dbfs:/x/../y", "dbfs", "", "/y"),
        ("hdfs:/x", "hdfs", "", "/x"),
        ("HDFS://host:8020/x", "hdfs", "host:8020", "/x"),
        ("viewfs://lake//x", "viewfs", "lake", "/x"),
        ("abfss://c@a.dfs.core.windows.net/x", "abfs", "c@a.dfs.core.windows.net", "/x"),
    ],
)
def test_places_elsewhere(text: str, scheme: str, authority: str, path: str) -> None:
    place = Place.of(text)
    assert (place.scheme, place.authority, place.path) == (scheme, authority, path)
    assert place.for_spark == text, "Spark is given what the user gave"


def test_relative_paths_and_python_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of("x").path == Place.of(Path("x")).path == f"{tmp_path}/x"
    assert Place.of(b"x").path == f"{tmp_path}/x"  # type: ignore[arg-type]
    assert Place.of(Path("file:/data/x")).path == "/data/x", "never ./file:/data/x"
    assert Place.of("./a:b").path == f"{tmp_path}/a:b"


def test_dots_after_a_link_are_what_is_above_its_target(tmp_path: Path) -> None:
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inner")
    assert Place.of(f"{tmp_path}/link/../x").path == f"{tmp_path}/far/x"
    assert os.path.abspath(f"{tmp_path}/link/../x") == f"{tmp_path}/x", "which is another place"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a path is empty"),
        ("  ", "a path is empty"),
        ("a\0b", "zero byte"),
        ("caf\udce9", "UTF-8"),
        ("file:x", r"file:x: not an absolute place; write file:/ and the whole path, or \./ before the name"),
        ("run:12", "run:12: no file system is called run"),
        ("file://host/x", "a file of another machine"),
        ("s3:/b/k", "names no bucket; write two slashes, as s3://b/k"),
    ],
)
def test_what_names_no_place(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Place.of(text)


def test_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SettingError, match="the current directory is no more"):
        Place.of("x")
    assert Place.of("/x").path == "/x"


@pytest.mark.parametrize("default", ["hdfs://n:8020", "hdfs://n:8020/"])
def test_plain_paths_of_a_cluster(default: str) -> None:
    place = Place.of("/data/x", default)
    assert (place.scheme, place.authority, place.path) == ("hdfs", "n:8020", "/data/x")
    assert place.for_spark == "hdfs://n:8020/data/x"
    assert Place.of("file:/data/x", default).is_local
    with pytest.raises(SettingError, match="paths without a scheme are those of hdfs://n:8020"):
        Place.of("x", default)


def test_what_is_beside_keeps_the_users_scheme() -> None:
    assert Place.of("s3a://b/k/o").sibling(".o").for_spark == "s3a://b/k/.o"
    assert Place.of("s3a://b/k/o").sibling(".o").uri == "s3://b/k/.o"
    assert Place.of("dbfs:/k/o").child("x").for_spark == "dbfs:///k/o/x"
    assert Place.of("file:/k/o").sibling("x").for_spark == "file:///k/x"


# ---- who is inside of whom


def overlap(output: str, place: str) -> str | None:
    """What is said of it: is, holds, or lies in."""
    try:
        refuse_overlap(Place.of(output), {"the node table": Place.of(place)})
    except SettingError as error:
        found = re.fullmatch(
            r"(.*): the output (is|holds|lies in) the node table \((.*)\); give another path. Nothing was touched",
            str(error),
        )
        return found[2] if found and (found[1], found[3]) == (output, place) else str(error)
    return None


def test_overlaps_on_disk(tmp_path: Path) -> None:
    nodes = tmp_path / "data" / "nodes"
    nodes.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "edges").symlink_to(nodes)
    at = str(tmp_path)
    assert overlap(f"{at}/data/nodes", f"{at}/data/nodes") == "is"
    assert overlap(f"file:{at}/data/../data/nodes/", f"{at}/data/nodes") == "is"
    assert overlap(f"{at}/link/nodes", f"FILE://{at}/data/nodes") == "is"
    assert overlap(f"{at}/data/nodes", f"{at}/data/edges") == "is"
    assert overlap(f"{at}/link/nodes/new/o", f"{at}/data/nodes") == "lies in"
    assert overlap(at, f"{at}/link/nodes") == "holds"
    assert overlap("/", f"{at}/data/nodes") == "holds"
    assert overlap(f"{at}/data/nodes2", f"{at}/data/nodes") is None
    assert overlap(f"{at}/data/o", f"{at}/data/nodes") is None


def test_names_that_differ_in_case_are_told_by_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: another name of the same directory, which no link leads to."""
    (tmp_path / "nodes").mkdir()
    stat = os.stat

    def any_case(path: str | os.PathLike[str], **options: bool) -> os.stat_result:
        text = os.fspath(path)
        return stat(text.replace("NODES", "nodes") if isinstance(text, str) else text, **options)

    monkeypatch.setattr(os, "stat", any_case)
    assert overlap(f"{tmp_path}/NODES", f"{tmp_path}/nodes") == "is"
    assert overlap(f"{tmp_path}/NODES/o", f"{tmp_path}/nodes") == "lies in"


def test_overlaps_elsewhere() -> None:
    assert overlap("s3://b/k", "s3a://b/k") == "is"
    assert overlap("s3a://b/k/o", "s3://b/k") == "lies in"
    assert overlap("hdfs:/x", "hdfs://host/x/nodes") == "holds"
    assert overlap("hdfs://one/x", "hdfs://two/x") is None
    assert overlap("s3://b/nodes2", "s3://b/nodes") is None
    assert overlap("/b/k", "s3://b/k") is None


def test_overlaps_with_patterns(tmp_path: Path) -> None:
    for day in ("day=1", "day=2"):
        (tmp_path / "data" / day / "part").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "day=3").symlink_to(tmp_path / "elsewhere")
    at, pattern = str(tmp_path), f"{tmp_path}/data/day=*"
    assert overlap(f"{at}/data/day=2", pattern) == "is"
    assert overlap(f"{at}/data/day=7", pattern) == "is", "tomorrow the pattern would name it"
    assert overlap(f"{at}/data/day=1/o", pattern) == "lies in"
    assert overlap(f"{at}/elsewhere", pattern) == "is", "through a link that the pattern names"
    assert overlap(f"{at}/data", pattern) == "holds"
    assert overlap(f"{at}/data/o", pattern) is None
    assert overlap(f"{at}/elsewhere", f"{at}/data/day=[^12]") == "is", "the table's readers take ^ as Hadoop does"
    assert overlap(f"{at}/data/day=7/o", f"{at}/data/day=[7") is None, "which no reader takes for a pattern"
    assert overlap("s3://b/x/day=2", "s3a://b/{x,y}/day=[12]") == "is"
    assert overlap("s3://b/z/day=2", "s3a://b/{x,y}/day=[12]") is None
    (tmp_path / "a[b]").mkdir()
    assert overlap(f"{at}/a[b]", f"{at}/a[b]") == "is", "a name that is there is no pattern"
    assert overlap(f"{at}/ab", f"{at}/a[b]") is None
