"""Directories are listed, made and removed the same on disks and in object stores; links are never followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.places.directories import (
    LINK,
    list_directory,
    list_files,
    make_directories,
    remove_directory,
    remove_empty,
    sizes_within,
)
from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import MARKER
from pipeline.places.place import Place
from tests.places.objects import store


def on_disk(path: Path) -> Opened:
    found = opened(Place.of(path))
    assert found is not None
    return found


def put(at: Opened, *names: str) -> None:
    for name in names:
        if at.is_local:
            Path(at.path, name).parent.mkdir(parents=True, exist_ok=True)
        with at.filesystem.open_output_stream(at.child(name).path, compression=None) as stream:
            stream.write(b"text")


@pytest.fixture(params=["disk", "objects"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    return on_disk(tmp_path / "o") if request.param == "disk" else Opened(store(), "bucket/o")


def test_what_is_inside(at: Opened) -> None:
    assert (sizes_within(at), list_files(at), list_directory(at)) == ({}, {}, [])
    put(at, "a", "b/c/d")
    assert list_files(at) == {"a": 4, "b/c/d": 4}
    assert {path: size for path, size in sizes_within(at).items() if size} == {"a": 4, "b/c/d": 4}
    assert list_directory(at.child("b").child("c")) == ["d"]


def test_a_removal_takes_everything_with_it_and_the_marker_last(at: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_directory(at)  # nothing is there
    put(at, "a", MARKER, f"b/{MARKER}", "b/c/d")
    if at.is_local:
        removed: list[str] = []
        unlink = os.unlink

        def noted(path: str, **options: int) -> None:
            removed.append(os.path.basename(path))
            unlink(path, **options)

        monkeypatch.setattr(os, "remove", noted)
        monkeypatch.setattr(os, "unlink", noted)
    remove_directory(at)
    assert sizes_within(at) == {}
    if at.is_local:
        assert removed[-1] == MARKER
        assert not os.path.exists(at.path)


def test_links_are_no_directories(tmp_path: Path) -> None:
    at, elsewhere = on_disk(tmp_path / "o"), on_disk(tmp_path / "elsewhere")
    put(at, "a")
    put(elsewhere, "b")
    os.symlink(elsewhere.path, f"{at.path}/link")
    os.symlink("nowhere", f"{at.path}/broken")
    os.mkdir(f"{at.path}/empty")
    assert sizes_within(at) == {"a": 4, "broken": LINK, "empty": None, "link": LINK}
    assert list_files(at) == {"a": 4, "broken": len("nowhere"), "empty/": 0, "link": len(elsewhere.path)}
    assert list_files(at.child("a")) == {}
    remove_directory(at)
    assert list_files(elsewhere) == {"b": 4}


def test_only_what_was_made_is_removed_and_only_if_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made = make_directories(on_disk(tmp_path / "there" / "a" / "b"))
    assert [each.name for each in made] == ["a", "b"]
    assert make_directories(on_disk(tmp_path / "there" / "a" / "b")) == []
    put(on_disk(tmp_path / "there" / "a"), "of_somebody")
    remove_empty(made)
    assert sorted(path.name for path in (tmp_path / "there").rglob("*")) == ["a", "of_somebody"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    put(on_disk(tmp_path), "file")
    for below in ("file", "file/a/b"):
        with pytest.raises(NotADirectoryError):
            make_directories(on_disk(tmp_path / below))
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(NotADirectoryError):
        make_directories(on_disk(tmp_path / "link"))
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_an_object_store_makes_directories_itself() -> None:
    at = Opened(store(), "bucket/a/b")
    assert [each.path for each in make_directories(at)] == ["bucket/a", "bucket/a/b"], "never the bucket"
    put(at.parent, "of_somebody")
    assert [each.path for each in make_directories(at)] == ["bucket/a/b"]
