"""A directory appears whole or not at all, and what was there stays until then: on disks, and where nothing can be
renamed. Runs are killed at each of their steps."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.fs as fs
import pytest

from pipeline.errors import SettingError, StorageError
from pipeline.places import copied, staging
from pipeline.places.beside import OLD, beside, new_run
from pipeline.places.contents import owned_files
from pipeline.places.directories import list_files
from pipeline.places.filesystem import Opened, opened
from pipeline.places.lock import Lock
from pipeline.places.marker import MARKER, PREPARED, SCORES, UNFINISHED, read_marker, write_marker
from pipeline.places.place import Place
from pipeline.places.staging import Staging, settle, staged
from tests.places.objects import store

OUTPUT = Place.of("/the/output")


@pytest.fixture(params=["disk", "objects"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    if request.param == "objects":
        return Opened(store(), "bucket/o")
    return on_disk(tmp_path / "o")


def on_disk(path: Path) -> Opened:
    found = opened(Place.of(path))
    assert found is not None
    return found


owned = partial(owned_files, OUTPUT, kind=SCORES)


def put(at: Opened, name: str, text: str) -> None:
    with at.filesystem.open_output_stream(at.child(name).path, compression=None) as stream:
        stream.write(text.encode())


def text_of(at: Opened, name: str) -> str:
    with at.filesystem.open_input_stream(at.child(name).path, compression=None) as stream:
        text: str = stream.read().decode()
    return text


def write(staged_in: Staging, texts: list[str]) -> None:
    files = []
    for number, text in enumerate(texts):
        name = f"part-{number:05}.parquet"
        put(staged_in.opened, name, text)
        files.append({"name": name, "rows": 1, "bytes": len(text)})
    put(staged_in.opened, "_SUCCESS", "")
    staged_in.publish(SCORES, {"files": files})


def run(target: Opened, *texts: str, overwrite: bool = False) -> str:
    with staged(OUTPUT, target, owned, overwrite) as made:
        write(made, list(texts))
    return made.run


def there(target: Opened) -> list[str]:
    """What the files say that count: those that the marker lists."""
    marker = read_marker(target)
    assert marker is not None
    return [text_of(target, file["name"]) for file in marker["files"]]


def beside_it(target: Opened) -> list[str]:
    inside = target.filesystem.get_file_info(fs.FileSelector(target.parent.path))
    return sorted(info.base_name for info in inside)


def assert_only(target: Opened, *texts: str) -> None:
    """The whole table, and no file more, in the place or beside it."""
    assert there(target) == list(texts)
    assert len([name for name in list_files(target) if name not in (MARKER, "_SUCCESS")]) == len(texts)
    assert beside_it(target) == ["o"]


# ---- from one state to the next


def test_it_appears_and_is_replaced(target: Opened) -> None:
    first = run(target, "a", "b")
    assert_only(target, "a", "b")
    second = run(target, "c", overwrite=True)
    assert_only(target, "c")
    marker = read_marker(target)
    assert marker is not None
    assert (marker["run"], marker["kind"]) == (second, SCORES)
    assert first != second


def test_the_old_one_stays_until_then(target: Opened) -> None:
    run(target, "old")
    with staged(OUTPUT, target, owned, True) as made:
        put(made.opened, "part-00000.parquet", "half")
        marker = read_marker(made.opened)
        assert marker is not None
        assert (marker["kind"], marker["run"]) == (UNFINISHED, made.run)
        assert there(target) == ["old"]
    assert_only(target, "old")
    with pytest.raises(RuntimeError), staged(OUTPUT, target, owned, True):
        raise RuntimeError
    assert_only(target, "old")


def test_an_empty_directory_is_free(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    run(on_disk(tmp_path / "o"), "a")
    assert_only(on_disk(tmp_path / "o"), "a")


def test_folders_above_are_made_and_removed_again(tmp_path: Path) -> None:
    target = on_disk(tmp_path / "x" / "y" / "o")
    with pytest.raises(RuntimeError), staged(OUTPUT, target, owned):
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    run(target, "a")
    assert_only(target, "a")


def test_a_folder_above_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(RuntimeError), staged(OUTPUT, on_disk(tmp_path / "x" / "y" / "o"), owned):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["x"]
    assert os.listdir(tmp_path / "x") == []


# ---- what is refused


def test_what_is_there_already(target: Opened) -> None:
    run(target, "a")
    with pytest.raises(StorageError, match=r"^/the/output: exists already; give another path, or overwrite it$"):
        run(target, "b")
    assert_only(target, "a")


def test_files_of_somebody_among_ours(target: Opened) -> None:
    run(target, "a")
    for name in ("thesis.txt", "more", "part-7.parquet", "x"):
        put(target, name, "mine")
    named = r"more, part-7\.parquet, thesis\.txt and 1 more; move them away, or give another path"
    with pytest.raises(StorageError, match=f"there are files that graphsweep did not write, .*: {named}"):
        run(target, "b", overwrite=True)
    with pytest.raises(StorageError, match=r"exists already; give another path$"):
        run(target, "b")
    assert there(target) == ["a"]
    assert text_of(target, "thesis.txt") == "mine"


def test_a_file_of_ours_that_somebody_changed(target: Opened) -> None:
    run(target, "a")
    marker = read_marker(target)
    assert marker is not None
    put(target, marker["files"][0]["name"], "changed by hand")
    with pytest.raises(StorageError, match=r"or that were changed since: part-00000"):
        run(target, "b", overwrite=True)
    assert there(target) == ["changed by hand"]


@pytest.mark.parametrize("inside", ["directory", "link"])
def test_things_of_somebody_that_are_no_files(tmp_path: Path, inside: str) -> None:
    target = on_disk(tmp_path / "o")
    run(target, "a")
    (tmp_path / "o" / "mine").mkdir() if inside == "directory" else (tmp_path / "o" / "mine").symlink_to("/")
    with pytest.raises(StorageError, match=r"did not write, or that were changed since: mine/?;"):
        run(target, "b", overwrite=True)
    assert there(target) == ["a"]


OTHERS: dict[str, tuple[Callable[[Opened], None], str]] = {
    "letters": (lambda at: put(at, "dear.txt", "love"), r"it holds dear.txt, and not scores"),
    "a prepared graph": (lambda at: write_marker(at, PREPARED, {}), "it is a prepared graph, and not scores"),
    "an older prepared graph": (
        lambda at: put(at, "manifest.json", '{"format": "graphsweep prepared graph"}'),
        "it is a prepared graph, and not scores",
    ),
    "an older model": (
        lambda at: put(at, "model.json", '{"format": 1, "inputs": {}, "outputs": {}, "program": {}}'),
        "it is a model, and not scores",
    ),
    "a table of Spark": (
        lambda at: put(at, "part-00000-c000.snappy.parquet", "PAR1"),
        r"it is a table without our marker \(_graphsweep.json\): somebody's, or scores of a graphsweep that wrote none",
    ),
    "another run's work": (lambda at: write_marker(at, UNFINISHED, {}), "it is what a run of graphsweep is writing"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_ours_is_said_and_never_replaced(target: Opened, what: str) -> None:
    make, message = OTHERS[what]
    target.filesystem.create_dir(target.path)
    make(target)
    before = list_files(target)
    with pytest.raises(StorageError, match=f"^/the/output: not overwritten, because {message}.*Nothing was touched"):
        run(target, "a", overwrite=True)
    with pytest.raises(StorageError, match=r"^/the/output: exists already; give another path$"):
        run(target, "a")
    assert list_files(target) == before
    assert beside_it(target) == ["o"]


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("mine")
    with pytest.raises(StorageError, match="because it is a file, and not scores"):
        run(on_disk(tmp_path / "o"), "a", overwrite=True)
    assert (tmp_path / "o").read_text() == "mine"


def test_a_place_inside_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"^/the/output: cannot be written: Not a directory$"):
        run(on_disk(tmp_path / "file" / "x" / "o"), "a")
    assert os.listdir(tmp_path) == ["file"]


def test_a_name_that_is_too_long_for_the_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^/the/output: cannot be written: File name too long$"):
        run(on_disk(tmp_path / ("x" * 256)), "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, "a b", "[x]{1,2}*?", "two\nlines", "☃", "%20", "-rf", "'\"$(x)"]
)
def test_names_of_all_kinds(tmp_path: Path, name: str) -> None:
    target = on_disk(tmp_path / name)
    run(target, "a")
    run(target, "b", overwrite=True)
    assert there(target) == ["b"]
    assert os.listdir(tmp_path) == [name]


def test_places_that_somebody_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "inner")
    for path in (tmp_path / "here", tmp_path / "here" / "inner"):
        with pytest.raises(SettingError, match="the directory that this command runs in, or one above it"):
            run(on_disk(path), "a")
    for path in (Path("/"), Path("/proc")):
        with pytest.raises(SettingError, match=r"the root of a file system|a mount point, which cannot be replaced"):
            run(on_disk(path), "a")
    with pytest.raises(SettingError, match="the root of a file system"):
        run(Opened(store(), "bucket"), "a")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "o").symlink_to(tmp_path / "real" / "o")
    link = on_disk(tmp_path / "links" / "o")
    run(link, "a")
    run(link, "b", overwrite=True)
    assert_only(on_disk(tmp_path / "real" / "o"), "b")
    assert os.listdir(tmp_path / "links") == ["o"]
    assert (tmp_path / "links" / "o").is_symlink()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(StorageError, match="exists already"):
        run(on_disk(tmp_path / "circle"), "a")


# ---- what comes meanwhile


def meanwhile(target: Opened, act: Callable[[Staging], None], overwrite: bool) -> None:
    with staged(OUTPUT, target, owned, overwrite) as made:
        act(made)
        write(made, ["new"])


def test_something_that_came_meanwhile(target: Opened) -> None:
    def mine(_: Staging) -> None:
        target.filesystem.create_dir(target.path)
        put(target, "thesis.txt", "mine")

    with pytest.raises(StorageError, match="exists already; give another path"):
        meanwhile(target, mine, False)
    assert list_files(target) == {"thesis.txt": 4}
    assert beside_it(target) == ["o"]


def test_files_that_came_meanwhile(target: Opened) -> None:
    run(target, "old")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        meanwhile(target, lambda _: put(target, "thesis.txt", "mine"), True)
    assert there(target) == ["old"]
    assert text_of(target, "thesis.txt") == "mine"


def test_files_that_came_in_the_last_moment_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target, move = on_disk(tmp_path / "o"), staging.move
    run(target, "old")

    def late(source: Opened, to: Opened) -> None:
        if to.path.endswith(OLD):
            put(source, "thesis.txt", "mine")
        move(source, to)

    monkeypatch.setattr(staging, "move", late)
    with caplog.at_level(logging.WARNING, logger="graphsweep"):
        run(target, "new", overwrite=True)
    assert there(target) == ["new"]
    (kept,) = (name for name in beside_it(target) if name != "o")
    assert (tmp_path / kept / "thesis.txt").read_text() == "mine"
    assert kept in caplog.text


def test_a_lock_that_was_lost(target: Opened) -> None:
    run(target, "old")
    with pytest.raises(StorageError, match="another run has begun to write there"):
        meanwhile(target, lambda made: made.opened.filesystem.delete_file(made._lock.path), True)
    assert_only(target, "old")


def test_a_move_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, move = on_disk(tmp_path / "o"), staging.move
    run(target, "old")

    def fail(source: Opened, to: Opened) -> None:
        if to.path == target.path and not source.path.endswith(OLD):
            raise OSError(28, os.strerror(28))
        move(source, to)

    monkeypatch.setattr(staging, "move", fail)
    with pytest.raises(
        StorageError,
        match=r"^/the/output: cannot be written: No space left on device \([0-9,]+ of [0-9,]+ bytes are free in /\)$",
    ):
        run(target, "new", overwrite=True)
    assert_only(target, "old")


def test_a_copy_that_fails_leaves_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    target, copy = Opened(store(), "bucket/o"), copied.copy_files
    run(target, "old")

    def fail(source: Opened, to: Opened, names: list[tuple[str, str]]) -> None:
        copy(source, to, names[:1])
        raise OSError("lost the network")

    monkeypatch.setattr(copied, "copy_files", fail)
    with pytest.raises(StorageError, match="cannot be written: lost the network"):
        run(target, "new", "more", overwrite=True)
    assert_only(target, "old")


# ---- what killed runs leave


def test_states_that_no_run_of_ours_leaves_are_not_touched(tmp_path: Path) -> None:
    target = on_disk(tmp_path / "o")
    run(target, "a")
    strange = tmp_path / beside("o", new_run())
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    aside = tmp_path / beside("o", new_run() + OLD)
    aside.mkdir()
    (aside / "letters").write_text("mine")
    (tmp_path / ".o.graphsweep-notes").write_text("mine")
    run(target, "b", overwrite=True)
    assert there(target) == ["b"]
    assert (strange / "thesis.txt").read_text() == (aside / "letters").read_text() == "mine"
    assert (tmp_path / ".o.graphsweep-notes").exists()


def test_work_of_a_task_that_came_too_late_is_swept(tmp_path: Path) -> None:
    """Spark's tasks make the directories that they write into."""
    late = tmp_path / beside("o", new_run()) / "_temporary" / "0"
    late.mkdir(parents=True)
    (late / "part-00000").write_text("x")
    run(on_disk(tmp_path / "o"), "a")
    assert_only(on_disk(tmp_path / "o"), "a")


KILLED = """
import os, shutil, signal, sys
from functools import partial
from pathlib import Path

number, when, path, overwrite = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "overwrite"
from pipeline.places.place import Place
from tests.places.test_staging import run, on_disk
counted = 0

def stopping(call):
    def counting(*arguments, **options):
        global counted
        counted += 1
        own = counted
        if own == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **options)
        if own == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counting

for name in ("mkdir", "rename", "replace", "link", "remove", "unlink", "rmdir"):
    setattr(os, name, stopping(getattr(os, name)))
from pipeline.places import directories
for name in ("move", "remove_files", "remove_directory"):
    wrapped = stopping(getattr(directories, name))
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("pipeline.places") and hasattr(module, name):
            setattr(module, name, wrapped)
run(on_disk(Path(path)), "new", "newer", overwrite=overwrite)
print(counted)
"""


def killed(path: Path, number: int, when: str, overwrite: bool) -> bool:
    """Whether the run was killed; if not, it had fewer steps."""
    given = [str(number), when, str(path), "overwrite" if overwrite else "new"]
    done = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_is_killed_at_any_step(tmp_path: Path, overwrite: bool, when: str) -> None:
    """Healing alone gives the old table or the new one, whole; and the next run succeeds, with nothing left."""
    seen: set[tuple[str, ...]] = set()
    for number in itertools.count(1):
        path = tmp_path / str(number) / "o"
        path.parent.mkdir()
        target = on_disk(path)
        if overwrite:
            run(target, "old")
        if not killed(path, number, when, overwrite):
            break
        settle(OUTPUT, target, owned)
        if path.exists():
            seen.add(tuple(there(target)))
            assert_only(target, *there(target))
        else:
            seen.add(())
            assert not overwrite, "the old table is lost"
            assert os.listdir(path.parent) == []
        run(target, "next", overwrite=path.exists())
        assert_only(target, "next")
    assert number > (8 if overwrite else 5), "steps were counted"
    # where nothing was there before, the last step puts it in place
    done = set() if when == "before" and not overwrite else {("new", "newer")}
    assert seen == {("old",) if overwrite else ()} | done


@pytest.mark.slow
def test_a_retry_needs_no_healing_of_its_own(tmp_path: Path) -> None:
    """Between the two moves: the state says that the new one was whole."""
    target = on_disk(tmp_path / "o")
    run(target, "old")
    number = 0
    while True:
        number += 1
        assert killed(tmp_path / "o", number, "before", True)
        if not (tmp_path / "o").exists():
            break
    assert len(os.listdir(tmp_path)) == 3, "the old one, the new one and the lock"
    with pytest.raises(StorageError, match="exists already; give another path, or overwrite it"):
        run(target, "next")
    assert_only(target, "new", "newer")


def test_a_killed_run_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of the steps of putting in place: what counts is what the marker says, and the rest goes."""
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)

    class Killed(BaseException):
        pass

    steps = [("write_marker", 1), ("copy_files", 1), ("write_marker", 2), ("copy_files", 2)]
    for name, times in steps:
        for before in (True, False):
            target = Opened(store(), "bucket/o")
            run(target, "old", "older")
            with monkeypatch.context() as patch:
                call, calls = getattr(copied, name), []

                def stop(*arguments: object, call=call, calls=calls, times=times, before=before) -> None:  # type: ignore[no-untyped-def]
                    calls.append(1)
                    if len(calls) == times and before:
                        raise Killed
                    call(*arguments)
                    if len(calls) == times:
                        raise Killed

                patch.setattr(copied, name, stop)
                patch.setattr(staging, "_try_to_clear", lambda *_: None)
                with pytest.raises(Killed):
                    run(target, "new", overwrite=True)
            switched = (name, times) == ("copy_files", 2) or ((name, times) == ("write_marker", 2) and not before)
            assert there(target) == (["new"] if switched else ["old", "older"]), "readers that follow the marker"
            settle(OUTPUT, target, owned)
            assert_only(target, *(["new"] if switched else ["old", "older"]))
            run(target, "next", overwrite=True)
            assert_only(target, "next")


def test_old_files_that_cannot_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists an object store would read rows of both: no success. The next run needs no help."""
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    target = Opened(store(), "bucket/o")
    run(target, "old", "older")

    def denied(*_: object) -> None:
        raise PermissionError("ACCESS_DENIED")

    with monkeypatch.context() as patch:
        patch.setattr(copied, "remove_files", denied)
        with pytest.raises(StorageError, match=r"the old ones could not be removed \(ACCESS_DENIED\): .* Run the same"):
            run(target, "new", overwrite=True)
    assert there(target) == ["new"], "readers that follow the marker"
    run(target, "next", overwrite=True)
    assert_only(target, "next")


def test_files_that_another_run_has_put_there_meanwhile_are_no_strangers(target: Opened) -> None:
    """Its lock is seen; or that it has ended, as a second look shows."""
    run(target, "old")
    ended: list[str] = []

    def seen_while_it_ends(place: Opened) -> list[str]:
        marker = read_marker(place)
        if not ended:
            ended.append(run(target, "a", "longer", overwrite=True))
        assert marker is not None
        sizes = {file["name"]: file["bytes"] for file in marker["files"]}
        if any(sizes.get(name) != size for name, size in list_files(place).items() if name.startswith("part")):
            raise StorageError("files that graphsweep did not write")
        return owned(place)

    with staged(OUTPUT, target, seen_while_it_ends, overwrite=True) as made:
        write(made, ["new"])
    assert ended
    assert_only(target, "new")

    put(target, "part-00000.parquet", "changed")
    with Lock(OUTPUT, target, "other"), pytest.raises(StorageError, match=r"another run \(other, .*is writing there"):
        run(target, "newer", overwrite=True)
    with pytest.raises(StorageError, match=r"changed since: part-00000\.parquet;"):
        run(target, "newer", overwrite=True)


RACING = """
import sys
from pathlib import Path
from pipeline.errors import StorageError
from tests.places.test_staging import run, on_disk
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(sys.argv[3])):
    try:
        run(on_disk(Path(sys.argv[1])), *[f"{sys.argv[2]}-{turn}"] * 20, overwrite=sys.argv[4] == "overwrite")
        print("done", flush=True)
    except StorageError as error:
        assert "is writing there" in str(error) or "exists already" in str(error), error
"""


def race(path: Path, turns: int, how: str) -> list[int]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", RACING, str(path)]
    processes = [subprocess.Popen([*command, name, str(turns), how], text=True, **pipes) for name in "abc"]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    done = []
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        done.append(out.count("done"))
    return done


@pytest.mark.slow
def test_runs_into_one_place_at_once(tmp_path: Path) -> None:
    """One wins, the others are refused: never a mixture."""
    for number in range(3):
        path = tmp_path / f"new{number}" / "o"
        assert sum(race(path, 1, "new")) == 1
        assert len(set(there(on_disk(path)))) == 1
        assert_only(on_disk(path), *there(on_disk(path)))
    assert sum(race(tmp_path / "o", 25, "overwrite")) >= 3
    texts = there(on_disk(tmp_path / "o"))
    assert len(texts) == 20
    assert len(set(texts)) == 1
    assert sorted(os.listdir(tmp_path)) == ["new0", "new1", "new2", "o"]
