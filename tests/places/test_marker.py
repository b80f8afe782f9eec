"""The marker: there whole or not at all, and read only if it is ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import MARKER, SCORES, is_free, read_marker, write_marker
from pipeline.places.place import Place
from tests.places.objects import store


def at(path: Path) -> Opened:
    found = opened(Place.of(path))
    assert found is not None
    return found


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_marker(at(tmp_path)) is None
    assert is_free(at(tmp_path))
    assert is_free(at(tmp_path / "nothing"))
    write_marker(at(tmp_path), SCORES, {"run": "r", "files": []})
    assert read_marker(at(tmp_path)) == {"product": "graphsweep", "kind": "scores", "run": "r", "files": []}
    assert os.listdir(tmp_path) == [MARKER]
    assert not is_free(at(tmp_path))


def test_a_marker_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_marker(at(tmp_path), SCORES, {"run": "old"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_marker(at(tmp_path), SCORES, {"run": "new"})
    found = read_marker(at(tmp_path))
    assert found is not None
    assert found["run"] == "old"
    assert os.listdir(tmp_path) == [MARKER]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, '{"product": "other", "kind": "scores"}', '{"product": "graphsweep"}', "\xff"],
)
def test_what_is_not_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_bytes(text.encode("latin-1"))
    assert read_marker(at(tmp_path)) is None


def test_a_marker_that_is_a_directory_or_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()
    assert read_marker(at(tmp_path)) is None
    (tmp_path / "file").touch()
    assert read_marker(at(tmp_path / "file")) is None
    assert not is_free(at(tmp_path / "file"))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not is_free(at(tmp_path / "link"))


def test_through_a_file_system_of_objects() -> None:
    objects = Opened(store(), "b/o")
    assert is_free(objects)
    write_marker(objects, SCORES, {"run": "r"})
    found = read_marker(objects)
    assert found is not None
    assert found["run"] == "r"
