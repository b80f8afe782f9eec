"""HDFS without Hadoop: pyarrow's file system over a client that speaks HDFS's own protocol, the package hdfs-native.

Comes in: the address of a name node. Goes out: a file system, or None without the package: then pyarrow looks for
libhdfs, which takes an installed Hadoop, and a JVM in each process.

Here a file appears as an object does: whole, when its stream is closed, in the place of an older one. It is written
beside, and renamed. Who dies while writing leaves a file whose name begins with a dot and ends in 32 letters.
"""

from __future__ import annotations

import datetime
import posixpath
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

NAME = "py::hdfs"
"""What pyarrow calls the type of such a file system; of libhdfs's it is hdfs."""


def hadoop(authority: str) -> fs.FileSystem | None:
    """`authority`: host:port, a name from the user's hdfs-site.xml, or empty for the default of core-site.xml."""
    try:
        from hdfs_native import Client
    except ImportError:
        return None
    with _os_errors(authority):
        return fs.PyFileSystem(Hadoop(Client(f"hdfs://{authority}" if authority else None)))


@contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """The client's own errors as those that a disk has."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{path}: {error}") from error


class Hadoop(fs.FileSystemHandler):  # type: ignore[misc]
    """What pyarrow asks for; paths are absolute."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def get_type_name(self) -> str:
        return NAME.removeprefix("py::")

    def normalize_path(self, path: str) -> str:
        return path

    # ---- what is there

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        try:
            with _os_errors(path):
                return _info(path, self._client.get_file_info(path))
        except (FileNotFoundError, NotADirectoryError):
            return fs.FileInfo(path, fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        try:
            return list(self._listed(selector.base_dir, selector.recursive))
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise

    def _listed(self, path: str, recursive: bool) -> Iterator[fs.FileInfo]:
        with _os_errors(path):
            statuses = list(self._client.list_status(path, False))
        for status in statuses:
            inside = posixpath.join(path, posixpath.basename(status.path))
            yield _info(inside, status)
            if recursive and status.isdir:
                yield from self._listed(inside, True)

    # ---- files

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        with _os_errors(path):
            return pa.PythonFile(self._client.read(path), mode="r")

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        folder, name = posixpath.split(path)
        temporary = posixpath.join(folder, f".{name}-{uuid.uuid4().hex}")
        with _os_errors(path):
            written = self._client.create(temporary)
        return pa.PythonFile(_Appearing(written, lambda: self._client.rename(temporary, path, True)), mode="w")

    def open_append_stream(self, path: str, metadata: object) -> pa.NativeFile:
        raise NotImplementedError("nothing of ours is written to twice")

    def copy_file(self, source: str, target: str) -> None:
        with self.open_input_file(source) as read, self.open_output_stream(target, None) as written:
            while piece := read.read(1 << 22):
                written.write(piece)

    # ---- directories

    def create_dir(self, path: str, recursive: bool) -> None:
        with _os_errors(path):
            self._client.mkdirs(path, 0o755, recursive)

    def move(self, source: str, target: str) -> None:
        with _os_errors(source):
            self._client.rename(source, target, False)

    def delete_file(self, path: str) -> None:
        if self._info(path).type != fs.FileType.File:
            raise FileNotFoundError(path)
        self._delete(path)

    def delete_dir(self, path: str) -> None:
        self._delete(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        for info in self.get_file_info_selector(fs.FileSelector(path, allow_not_found=missing_dir_ok)):
            self._delete(info.path)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("nobody empties a whole file system")

    def _delete(self, path: str) -> None:
        with _os_errors(path):
            if not self._client.delete(path, True):
                raise FileNotFoundError(path)


class _Appearing:
    """A file that is being written, for pa.PythonFile."""

    def __init__(self, written: Any, appear: Callable[[], None]) -> None:
        self._written, self._appear = written, appear
        self._bytes = 0
        self.closed = False

    def write(self, piece: bytes) -> int:
        with _os_errors("a file"):
            self._written.write(piece)
        self._bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with _os_errors("a file"):
                self._written.close()
                self._appear()


def _info(path: str, status: Any) -> fs.FileInfo:
    at = datetime.datetime.fromtimestamp(status.modification_time / 1000, datetime.timezone.utc)
    kind = fs.FileType.Directory if status.isdir else fs.FileType.File
    return fs.FileInfo(path, kind, size=None if status.isdir else status.length, mtime=at)
