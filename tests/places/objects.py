"""An object store in memory: keys and bytes, no directories, nothing can be renamed, and an object is there when its
stream is closed."""

from __future__ import annotations

import datetime
import io

import pyarrow as pa
import pyarrow.fs as fs


class _Upload(io.BytesIO):
    def __init__(self, objects: dict[str, bytes], key: str) -> None:
        super().__init__()
        self._objects, self._key = objects, key

    def close(self) -> None:
        if not self.closed:
            self._objects[self._key] = self.getvalue()
        super().close()


class Objects(fs.FileSystemHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.time = 0

    def get_type_name(self) -> str:
        return "objects"

    def normalize_path(self, path: str) -> str:
        return path

    def _info(self, path: str) -> fs.FileInfo:
        if path in self.objects:
            self.time += 1
            at = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
            return fs.FileInfo(path, fs.FileType.File, size=len(self.objects[path]), mtime=at)
        inside = any(key.startswith(path.rstrip("/") + "/") for key in self.objects)
        return fs.FileInfo(path, fs.FileType.Directory if inside else fs.FileType.NotFound)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        start = selector.base_dir.rstrip("/") + "/"
        keys = [key for key in self.objects if key.startswith(start)]
        if not keys and not selector.allow_not_found:
            raise FileNotFoundError(selector.base_dir)
        found = keys if selector.recursive else sorted({start + key[len(start) :].partition("/")[0] for key in keys})
        return [self._info(key) for key in found]

    def create_dir(self, path: str, recursive: bool) -> None:
        pass

    def delete_dir(self, path: str) -> None:
        for key in [key for key in self.objects if key.startswith(path.rstrip("/") + "/")]:
            del self.objects[key]

    def delete_file(self, path: str) -> None:
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]

    def copy_file(self, source: str, target: str) -> None:
        self.objects[target] = self.objects[source]

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return pa.BufferReader(self.objects[path])

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        return pa.PythonFile(_Upload(self.objects, path), mode="w")

    def move(self, source: str, target: str) -> None:
        raise AssertionError("an object store cannot rename")

    def open_append_stream(self, path: str, metadata: object) -> pa.NativeFile:
        raise AssertionError("an object store cannot append")

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        raise AssertionError("nobody empties a whole store")


def store() -> fs.FileSystem:
    return fs.PyFileSystem(Objects())
