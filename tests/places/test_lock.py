"""One writer at a time: two processes, dead ones, other machines, disks without links, object stores."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as fs
import pytest

from pipeline.errors import StorageError
from pipeline.places import lock as module
from pipeline.places.beside import LOCK, beside
from pipeline.places.filesystem import Opened, opened
from pipeline.places.lock import Lock, by_us, is_locked
from pipeline.places.owner import process_facts
from pipeline.places.place import Place
from tests.places.objects import store


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are hundredths."""
    monkeypatch.setattr(module, "RENEWED", 0.05)
    monkeypatch.setattr(module, "STALE", 0.4)
    monkeypatch.setattr(module, "SETTLE", 0.02)


@pytest.fixture(params=["disk", "disk without links", "objects"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    if request.param == "objects":
        return Opened(store(), "bucket/o")
    if request.param == "disk without links":

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    found = opened(Place.of(tmp_path / "o"))
    assert found is not None
    return found


def lock(target: Opened, run: str) -> Lock:
    return Lock(Place.of("/the/output"), target, run)


def left(target: Opened) -> list[str]:
    inside = fs.FileSelector(target.parent.path, allow_not_found=True)
    return [info.base_name for info in target.filesystem.get_file_info(inside)]


def plant(target: Opened, **facts: Any) -> None:
    text = json.dumps({"product": "graphsweep", "kind": "lock", "run": "other", **facts})
    path = target.sibling(beside("o", LOCK)).path
    written = f"{path}.half" if target.is_local else path  # who reads it reads all of it
    with target.filesystem.open_output_stream(written, compression=None) as stream:
        stream.write(text.encode())
    if target.is_local:
        os.replace(written, path)


def test_a_second_writer_is_refused(target: Opened) -> None:
    with lock(target, "first") as held:
        time.sleep(0.2)
        assert held.is_held(), "after some renewals"
        with pytest.raises(
            StorageError, match=rf"/the/output: another run \(first, process {os.getpid()} on .*touched"
        ):
            lock(target, "second").__enter__()
        assert held.is_held()
    assert left(target) == []
    with lock(target, "second"):
        pass
    assert left(target) == []


def test_given_back_when_the_run_fails(target: Opened) -> None:
    with pytest.raises(RuntimeError), lock(target, "first"):
        raise RuntimeError
    assert left(target) == []


def test_an_interrupt_while_it_is_taken(target: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process lives on, as a notebook does: nobody else could take the lock away."""

    def interrupt(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lock(target, "first").__enter__()
    assert left(target) == []


def test_of_a_dead_process_of_this_machine(target: Opened) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    plant(target, **{**process_facts(), "pid": dead.pid})
    with lock(target, "next") as held:
        assert held.is_held()
    plant(target, **{**process_facts(), "started": 1.0})  # the number is of another process now
    with lock(target, "next") as held:
        assert held.is_held()
    assert left(target) == []


def test_of_a_dead_process_of_another_machine(target: Opened) -> None:
    plant(target, machine="other", host="far", pid=1, started=1.0)
    started = time.monotonic()
    with lock(target, "next") as held:
        assert held.is_held()
    assert time.monotonic() - started >= 0.4, "it might have been renewed"
    assert left(target) == []


def test_of_a_living_process_of_another_machine(target: Opened) -> None:
    """Whatever its clock says: a container may have this machine's name and other process numbers."""
    plant(target, machine="other", host="far", pid=1, started=1.0)
    stop = threading.Event()

    def renew() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            plant(target, machine="other", host="far", pid=1, started=1.0, renewed=number)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(StorageError, match=r"another run \(other, process 1 on far\) is writing there"):
            lock(target, "next").__enter__()
    finally:
        stop.set()
        thread.join()


def test_an_old_lock_of_another_machine_is_known_by_the_clock_of_the_disk(tmp_path: Path) -> None:
    target = opened(Place.of(tmp_path / "o"))
    assert target is not None
    plant(target, machine="other", host="far", pid=1, started=1.0)
    path = target.sibling(beside("o", LOCK)).path
    os.utime(path, (time.time() - 60, time.time() - 60))
    with lock(target, "next") as held:
        assert held.is_held()


def test_a_file_that_is_no_lock(target: Opened) -> None:
    with target.filesystem.open_output_stream(target.sibling(beside("o", LOCK)).path, compression=None) as stream:
        stream.write(b'{"mine": 1}')
    with pytest.raises(StorageError, match="not a lock of ours; remove it, if it is nobody's"):
        lock(target, "next").__enter__()
    assert len(left(target)) == 1


def test_what_is_left_of_a_full_disk_is_taken_away(target: Opened) -> None:
    with target.filesystem.open_output_stream(target.sibling(beside("o", LOCK)).path, compression=None) as stream:
        stream.write(b'{"product": "gra')
    with lock(target, "next") as held:
        assert held.is_held()


def test_what_killed_processes_have_left_beside_a_lock(tmp_path: Path) -> None:
    """A file that has its name, and not yet a byte, tells whose it is."""
    target = opened(Place.of(tmp_path / "o"))
    assert target is not None
    name = beside("o", LOCK)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    ours = by_us()
    others = {"of a dead process": (f"{ours[:8]}{ended.pid:08x}", 0), "of us": (ours[:16], 0)}
    others |= {"of another machine": ("f" * 16, 0), "the same, long ago": ("e" * 16, 60)}
    for start, age in others.values():
        (path := tmp_path / f"{name}-{start}{'0' * 16}").touch()
        os.utime(path, (time.time() - age, time.time() - age))
    (tmp_path / f"{name}-mine").touch()
    with lock(target, "next"):
        pass
    kept = {f"{name}-{others[who][0]}{'0' * 16}" for who in ("of us", "of another machine")}
    assert set(os.listdir(tmp_path)) == {*kept, f"{name}-mine"}


def test_a_process_that_could_not_give_it_back_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that had stopped to answer does so again; the notebook is still the same process."""
    target = opened(Place.of(tmp_path / "o"))
    assert target is not None
    held = lock(target, "first")
    with monkeypatch.context() as patch, held:
        patch.setattr(held, "is_held", lambda: False)
    assert len(left(target)) == 1
    assert not is_locked(Place.of("/the/output"), target)
    with lock(target, "second") as second:
        assert second.is_held()
        assert is_locked(Place.of("/the/output"), target)
        with pytest.raises(StorageError, match="another run"):
            lock(target, "third").__enter__()
    assert left(target) == []


def test_a_lock_that_was_taken_away_is_not_given_back_by_its_first_owner(target: Opened) -> None:
    with lock(target, "slow") as slow:
        plant(target, **process_facts())
        assert not slow.is_held()
    assert left(target) == [beside("o", LOCK)]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = opened(Place.of(tmp_path / "file" / "o"))
    assert target is not None
    with pytest.raises(StorageError, match=r"^/the/output: cannot be written: Not a directory$"):
        lock(target, "next").__enter__()


RACE = """
import sys, time
from pipeline.errors import StorageError
from pipeline.places.filesystem import opened
from pipeline.places.lock import Lock, by_us, is_locked
from pipeline.places.place import Place
place = Place.of(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(200):
    try:
        with Lock(place, opened(place), f"{sys.argv[2]}-{turn}"):
            open(sys.argv[1] + ".busy", "x").close()  # fails if another one is inside
            import os; os.remove(sys.argv[1] + ".busy")
            print("in", flush=True)
    except StorageError:
        pass
"""


def test_processes_that_want_it_at_once(tmp_path: Path) -> None:
    """Three of them, two hundred times each; nobody is ever in with another one."""
    command = [sys.executable, "-c", RACE, str(tmp_path / "o")]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    processes = [subprocess.Popen([*command, name], **pipes) for name in "abc"]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        said.append(out.count("in"))
    assert sum(said) >= 3
    assert os.listdir(tmp_path) == []
