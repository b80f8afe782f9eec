"""Where a page goes: whole or not at all, over nothing of anybody's, and told before work starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline.errors import SettingError, StorageError
from pipeline.places.place import Place
from pipeline.report.page_file import PageFile, marks

PAGE = f"<!doctype html>\n{marks('20260101T000000-00000000')}\nwords"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(at: Path) -> set[str]:
    return {str(path.relative_to(at)) for path in at.rglob("*")}


def asked(path: str | Path, **reads: str) -> PageFile:
    return PageFile.asked(path, "infer", {name.replace("_", " "): Place.of(each) for name, each in reads.items()})


def test_asking_leaves_nothing_and_writing_makes_folders(at: Path) -> None:
    page = asked("new/folder/run.html")
    assert everything(at) == set()
    page.write(PAGE)
    assert everything(at) == {"new", "new/folder", "new/folder/run.html"}
    assert (at / "new/folder/run.html").read_text() == PAGE
    assert page.path == "new/folder/run.html"


@pytest.mark.parametrize("given", ["pages", "pages/", "there", "there/", "a.html/"])
def test_in_a_folder_each_page_has_a_name_of_its_own(at: Path, given: str) -> None:
    (at / "there").mkdir()
    pages = [asked(given), asked(given)]
    for page in pages:
        page.write(PAGE)
        assert re.fullmatch(rf"{given.rstrip('/')}/infer-\d{{8}}T\d{{6}}-[0-9a-f]{{8}}\.html", page.path)
    assert len(list((at / given).iterdir())) == 2


def test_a_page_of_ours_is_replaced_and_nothing_else(at: Path) -> None:
    asked("run.html").write(PAGE)
    asked("run.html").write(f"{PAGE} again")
    assert (at / "run.html").read_text().endswith("again")
    (at / "mine.html").write_text("<html>mine</html>")
    (at / "binary.html").write_bytes(bytes(range(256)))
    (at / "late.html").write_text(" " * 5000 + marks(None))
    for name in ("mine.html", "binary.html", "late.html"):
        before = (at / name).read_bytes()
        with pytest.raises(StorageError) as caught:
            asked(name)
        told = f"{name}: exists already, and is no report of graphsweep; give another path. Nothing was touched"
        assert str(caught.value) == told
        assert (at / name).read_bytes() == before


def test_what_came_there_meanwhile_stays(at: Path) -> None:
    page = asked("run.html")
    (at / "run.html").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        page.write(PAGE)
    assert (at / "run.html").read_text() == "mine"
    assert everything(at) == {"run.html"}


def test_a_link_stays_a_link(at: Path) -> None:
    (at / "real").mkdir()
    os.symlink("real/latest.html", at / "link.html")
    asked("link.html").write(PAGE)
    assert (at / "link.html").is_symlink()
    assert (at / "real/latest.html").read_text() == PAGE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("file.txt", "file.txt: is a file; a report is a file whose name ends in .html, or goes into a folder"),
        ("file.txt/run.html", "file.txt/run.html: cannot be written: Not a directory"),
        ("s3://bucket/run.html", "s3://bucket/run.html: a report is a file of this machine; give a path on a disk"),
        (f"{'n' * 300}.html", f"{'n' * 300}.html: cannot be written: File name too long"),
        ("", "the report is empty; a path is expected"),
        ("scores/run.html", "scores/run.html: the report lies in the output (scores); give another path. Nothing was "
                            "touched"),
        ("model.html", "model.html: the report is the model (model.html); give another path. Nothing was touched"),
        ("folder.html", None),
    ],
)  # fmt: skip
def test_where_a_page_cannot_go(at: Path, given: str, message: str | None) -> None:
    (at / "file.txt").write_text("mine")
    (at / "folder.html").mkdir()  # is a folder, whatever it is called
    before = everything(at)
    if message is None:
        assert asked(given).path.startswith("folder.html/infer-")
        return
    with pytest.raises((SettingError, StorageError)) as caught:
        asked(given, the_output="scores", the_model="model.html")
    assert str(caught.value) == message
    assert everything(at) == before


def test_without_permission(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # not by the file system: root may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.report.page_file.make_directories", refuse)
    denied = r"^closed/run.html: cannot be written: Permission denied \(.* belongs to .*, mode 0700\)$"
    with pytest.raises(StorageError, match=denied):
        asked("closed/run.html")


def test_a_disk_that_is_full_leaves_the_page_of_before(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked("run.html").write(PAGE)
    page = asked("run.html")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        StorageError, match=r"^run.html: cannot be written: No space left on device \(.* bytes are free in .*\)$"
    ):
        page.write(f"{PAGE} again")
    assert (at / "run.html").read_text() == PAGE
    assert everything(at) == {"run.html"}


def test_a_page_is_known_to_be_of_its_run(at: Path) -> None:
    page = asked("run.html")
    assert not page.holds("20260101T000000-00000000")
    page.write(PAGE)
    assert page.holds("20260101T000000-00000000")
    assert not page.holds("20260101T000000-00000001")
    assert not page.holds("")
