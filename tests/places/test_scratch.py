"""Directories for a while: gone with their owner, and swept by the next if it was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.places.owner import is_alive, is_here, process_facts
from pipeline.places.scratch import FORGOTTEN, KIND, Scratch

KILLED = """
import os, signal, sys
from pipeline.places.scratch import Scratch
with Scratch(sys.argv[1]) as scratch:
    path = scratch.make()
    open(f"{path}/rows", "w").write("rows")
    os.kill(os.getpid(), signal.SIGKILL)
"""
NAME = f"graphsweep-{'0' * 32}"


def left(base: Path, **owner: object) -> Path:
    """What a run has left."""
    (base / NAME / "graph").mkdir(parents=True)
    marker = {"product": "graphsweep", "kind": KIND, **process_facts(), **owner}
    (base / NAME / "_graphsweep.json").write_text(json.dumps(marker))
    return base / NAME


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    with Scratch(f"{tmp_path}/deep/er") as scratch:
        path = scratch.make()
        assert os.listdir(tmp_path / "deep" / "er") == [os.path.basename(path)]
        Path(path, "graph").mkdir()
    assert os.listdir(tmp_path) == []


def test_a_directory_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear")
    with pytest.raises(RuntimeError), Scratch(str(tmp_path)) as scratch:  # noqa: PT012
        scratch.make()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["mine"]


def test_the_default_is_for_this_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Scratch(None) as scratch:
        path = scratch.make()
        assert os.path.dirname(path) == str(tmp_path)
        assert os.stat(path).st_mode & 0o777 == 0o700


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert len(os.listdir(tmp_path)) == 1
    with Scratch(str(tmp_path)) as scratch:
        path = scratch.make()
        assert os.listdir(tmp_path) == [os.path.basename(path)]
    assert os.listdir(tmp_path) == []


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    with Scratch(str(tmp_path)) as first, Scratch(str(tmp_path)) as second:
        made = [first.make(), second.make()]
        assert first.make() == made[0]
        assert all(map(os.path.isdir, made))


@pytest.mark.parametrize("owner", [{"machine": "another"}, {"kind": "scores"}, {"product": "something else"}])
def test_what_is_not_known_to_be_dead_and_ours_stays(tmp_path: Path, owner: dict[str, str]) -> None:
    directory = left(tmp_path, **{"pid": 1 << 30, **owner})
    with Scratch(str(tmp_path)) as scratch:
        scratch.make()
    assert directory.is_dir()


def test_a_directory_without_a_marker_stays(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with Scratch(str(tmp_path)) as scratch:
        scratch.make()
    assert os.listdir(tmp_path) == [NAME]


def test_a_link_stays_and_what_it_leads_to(tmp_path: Path) -> None:
    directory = left(tmp_path / "elsewhere", pid=1 << 30)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / NAME).symlink_to(directory)
    with Scratch(f"{tmp_path}/base") as scratch:
        scratch.make()
    assert (directory / "graph").is_dir()
    assert (tmp_path / "base" / NAME).is_symlink()


def test_another_machine_that_has_not_been_heard_of_for_a_day_is_dead(tmp_path: Path) -> None:
    directory = left(tmp_path, machine="another")
    old = time.time() - FORGOTTEN - 60
    os.utime(directory / "_graphsweep.json", (old, old))
    with Scratch(str(tmp_path)) as scratch:
        scratch.make()
        assert not directory.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/x: cannot be written: Not a directory"):
        Scratch(f"{tmp_path}/file/x").make()


def test_nothing_is_written_before_it_is_needed(tmp_path: Path) -> None:
    with Scratch(f"{tmp_path}/deep"):
        assert os.listdir(tmp_path) == []


def test_a_process_is_known_again() -> None:
    assert is_alive(process_facts())
    assert is_alive({**process_facts(), "started": 1.0}) is False
    assert is_alive({**process_facts(), "pid": 1 << 40}) is False
    assert is_alive({}) is False
    assert is_here(process_facts())
    assert not is_here({**process_facts(), "machine": "another"})
