"""Whether two processes see the same at a path: here with two directories that stand for two machines' disks."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as fs
import pytest

from pipeline.errors import StorageError
from pipeline.spark.probe import Probe, _sweep, is_left, look, prepared, visit


def files(directory: Path, **contents: str) -> Path:
    directory.mkdir(parents=True)
    for name, content in contents.items():
        (directory / name).write_text(content)
    return directory


def test_the_same_is_what_has_the_same_names_sizes_and_end(tmp_path: Path) -> None:
    one = files(tmp_path / "one", a="1234", b="x")
    assert look(str(one)) == look(str(files(tmp_path / "copy", a="1234", b="x")))
    for number, other in enumerate(
        ({"a": "1234"}, {"a": "1234", "c": "x"}, {"a": "1234", "b": "xy"}, {"a": "1235", "b": "x"})
    ):
        assert look(str(files(tmp_path / f"other{number}", **other))) != look(str(one)), other


def test_a_file_is_looked_at_by_its_end(tmp_path: Path) -> None:
    large = "-" * 200_000
    place = files(tmp_path / "x", a=f"{large}1", b=f"{large}2", c=f"+{large}1"[: len(large) + 1])
    seen = {name: look(str(place / name)) for name in "ab"}
    assert seen["a"] != seen["b"]


def test_nothing_there_is_not_the_same_as_an_empty_directory(tmp_path: Path) -> None:
    assert look(str(tmp_path / "missing")) is None
    assert look(str(files(tmp_path / "empty"))) is not None
    assert look("alluxio://there/x") is None


def test_what_is_made_is_looked_for_where_it_will_be(tmp_path: Path) -> None:
    assert Probe(f"{tmp_path}/a/b/c", made=True).probed == str(tmp_path)
    files(tmp_path / "a" / "b")
    assert Probe(f"{tmp_path}/a/b/c", made=True).probed == f"{tmp_path}/a/b"
    files(tmp_path / "a" / "b" / "c")
    assert Probe(f"{tmp_path}/a/b/c", made=True).probed == f"{tmp_path}/a/b", "what is there already is not touched"
    assert Probe(f"file://{tmp_path}/a/b/c", made=True).probed == f"{tmp_path}/a/b"
    assert Probe("/x", made=True).probed == "/"


@pytest.mark.parametrize("path", ["wasbs://box@account/table", "viewfs:///table", "alluxio://there/table", "dbfs:/x"])
def test_a_file_system_that_only_spark_knows_is_asked_about_and_not_seen(path: str) -> None:
    """A table there comes through Spark, and nothing of ours is made there."""
    with prepared([Probe(path)], "token") as (asked,):
        assert visit(asked, "token") == {"seen": None}
        assert look(path) is None
    with pytest.raises(StorageError, match="can be reached by Spark only"), prepared([Probe(path, made=True)], "token"):
        pass


def test_paths_of_this_process_mean_the_same_in_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose working directory is another one."""
    monkeypatch.chdir(files(tmp_path / "here", table="rows"))
    with prepared([Probe("table"), Probe("new/out", made=True)], "token") as (table, out):
        monkeypatch.chdir(files(tmp_path / "there"))
        assert visit(table, "token") == {"seen": look(f"{tmp_path}/here/table")}
        answer = visit(out, "token")
        assert is_left(f"{tmp_path}/here", answer["left"], "token")
    assert Probe(f"file://{tmp_path}/a/").probed == f"{tmp_path}/a"
    assert os.listdir(tmp_path / "here") == ["table"]
    assert os.listdir(tmp_path / "there") == []


def test_what_may_not_be_deleted_does_not_keep_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a directory where nobody may delete what others made."""
    names = [f".graphsweep-probe-token-{number}" for number in range(3)]
    files(tmp_path / "x")
    infos = [fs.LocalFileSystem().get_file_info(str(path)) for path in (tmp_path / "x" / name for name in names)]

    def delete(path: str) -> None:
        if path.endswith("-0"):
            raise PermissionError(1, "Operation not permitted")
        names.remove(os.path.basename(path))

    sticky = SimpleNamespace(get_file_info=lambda selector: infos, delete_file=delete)
    monkeypatch.setattr("pipeline.blocks.storage.locate", lambda path: (sticky, path))
    _sweep(str(tmp_path / "x"), "token")
    assert names == [".graphsweep-probe-token-0"]


def test_a_shared_directory(tmp_path: Path) -> None:
    with prepared([Probe(f"{tmp_path}/x/out", made=True)], "token") as (asked,):
        answer = visit(asked, "token")
        assert answer["seen"] == "token"
        assert is_left(str(tmp_path), answer["left"], "token")
        assert not is_left(str(tmp_path), answer["left"], "other")
        assert visit(asked, "other") == {"seen": None}, "a file of another run"
    assert os.listdir(tmp_path) == []


def test_a_directory_of_another_disk_is_not_written_into(tmp_path: Path) -> None:
    driver, worker = files(tmp_path / "driver"), files(tmp_path / "worker")
    with prepared([Probe(f"{driver}/out", made=True)], "token") as (asked,):
        assert visit({**asked, "path": str(worker)}, "token") == {"seen": None}
        assert visit({**asked, "path": f"{worker}/missing"}, "token") == {"seen": None}
        assert os.listdir(worker) == []


def test_what_a_task_writes_elsewhere_is_not_found(tmp_path: Path) -> None:
    """It sees the file of the driver, in a copy or a snapshot; but its own files stay with it."""
    driver, worker = files(tmp_path / "driver"), files(tmp_path / "worker")
    with prepared([Probe(f"{driver}/out", made=True)], "token") as (asked,):
        (worker / os.listdir(driver)[0]).write_text("token")
        answer = visit({**asked, "path": str(worker)}, "token")
        assert answer["seen"] == "token"
        assert not is_left(str(driver), answer["left"], "token")


def test_where_this_process_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str, name: str, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.blocks.storage.write_text", denied)
    with (
        pytest.raises(StorageError, match=f"{tmp_path}/out: cannot be written: Permission denied"),
        prepared([Probe(f"{tmp_path}/out", made=True)], "token"),
    ):
        pass


def test_a_task_that_may_not_write_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with prepared([Probe(f"{tmp_path}/out", made=True)], "token") as (asked,):
        write = "pipeline.blocks.storage.write_text"

        def denied(path: str, name: str, text: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(write, denied)
        answer = visit(asked, "token")
        assert answer["seen"] is None
        assert "Permission denied" in answer["error"]


def test_probes_are_no_part_of_what_is_seen(tmp_path: Path) -> None:
    before = look(str(files(tmp_path / "x", a="1")))
    with prepared([Probe(f"{tmp_path}/x/out", made=True)], "token"):
        assert look(str(tmp_path / "x")) == before
