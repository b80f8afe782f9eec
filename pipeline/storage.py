"""A prepared graph on disk: blocks as Parquet files of rows, and a manifest.

Comes in: rows, or a path. Goes out: the other one. Knows nothing of Spark: files are read and written with pyarrow, so
a worker opens its block without the JVM; but Spark can read them too, as a table of columns.ROW_DDL.

    manifest.json                      written last: a directory without it is not a prepared graph
    blocks/target=7/static.parquet     ids, features, tiles and the send list of the self-loops
    blocks/target=7/sends.parquet      send lists to the other blocks, and edges that may be pushed to them
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from pipeline.blocks import Block
from pipeline.columns import KIND, NAME, ROW_COLUMNS
from pipeline.errors import StorageError
from pipeline.places.regular import parse_json
from pipeline.rows import KINDS, SCHEMA, Row, block_from_rows, edge_type_of, from_batches, part_of, to_batches


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path within it. `s3a` and `abfss` are Hadoop's names of what pyarrow
    calls `s3` and `abfs`."""
    scheme, found, rest = path.partition("://")
    if not found:
        return fs.LocalFileSystem(), os.path.abspath(path)
    scheme = {"s3a": "s3", "s3n": "s3", "abfss": "abfs"}.get(scheme, scheme)
    try:
        filesystem, inner = fs.FileSystem.from_uri(f"{scheme}://{rest}")
    except (pa.ArrowException, ValueError, OSError) as error:
        raise StorageError(f"{path}: cannot be opened: {error}") from error
    return filesystem, inner


def write_rows(path: str, index: int, file: str, rows: Iterable[Row]) -> int:
    """Write one file of a block, `static` or `sends`, and return its bytes. It appears whole or not at all.

    Two attempts of one task write the same bytes, so it does not matter which of them comes last.
    """
    filesystem, root = locate(path)
    directory = f"{root}/blocks/target={index}"
    filesystem.create_dir(directory)
    local = isinstance(filesystem, fs.LocalFileSystem)
    # an object appears when its stream is closed; a file has to be moved
    temporary = f"{directory}/.{file}-{uuid.uuid4().hex}" if local else f"{directory}/{file}.parquet"
    try:
        with (
            filesystem.open_output_stream(temporary) as stream,
            pq.ParquetWriter(
                stream,
                SCHEMA.remove(0),  # the block is the directory's name
                compression="none",  # floats do not compress, and tiles are read as often as the network is run
                use_dictionary=False,
                write_statistics=[KIND, NAME],  # read_rows picks row groups by them; 1 MB cells have nothing to tell
                store_schema=False,
            ) as writer,
        ):
            for batch in to_batches(rows):
                writer.write_table(pa.Table.from_batches([batch]).remove_column(0), row_group_size=len(batch))
    except BaseException:
        with suppress(OSError):  # an object that was never closed is not there
            filesystem.delete_file(temporary)
        raise
    if local:
        filesystem.move(temporary, f"{directory}/{file}.parquet")
    return int(filesystem.get_file_info(f"{directory}/{file}.parquet").size)


def read_rows(
    path: str, index: int, kinds: Collection[str] = KINDS, edge_types: Collection[str] | None = None
) -> Iterator[Row]:
    """The rows of a block, of some kinds, and of tiles and send lists those of some types of edges (None: of all); row
    groups without these are not read."""
    filesystem, root = locate(path)
    directory = f"{root}/blocks/target={index}"
    try:
        infos = filesystem.get_file_info(fs.FileSelector(directory))
    except OSError as error:
        raise StorageError(f"{path}: block {index} is missing: {error}") from error
    for info in sorted(infos, key=lambda info: info.base_name):
        if not info.base_name.endswith(".parquet") or info.base_name.startswith((".", "_")):
            continue
        if info.type != fs.FileType.File:  # a pipe would never end
            raise StorageError(f"{path}: {info.base_name} of block {index} is no file")
        try:
            with filesystem.open_input_file(info.path) as stream:
                file = pq.ParquetFile(stream)
                metadata = file.metadata
                groups = [
                    group
                    for group in range(file.num_row_groups)
                    if _holds(metadata.row_group(group), kinds, edge_types)
                ]
                table = file.read_row_groups(groups, columns=list(ROW_COLUMNS[1:]), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: {info.base_name} of block {index} is damaged: {error}") from error
        for batch in table.to_batches():
            target = pa.array(np.full(len(batch), index, np.int32))
            columns = [target, *(batch.column(name) for name in ROW_COLUMNS[1:])]
            complete = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
            for row in from_batches([complete]):
                if row.kind in kinds and _is_wanted(edge_type_of(row.kind, row.name), edge_types):
                    yield row


def _holds(group: Any, kinds: Collection[str], edge_types: Collection[str] | None) -> bool:
    """Whether a row group may have wanted rows: it has those of one part, and these of one type of edges."""
    kind, name = _least(group, KIND), _least(group, NAME)
    if kind is None or name is None:
        return True
    return part_of(kind) in map(part_of, kinds) and _is_wanted(edge_type_of(kind, name), edge_types)


def _least(group: Any, name: str) -> str | None:
    """The least text in a column of a row group."""
    for column in range(group.num_columns):
        if group.column(column).path_in_schema == name:
            statistics = group.column(column).statistics
            if statistics is not None and statistics.has_min_max:
                least: str = statistics.min
                return least
    return None


def _is_wanted(edge_type: str, edge_types: Collection[str] | None) -> bool:
    return edge_types is None or not edge_type or edge_type in edge_types


def read_block(
    path: str, index: int, kinds: Collection[str] = KINDS, edge_types: Collection[str] | None = None
) -> Block:
    """A block of a prepared graph, or of it what the kinds say: IDS (with ID_OFFSETS), FEATURES, TILES, SENDS (with
    PULLED), PUSHES."""
    return block_from_rows(index, read_rows(path, index, kinds, edge_types))


# ---- a directory that appears whole or not at all

FORMAT = "graphsweep prepared graph"
VERSION = 4
MANIFEST = "manifest.json"
MOST_TEXT = 1 << 28  # bytes of a manifest: 256 blocks take some 300 KB


def write_text(path: str, name: str, text: str) -> None:
    filesystem, root = locate(path)
    with filesystem.open_output_stream(f"{root}/{name}", compression=None) as stream:
        stream.write(text.encode())


def read_text(path: str, name: str) -> str | None:
    """None if there is no such file."""
    filesystem, root = locate(path)
    try:
        found = filesystem.get_file_info(f"{root}/{name}")
        if found.type == fs.FileType.NotFound:
            return None
        if found.type != fs.FileType.File or (found.size or 0) > MOST_TEXT:
            what = f"a file of {found.size:,} bytes" if found.type == fs.FileType.File else "no file"
            raise StorageError(f"{path}: {name} is {what}; a text of at most {MOST_TEXT:,} bytes is expected")
        with filesystem.open_input_stream(f"{root}/{name}", compression=None) as stream:
            content: bytes = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    return content.decode(errors="replace")


def remove(path: str, name: str) -> None:
    filesystem, root = locate(path)
    filesystem.delete_file(f"{root}/{name}")


def read_manifest(path: str) -> dict[str, Any]:
    text = read_text(path, MANIFEST)
    if text is None:
        raise StorageError(f"{path}: no prepared graph here ({MANIFEST} is missing)")
    try:
        manifest = parse_json(text.encode())
    except ValueError as error:
        raise StorageError(f"{path}: {MANIFEST} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StorageError(f"{path}: no prepared graph here ({MANIFEST} is of something else)")
    if manifest.get("version") != VERSION:
        raise StorageError(
            f"{path}: written as version {manifest.get('version')} of the format, but this is version {VERSION}; "
            f"prepare it again"
        )
    return manifest


def stage(path: str, overwrite: bool) -> str:
    """A directory to write into before `publish` puts it at `path`: beside it, or itself where nothing can be moved."""
    filesystem, root = locate(path)
    try:
        taken = filesystem.get_file_info(root)
        if taken.type != fs.FileType.NotFound:
            if not overwrite:
                raise StorageError(f"{path}: exists already; give another path, or overwrite")
            _check_ours(path, filesystem, root)
        if not _moves(filesystem):
            if taken.type != fs.FileType.NotFound:
                filesystem.delete_dir(root)
            return path
        parent, slash, name = path.rstrip("/").rpartition("/")
        staging = f"{parent}{slash}.{name}-{uuid.uuid4().hex}"
        filesystem.create_dir(locate(staging)[1])
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}") from error
    return staging


def publish(staging: str, path: str, manifest: Mapping[str, Any]) -> None:
    """The manifest, and then the move: from now on there is a prepared graph at `path`."""
    filesystem, source = locate(staging)
    _, target = locate(path)
    write_text(staging, MANIFEST, json.dumps({"format": FORMAT, "version": VERSION, **manifest}, indent=1))
    if source == target:
        return
    for info in filesystem.get_file_info(fs.FileSelector(source, recursive=True)):
        if info.base_name.startswith("."):  # what a worker was writing when it was killed
            filesystem.delete_file(info.path)
    if filesystem.get_file_info(target).type != fs.FileType.NotFound:
        old = f"{source}.old"
        filesystem.move(target, old)
        filesystem.move(source, target)
        filesystem.delete_dir(old)
    else:
        filesystem.move(source, target)


def discard(staging: str) -> None:
    filesystem, root = locate(staging)
    if filesystem.get_file_info(root).type != fs.FileType.NotFound:
        filesystem.delete_dir(root)


def _moves(filesystem: fs.FileSystem) -> bool:
    return isinstance(filesystem, fs.LocalFileSystem) or filesystem.type_name == "hdfs"


def _check_ours(path: str, filesystem: fs.FileSystem, root: str) -> None:
    """Overwriting deletes: only a prepared graph, of any version, or an empty directory."""
    inside = []
    if filesystem.get_file_info(root).type == fs.FileType.Directory:
        inside = [info.base_name for info in filesystem.get_file_info(fs.FileSelector(root))]
        if not inside:
            return
    if MANIFEST in inside and FORMAT in (read_text(path, MANIFEST) or ""):
        return
    raise StorageError(f"{path}: not overwritten, because it is not a prepared graph")
