"""What is written has the mode that the user's umask says; and a permission that is missing is said to be one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, prepare, score
from pipeline.errors import unwritable
from pipeline.prepared import open_graph
from tests.formulas import build
from tests.whole import whole

NOBODY = 65534


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077], ids=oct)
def test_files_follow_the_umask(mask: int, tmp_path: Path, no_session: None) -> None:
    before = os.umask(mask)
    try:
        build("sage").save(tmp_path / "model")
        prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "graph", 2)
        for format in ("parquet", "csv"):
            at, work = tmp_path / format, tmp_path / f"work-{format}"
            score(tmp_path / "graph", tmp_path / "model", at, format=format, settings={"work_dir": work})
    finally:
        os.umask(before)
    written = list(tmp_path.rglob("*"))
    names = {path.name for path in written}
    assert names >= {"model.json", "weights.safetensors", "manifest.json", "_graphsweep.json", "part-00000.csv"}
    for path in written:
        most = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == most & ~mask, path


@pytest.fixture
def shared() -> Iterator[Path]:
    """A place that another user reaches, as pytest's own is not."""
    at = Path(tempfile.mkdtemp(dir="/tmp"))
    at.chmod(0o755)
    yield at
    shutil.rmtree(at)


def as_nobody(act: Callable[[], Any]) -> str:
    """What is said to a process of another user; root may read everything."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        said = "nothing"
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become another user, whose rights are checked"
)


@root
@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "."])
def test_a_model_of_somebody_else(name: str, shared: Path) -> None:
    build("sage").save(shared / "m")
    assert as_nobody(lambda: Model.load(shared / "m")) == "nothing"
    mode = 0o700 if name == "." else 0o600
    (shared / "m" / name).chmod(mode)
    file, at = ("model.json", shared / "m") if name == "." else (name, shared / "m" / name)
    assert as_nobody(lambda: Model.load(shared / "m")) == (
        f"StorageError: cannot read {shared}/m/{file}: Permission denied ({at} belongs to root, mode {mode:04o})"
    )


@root
def test_a_graph_of_somebody_else(shared: Path, no_session: None) -> None:
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), shared / "g", 2)
    (shared / "g" / "manifest.json").chmod(0o600)
    file = f"{shared}/g/manifest.json"
    assert as_nobody(lambda: open_graph(shared / "g")) == (
        f"StorageError: {file}: cannot be read: Permission denied ({file} belongs to root, mode 0600)"
    )


@root
def test_a_table_of_somebody_else(shared: Path, no_session: None) -> None:
    pq.write_table(whole("mixed").nodes(), shared / "n.parquet")
    (shared / "n.parquet").chmod(0o600)
    said = as_nobody(lambda: Graph(shared / "n.parquet", whole("mixed").edges()))
    assert said == f"StorageError: {shared}/n.parquet: no permission to read n.parquet"


@root
def test_a_place_of_somebody_else(shared: Path) -> None:
    model = build("sage")
    assert as_nobody(lambda: model.save(shared / "m")) == (
        f"StorageError: {shared}/m: cannot be written: Permission denied ({shared} belongs to root, mode 0755)"
    )
    assert list(shared.iterdir()) == []


def test_other_errors_are_said_as_they_are(tmp_path: Path) -> None:
    full, denied = OSError(errno.ENOSPC, "…"), OSError(errno.EACCES, "…")
    assert re.fullmatch(
        rf"{tmp_path}/new/o: cannot be written: No space left on device "
        rf"\([0-9,]+ of [0-9,]+ bytes are free in {tmp_path}\)",
        str(unwritable(f"{tmp_path}/new/o", full)),
    )
    assert str(unwritable("s3://b/o", denied)) == "s3://b/o: cannot be written: Permission denied"
