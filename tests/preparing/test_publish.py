"""A prepared graph is put in place whole; what was there stays until then; what is not ours is never touched."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as fs
import pytest

from pipeline.blocks import storage
from pipeline.blocks.rows import send_rows, static_rows
from pipeline.errors import SettingError, StorageError
from pipeline.places.lock import Lock
from pipeline.places.place import Place
from pipeline.preparing.contents import KIND, OLD_FOLDER
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.preparing.publish import Publication, publishing, refuse_taken, sweep
from tests.graphs import GRAPHS

RUN = "20240101T000000-00000000"
BLOCKS = 3


def write_blocks(folder: str) -> dict[str, list[int]]:
    """The blocks of a graph, and the bytes of their files."""
    graph = GRAPHS["mixed"]()
    sizes: dict[str, list[int]] = {"static": [], "sends": []}
    for block in blocks_from_tables(graph.nodes, graph.edges, blocks=BLOCKS):
        sizes["static"].append(storage.write_rows(folder, block.index, "static", static_rows(block)))
        sizes["sends"].append(storage.write_rows(folder, block.index, "sends", send_rows(block)))
    return sizes


def publish(path: str | Path, overwrite: bool = False, **facts: object) -> None:
    with publishing(path, overwrite, {}) as target:
        target.publish(facts, write_blocks(target.folder))


def everything(path: Path) -> dict[str, bytes | str | None]:
    """All that is under a path, but for locks of others: name → content; links by where they lead."""
    found: dict[str, bytes | str | None] = {}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        found[name] = os.readlink(file) if file.is_symlink() else file.read_bytes() if file.is_file() else None
    return found


def folders(graph: Path) -> list[str]:
    return sorted(name for name in os.listdir(graph) if name.startswith("blocks"))


def assert_whole(graph: Path) -> None:
    """A graph that can be read, and nothing else in its directory."""
    prepare = storage.read_manifest(str(graph))["prepare"]
    assert sorted(os.listdir(graph)) == [storage.folder_name(prepare), "manifest.json"]
    for index in range(BLOCKS):
        assert storage.read_block(f"{graph}/{storage.folder_name(prepare)}", index).ids


# ---- whole or not at all


def test_nothing_is_there_before_it_is_published(tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    with publishing(graph, False, {}) as target:
        sizes = write_blocks(target.folder)
        with pytest.raises(StorageError, match=r"graph: no prepared graph here \(manifest\.json is missing\)"):
            storage.read_manifest(str(graph))
        target.publish({"blocks": BLOCKS}, sizes)
        assert storage.read_manifest(str(graph))["blocks"] == BLOCKS
    assert os.listdir(tmp_path) == ["graph"]
    assert_whole(graph)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), publishing(tmp_path / "deep" / "er" / "graph", False, {}) as target:  # noqa: PT012
        write_blocks(target.folder)
        raise error
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    publish(tmp_path / "graph", name="first")
    before = everything(tmp_path)
    for name in ("empty", "graph"):
        with pytest.raises(RuntimeError), publishing(tmp_path / name, True, {}) as target:  # noqa: PT012
            write_blocks(target.folder)
            raise RuntimeError
    assert everything(tmp_path) == before


def test_an_interrupt_after_the_switch_leaves_the_new_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cleans up asks the manifest, not himself."""
    publish(tmp_path / "graph", name="first")
    real = os.replace

    def replace(source: str, target: str) -> None:
        real(source, target)
        if os.path.basename(target) == storage.MANIFEST:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "graph", overwrite=True, name="second")
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "second"
    sweep(tmp_path / "graph")
    assert_whole(tmp_path / "graph")


def test_what_is_there_is_kept_until_the_new_one_is_complete(tmp_path: Path) -> None:
    publish(tmp_path / "graph", name="first")
    with pytest.raises(StorageError, match=r"graph: exists already; give another path, or overwrite"):
        publish(tmp_path / "graph")
    with publishing(tmp_path / "graph", True, {}) as target:
        sizes = write_blocks(target.folder)
        assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "first"
        target.publish({"name": "second"}, sizes)
        assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "second"
    assert_whole(tmp_path / "graph")


@pytest.mark.parametrize("name", ["graph/", "a b [c]{d}*?,é %20\n", "x" * 200, "日本"])
def test_names_of_all_kinds(tmp_path: Path, name: str) -> None:
    for overwrite in (False, True):
        publish(f"{tmp_path}/{name}", overwrite)
    assert_whole(tmp_path / name)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("scheme", ["file:", "file://", "FILE:///"])
def test_uris_of_this_machine(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish(f"{scheme}{tmp_path}/graph")
    assert os.listdir(tmp_path) == ["graph"]
    assert_whole(tmp_path / "graph")


def test_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "graph").symlink_to(tmp_path / "disk")
    publish(tmp_path / "graph")
    publish(tmp_path / "graph", overwrite=True)
    assert (tmp_path / "graph").is_symlink()
    assert_whole(tmp_path / "disk")


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        publish(tmp_path / "graph")
    finally:
        os.umask(before)
    for path in [tmp_path / "graph", *(tmp_path / "graph").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


# ---- files are counted first


@pytest.mark.parametrize("damage", ["gone", "shorter", "a block"])
def test_files_that_are_not_seen_here_are_no_graph(tmp_path: Path, damage: str) -> None:
    """As if workers had disks of their own."""
    publish(tmp_path / "graph", name="first")
    before = everything(tmp_path)
    words = r"graph: 1 of 3 blocks were not written where this machine sees them, for example block 1; give a path that"
    with pytest.raises(StorageError, match=words), publishing(tmp_path / "graph", True, {}) as target:  # noqa: PT012
        sizes = write_blocks(target.folder)
        file = Path(target.folder) / "target=1" / "sends.parquet"
        if damage == "gone":
            file.unlink()
        elif damage == "shorter":
            file.write_bytes(file.read_bytes()[:-1])
        else:
            shutil.rmtree(file.parent)
        target.publish({"name": "second"}, sizes)
    assert everything(tmp_path) == before


def test_what_killed_tasks_were_writing_goes(tmp_path: Path) -> None:
    with publishing(tmp_path / "graph", False, {}) as target:
        sizes = write_blocks(target.folder)
        (Path(target.folder) / "target=1" / f".static-{'0' * 32}").write_bytes(b"PAR1 half")
        target.publish({}, sizes)
    assert not [name for name in everything(tmp_path) if "/." in name]


# ---- never somebody's files

STRANGE = {
    "letter.txt": "dear",
    "manifest.json": '{"format": "something else"}',
    f"blocks-{RUN}/letter.txt": "dear",
    f"blocks-{RUN}/target=0/static.parquet": "PAR1",
    "blocks/target=0/static.parquet": "PAR1",
    "_graphsweep.json": '{"product": "graphsweep", "kind": "scores"}',
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_not_a_prepared_graph_is_never_touched(tmp_path: Path, name: str, overwrite: bool) -> None:
    file = tmp_path / "home" / name
    file.parent.mkdir(parents=True)
    file.write_text(STRANGE[name])
    before = everything(tmp_path)
    top = name.partition("/")[0] + ("/" if "/" in name else "")
    words = rf"home: exists already and is not a prepared graph \(there is {top}\); give another path"
    with pytest.raises(StorageError, match=words):
        publish(tmp_path / "home", overwrite)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(StorageError, match=r"file: a file of this name exists already; give another path"):
        publish(tmp_path / "file", overwrite)
    assert everything(tmp_path) == {"file": b"dear"}


@pytest.mark.parametrize("where", ["", "blocks", "blocks/target=1", "blocks/target=9"])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_graph_with_somebodys_files_is_not_overwritten(tmp_path: Path, where: str, kind: str) -> None:
    publish(tmp_path / "graph")
    own = folders(tmp_path / "graph")[0]
    inside = where.replace("blocks", own)
    at = tmp_path / "graph" / inside
    at.mkdir(exist_ok=True)
    if kind == "file":
        (at / "notes.txt").write_text("dear")
    elif kind == "directory":
        (at / "notes.txt").mkdir()
    else:
        (at / "notes.txt").symlink_to(tmp_path / "nowhere")
    before = everything(tmp_path)
    words = "graph: not overwritten, because there is something beside the prepared graph: .*notes.txt.*; move it away"
    with pytest.raises(StorageError, match=words):
        publish(tmp_path / "graph", overwrite=True)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["blocks", "blocks/target=1", "blocks/target=1/static.parquet"])
def test_links_in_place_of_our_files_are_somebodys(tmp_path: Path, name: str) -> None:
    """A folder that was moved to another disk, say: what a link leads to is never removed."""
    publish(tmp_path / "graph")
    ours = tmp_path / "graph" / name.replace("blocks", folders(tmp_path / "graph")[0])
    ours.rename(tmp_path / "moved")
    ours.symlink_to(tmp_path / "moved")
    before = everything(tmp_path)
    with pytest.raises(StorageError, match="graph: not overwritten, because there is something beside the prepared"):
        publish(tmp_path / "graph", overwrite=True)
    assert everything(tmp_path) == before


def test_many_strange_files_are_counted(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("")
    with pytest.raises(StorageError, match=r"\(there is 0\.txt, 1\.txt, 2\.txt and 2 more\)"):
        publish(tmp_path, overwrite=True)


def test_a_file_that_comes_while_the_graph_is_replaced_stays(tmp_path: Path) -> None:
    publish(tmp_path / "graph")
    (old,) = folders(tmp_path / "graph")
    with publishing(tmp_path / "graph", True, {}) as target:
        sizes = write_blocks(target.folder)
        (tmp_path / "graph" / old / "notes.txt").write_text("dear")
        target.publish({"name": "second"}, sizes)
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "second"
    assert (tmp_path / "graph" / old / "notes.txt").read_text() == "dear"


def test_an_empty_directory_is_nobodys(tmp_path: Path) -> None:
    publish(tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize("killed", [False, True])
def test_a_graph_of_an_older_version_is_overwritten(tmp_path: Path, killed: bool) -> None:
    graph = tmp_path / "graph"
    (graph / "blocks" / "target=0").mkdir(parents=True)
    (graph / "blocks" / "target=0" / "static.parquet").write_bytes(b"PAR1")
    (graph / "manifest.json").write_text(json.dumps({"format": storage.FORMAT, "version": 3}))
    with pytest.raises(StorageError, match=r"graph: exists already; give another path, or overwrite"):
        publish(graph)
    if killed:  # when the manifest was switched, and half of the old folder was gone
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Publication, "_remove", lambda *_: None)
            publish(graph, overwrite=True)
        shutil.rmtree(graph / "blocks" / "target=0")
        assert folders(graph)[0] == OLD_FOLDER
    publish(graph, overwrite=True)
    assert_whole(graph)


# ---- never a table

INPUTS = "the node table"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("t/nodes", "is"),
        ("t/nodes/graph", "lies in"),
        ("t", "holds"),
        ("t/../t/nodes", "is"),
        ("link", "is"),
        ("file:{}/t/nodes", "is"),
    ],
)
def test_an_output_that_is_a_table_is_refused(tmp_path: Path, output: str, words: str, overwrite: bool) -> None:
    (tmp_path / "t" / "nodes").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "t" / "nodes")
    path = output.format(tmp_path) if "{}" in output else f"{tmp_path}/{output}"
    before = everything(tmp_path)
    with pytest.raises(SettingError, match=rf"the output {words} the node table \(.*Nothing was touched"):
        refuse_taken(path, overwrite, {INPUTS: [Place.of(tmp_path / "t" / "nodes")]})
    assert everything(tmp_path) == before


def test_places_that_only_spark_can_reach_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        StorageError, match=r"dbfs:/graph: a place of dbfs: can be reached by Spark only; give one that"
    ):
        publish("dbfs:/graph")
    assert os.listdir(tmp_path) == []


# ---- one writer at a time, and what killed ones left


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with publishing(tmp_path / "graph", False, {}) as target:
        sizes = write_blocks(target.folder)
        for overwrite in (False, True):
            with pytest.raises(StorageError, match=r"graph: another run \(.*\) is writing there; nothing was touched"):
                publish(tmp_path / "graph", overwrite)
        target.publish({"name": "first"}, sizes)
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "first"
    assert_whole(tmp_path / "graph")


def test_of_many_that_start_at_once_one_wins(tmp_path: Path) -> None:
    """The others are refused, and one that comes when it has ended finds a graph."""
    ends: list[str] = []
    start = threading.Barrier(6)

    def run() -> None:
        start.wait()
        try:
            publish(tmp_path / "deep" / "graph")
            ends.append("won")
        except StorageError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("won") == 1
    assert all(end == "won" or "is writing there" in end or "exists already" in end for end in ends), ends
    assert_whole(tmp_path / "deep" / "graph")


def test_a_run_whose_place_was_taken_over_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "graph", name="first")
    with publishing(tmp_path / "graph", True, {}) as target:
        sizes = write_blocks(target.folder)
        with monkeypatch.context() as patch:
            patch.setattr(Lock, "is_held", lambda self: False)
            with pytest.raises(
                StorageError, match=r"graph: another run has taken over the place; nothing was replaced"
            ):
                target.publish({"name": "second"}, sizes)
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "first"


def left_behind(graph: Path, marker: str | None) -> None:
    """What a killed prepare leaves."""
    folder = graph / f"blocks-{RUN}"
    folder.mkdir(parents=True)
    if marker is not None:
        (folder / "_graphsweep.json").write_text(marker)
    if marker:
        (folder / "target=0").mkdir()
        (folder / "target=0" / "static.parquet").write_bytes(b"PAR1")
        (folder / "target=0" / f".sends-{'0' * 32}").write_bytes(b"PAR1")
        (folder / ".exchange-ab_c").mkdir()
        (folder / ".exchange-ab_c" / "0-1").write_bytes(b"rows")
        (folder / ".probe").write_text("")
    (graph / f".manifest.json-{'0' * 32}").write_text("{")
    (graph / f".manifest.graphsweep-lock-{'0' * 32}").write_text("")
    owner = {"product": "graphsweep", "kind": "lock", "run": RUN, "host": "", "pid": 0}
    (graph / ".manifest.graphsweep-lock").write_text(json.dumps(owner).replace('""', json.dumps(os.uname().nodename)))


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of another machine counts as dead after a second without a sign of life, not after thirty."""
    monkeypatch.setattr("pipeline.places.lock.STALE", 1.0)


MARKERS = [None, "", json.dumps({"product": "graphsweep", "kind": KIND, "folder": f"blocks-{RUN}"})]


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_run_left_is_swept(tmp_path: Path, marker: str | None, there: bool) -> None:
    """A new graph needs no overwrite."""
    if there:
        publish(tmp_path / "graph")
    left_behind(tmp_path / "graph", marker)
    publish(tmp_path / "graph", overwrite=there)
    assert_whole(tmp_path / "graph")


def test_what_is_left_beside_a_graph_is_swept_without_replacing_it(tmp_path: Path) -> None:
    publish(tmp_path / "graph", name="first")
    left_behind(tmp_path / "graph", MARKERS[2])
    sweep(tmp_path / "graph")
    assert_whole(tmp_path / "graph")
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "first"


def test_nobody_sweeps_where_somebody_writes(tmp_path: Path) -> None:
    publish(tmp_path / "graph")
    with publishing(tmp_path / "graph", True, {}) as target:
        sizes = write_blocks(target.folder)
        sweep(tmp_path / "graph")
        target.publish({"name": "second"}, sizes)
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "second"


# ---- places that cannot be written


def test_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"graph: cannot be written: Not a directory"):
        publish(tmp_path / "file" / "graph")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be (read|written): File name too long"):
        publish(tmp_path / "deep" / ("x" * 300))
    assert os.listdir(tmp_path) == []


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "graph").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"graph: a link that leads nowhere; give another path"):
        publish(tmp_path / "graph", overwrite=True)
    assert everything(tmp_path) == {"graph": f"{tmp_path}/nowhere"}


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("deep", ["graph", "deep/er/graph"])
def test_a_directory_without_permission(tmp_path: Path, deep: str) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"graph: cannot be written: Permission denied"):
        publish(tmp_path / deep)
    tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []


# ---- where nothing can be moved


class ObjectStore(fs.FileSystemHandler):
    """Objects of S3 as far as matters here: a name is there, whole, when its stream is closed; nothing is moved."""

    def __init__(self, root: Path) -> None:
        self.disk = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())

    def get_type_name(self) -> str:
        return "objects"

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self.disk.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self.disk.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        raise AssertionError("object stores have no directories")

    def delete_dir(self, path: str) -> None:
        self.disk.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise AssertionError("never needed")

    def delete_root_dir_contents(self) -> None:
        raise AssertionError("never needed")

    def delete_file(self, path: str) -> None:
        self.disk.delete_file(path)

    def move(self, source: str, target: str) -> None:
        raise AssertionError("nothing can be moved")

    def copy_file(self, source: str, target: str) -> None:
        raise AssertionError("never needed")

    def open_input_stream(self, path: str) -> object:
        return self.disk.open_input_stream(path, compression=None)

    def open_input_file(self, path: str) -> object:
        return self.disk.open_input_file(path)

    def open_output_stream(self, path: str, metadata: object) -> object:
        self.disk.create_dir(path.rpartition("/")[0], recursive=True)
        return self.disk.open_output_stream(path, compression=None)

    def open_append_stream(self, path: str, metadata: object) -> object:
        raise AssertionError("never needed")

    def normalize_path(self, path: str) -> str:
        return path


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    store = fs.PyFileSystem(ObjectStore(tmp_path))
    monkeypatch.setattr("pipeline.places.filesystem._filesystem", lambda scheme, authority: store)
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    return tmp_path / "bucket"


def test_an_object_store_takes_the_same_steps(objects: Path) -> None:
    publish("s3://bucket/graph", name="first")
    assert storage.read_manifest("s3a://bucket/graph")["name"] == "first"
    with pytest.raises(StorageError, match=r"s3://bucket/graph: exists already; give another path, or overwrite"):
        publish("s3://bucket/graph")
    publish("s3a://bucket/graph/", overwrite=True, name="second")
    assert_whole(objects / "graph")


def test_a_failure_on_an_object_store_leaves_what_was_there(objects: Path) -> None:
    publish("s3://bucket/graph", name="first")
    before = everything(objects)
    with pytest.raises(RuntimeError), publishing("s3://bucket/graph", True, {}) as target:  # noqa: PT012
        write_blocks(target.folder)
        raise RuntimeError
    assert everything(objects) == before


def test_a_failure_leaves_no_empty_names_on_an_object_store(objects: Path) -> None:
    """Which pyarrow makes of S3's parents when an object is removed."""
    publish("s3://bucket/theirs")
    before = everything(objects)
    with pytest.raises(RuntimeError), publishing("s3://bucket/deep/er/graph", True, {}) as target:  # noqa: PT012
        write_blocks(target.folder)
        raise RuntimeError
    assert everything(objects) == before


def test_what_killed_runs_left_on_an_object_store_is_swept(objects: Path) -> None:
    left_behind(objects / "graph", MARKERS[2])
    publish("s3://bucket/graph")
    assert_whole(objects / "graph")


@contextmanager
def removed_in_vain() -> Iterator[None]:
    """As when the disk refuses to remove anything."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.preparing.publish.remove_directory", refuse)
        yield


def test_an_old_graph_that_cannot_be_removed_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path / "graph", name="first")
    with removed_in_vain():
        publish(tmp_path / "graph", overwrite=True, name="second")
    assert "of no use any more, but not removed: " in caplog.text
    assert storage.read_manifest(f"{tmp_path}/graph")["name"] == "second"
    publish(tmp_path / "graph", overwrite=True)
    assert_whole(tmp_path / "graph")
