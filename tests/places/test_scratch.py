"""The scratch directory of a process: made when it is needed, gone in the end, swept when its process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.places.filesystem import opened
from pipeline.places.marker import MARKER, SCRATCH, write_marker
from pipeline.places.owner import process_facts
from pipeline.places.place import Place
from pipeline.places.scratch import FORGOTTEN, Scratch


def test_made_when_it_is_needed_and_gone_in_the_end(tmp_path: Path) -> None:
    with Scratch(str(tmp_path / "a" / "b")):
        pass
    assert os.listdir(tmp_path) == []
    with Scratch(str(tmp_path / "a" / "b")) as scratch:
        path = Path(scratch.make())
        assert scratch.make() == str(path)
        (path / "graph").mkdir()
        assert path.parent == tmp_path / "a" / "b"
        assert os.listdir(path.parent) == [path.name]
    assert os.listdir(tmp_path) == [], "folders above that were made for it are gone too"


def test_the_default_is_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Scratch(None) as scratch:
        path = Path(scratch.make())
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o700, "what is in the tables is nobody else's business"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("spelt", ["file://{}", "file:{}", "{}/", "{}/x/.."])
def test_spellings(tmp_path: Path, spelt: str) -> None:
    with Scratch(spelt.format(tmp_path)) as scratch:
        assert Path(scratch.make()).parent == tmp_path
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/x: cannot be written: Not a directory$"):
        Scratch(str(tmp_path / "file" / "x")).make()
    with pytest.raises(StorageError, match=r"viewfs://lake/x: a place of viewfs: can be reached by Spark only"):
        Scratch("viewfs://lake/x").make()


CODE = """
import os, sys, time
from pipeline.places.scratch import Scratch
path = Scratch(sys.argv[1]).make()
os.mkdir(path + "/graph")
print(path, flush=True)
time.sleep(60)
"""


def test_of_a_killed_process(tmp_path: Path) -> None:
    """Swept by the next one; that of a living process, of other kinds and of other machines stays."""
    process = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    with Scratch(str(tmp_path)) as scratch:
        scratch.make()
        assert path.exists(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    names = [f"graphsweep-{number:032x}" for number in range(4)]
    for name in names:
        (tmp_path / name).mkdir()
    mark(tmp_path / names[0], machine="other")
    mark(tmp_path / names[1], machine="other")
    os.utime(tmp_path / names[1], (time.time() - FORGOTTEN - 60,) * 2)
    mark(tmp_path / names[2], pid=1 << 30, kind="model")
    (tmp_path / "graphsweep-mine").mkdir()
    mark(tmp_path / "graphsweep-mine", pid=1 << 30)
    with Scratch(str(tmp_path)) as scratch:
        scratch.make()
    assert sorted(os.listdir(tmp_path)) == sorted([names[0], names[2], names[3], "graphsweep-mine"])


def mark(path: Path, kind: str = SCRATCH, **facts: object) -> None:
    found = opened(Place.of(path))
    assert found is not None
    write_marker(found, kind, process_facts() | facts)
    assert (path / MARKER).exists()
