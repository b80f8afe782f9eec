"""A prepared graph on disk: blocks as Parquet files of rows, and a manifest.

Comes in: rows, or a path. Goes out: the other one. Knows nothing of Spark: files are read and written with pyarrow, so
a worker opens its block without the JVM; but Spark can read them too, as a table of columns.ROW_DDL.

    manifest.json                            written last: a directory without it is not a prepared graph
    blocks-<id>/target=7/static.parquet      ids, features, tiles and the send list of the self-loops
    blocks-<id>/target=7/sends.parquet       send lists to the other blocks, and edges that may be pushed to them

The id is that of one prepare. The manifest names it, and every file says which folder it was written into: blocks of
two prepares are never read together, whoever copied or replaced them. How a directory is replaced is in
preparing/publish.py.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from pipeline.blocks.arrow import numbers
from pipeline.blocks.block import Block
from pipeline.blocks.columns import KIND, NAME, ROW_COLUMNS
from pipeline.blocks.rows import (
    KINDS,
    LISTS,
    PUSHES,
    SCHEMA,
    Row,
    block_from_rows,
    edge_type_of,
    from_batches,
    part_of,
    to_batches,
)
from pipeline.errors import StorageError, unreadable, unwritable
from pipeline.places.contents import A_FILE, OURS, describe
from pipeline.places.directories import sizes_within
from pipeline.places.filesystem import Opened, opened
from pipeline.places.place import Place, refuse_unreachable
from pipeline.places.regular import parse_json

STATIC, SENDING = "static", "sends"
FILES = (STATIC, SENDING)
"""Of every block, both: a block that sends nothing has a file that says so."""
PREPARE_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
SENT = (*LISTS, *PUSHES)
"""The kinds of rows of which some are in the second file."""
FOLDER = b"graphsweep.folder"  # in each file of a block: the name of the folder that it was written into


def reached(path: str) -> Opened:
    """A path or URI, opened; StorageError if this process has no way to it."""
    place = Place.of(path)
    found = opened(place)
    if found is None:
        raise refuse_unreachable(place)
    return found


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path within it."""
    return reached(path)[:2]


def path_within(index: int, file: str) -> str:
    """Where a file of a block is in its folder."""
    return f"target={index}/{file}.parquet"


def write_rows(folder: str, index: int, file: str, rows: Iterable[Row]) -> int:
    """Write one file of a block, `static` or `sends`, and return its bytes. It appears whole or not at all.

    Two attempts of one task write the same bytes, so it does not matter which of them comes last. The folder has to be
    there: a task that comes too late, when a failed prepare has been removed, makes nothing anew.
    """
    place = reached(folder)
    # an object appears when its stream is closed; a file has to be moved
    filesystem, final = place.filesystem, f"{place.path}/{path_within(index, file)}"
    directory = final.rpartition("/")[0]
    temporary = f"{directory}/.{file}-{uuid.uuid4().hex}" if place.is_local else final
    try:
        if place.renames:
            filesystem.create_dir(directory, recursive=False)
        try:
            _write_file(filesystem, temporary, _name(folder), rows)
        except BaseException:
            with suppress(OSError):  # an object that was never closed is not there
                filesystem.delete_file(temporary)
            raise
        if place.is_local:
            filesystem.move(temporary, final)
        return int(filesystem.get_file_info(final).size)
    except StorageError:
        raise
    except OSError as error:
        raise unwritable(graph_of(folder), error) from error


def _write_file(filesystem: fs.FileSystem, path: str, folder: str, rows: Iterable[Row]) -> None:
    with (
        filesystem.open_output_stream(path) as stream,
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
        writer.add_key_value_metadata({FOLDER.decode(): folder})


def read_rows(
    folder: str, index: int, kinds: Collection[str] = KINDS, edge_types: Collection[str] | None = None
) -> Iterator[Row]:
    """The rows of a block, of some kinds, and of tiles and send lists those of some types of edges (None: of all);
    files and row groups without these are not read: of a small block, a file costs as much as what is in it.

    Raises
    ------
    StorageError
        If a file is missing, damaged, or of another prepare than its folder; or all of them, because the graph has been
        replaced since it was opened.
    """
    for name in FILES if any(kind in SENT for kind in kinds) else (STATIC,):
        yield from read_file(folder, index, name, kinds, edge_types)


def read_file(
    folder: str, index: int, name: str, kinds: Collection[str] = KINDS, edge_types: Collection[str] | None = None
) -> Iterator[Row]:
    """The same of one file of a block, `static` or `sends`."""
    filesystem, root = locate(folder)
    path = f"{root}/{path_within(index, name)}"
    try:
        if filesystem.get_file_info(path).type not in (fs.FileType.File, fs.FileType.NotFound):
            raise _lost(folder, f"{name}.parquet of block {index} is no file")  # a pipe would never end
        with filesystem.open_input_file(path) as stream:
            file = pq.ParquetFile(stream)
            metadata = file.metadata
            _check_folder(folder, index, name, metadata)
            groups = [
                group for group in range(file.num_row_groups) if _holds(metadata.row_group(group), kinds, edge_types)
            ]
            table = file.read_row_groups(groups, columns=list(ROW_COLUMNS[1:]), use_threads=False)
    except StorageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _lost(folder, f"block {index} is missing: it has no {name}.parquet") from error
    except (OSError, pa.ArrowException) as error:
        raise _lost(folder, f"{name}.parquet of block {index} is damaged: {error}") from error
    for batch in table.to_batches():
        target = numbers(np.full(len(batch), index, np.int32))
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
    folder: str, index: int, kinds: Collection[str] = KINDS, edge_types: Collection[str] | None = None
) -> Block:
    """A block of a prepared graph, or of it what the kinds say: IDS (with ID_OFFSETS), FEATURES, TILES, LISTS,
    PUSHES."""
    return block_from_rows(index, read_rows(folder, index, kinds, edge_types))


# ---- which prepare the files are of


def folder_name(prepare: str) -> str:
    """Of the blocks of one prepare, within the directory of the graph."""
    return f"blocks-{prepare}"


def missing_blocks(folder: str, sizes: Mapping[str, Sequence[int]]) -> list[int]:
    """Blocks whose files are not there as they were written; `sizes`: `static` and `sends` → bytes of each block's."""
    try:
        there = sizes_within(reached(folder))
    except OSError as error:
        raise _lost(folder, f"cannot be read: {error}") from error
    blocks = range(len(sizes[STATIC]))
    wanted = {(index, name): path_within(index, name) for index in blocks for name in FILES}
    return sorted({index for (index, name), file in wanted.items() if there.get(file) != sizes[name][index]})


def size_of(folder: str, index: int, name: str) -> int | None:
    """Bytes of a file of a block; None if it is not there."""
    filesystem, root = locate(folder)
    info = filesystem.get_file_info(f"{root}/{path_within(index, name)}")
    return int(info.size) if info.type == fs.FileType.File else None


def check_files(folder: str, sizes: Mapping[str, Sequence[int]]) -> None:
    """Looks at every file of a graph: for those who read them without read_rows. StorageError as there."""
    missing = missing_blocks(folder, sizes)
    if missing:
        raise _lost(folder, f"block {missing[0]} is missing or damaged, as are {len(missing)} of {len(sizes[STATIC])}")
    filesystem, root = locate(folder)

    def check(file: tuple[int, str]) -> None:
        index, name = file
        try:
            metadata = pq.read_metadata(f"{root}/{path_within(index, name)}", filesystem=filesystem)
        except (OSError, pa.ArrowException) as error:
            raise _lost(folder, f"{name}.parquet of block {index} is damaged: {error}") from error
        _check_folder(folder, index, name, metadata)

    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(check, [(index, name) for index in range(len(sizes[STATIC])) for name in FILES]):
            pass


def _check_folder(folder: str, index: int, name: str, metadata: Any) -> None:
    found = (metadata.metadata or {}).get(FOLDER, b"").decode(errors="replace")
    if found != _name(folder):
        of = f"of another prepare ({found})" if found else "of no prepare"
        raise _lost(folder, f"{name}.parquet of block {index} is {of}: files were mixed up; prepare the graph again")


def _lost(folder: str, what: str) -> StorageError:
    """What is said of files that are not as they should be: if the graph is another one by now, that explains it."""
    graph = graph_of(folder)
    with suppress(OSError):
        manifest = find_manifest(graph)
        if manifest is not None and folder_name(str(manifest.get("prepare"))) != _name(folder):
            return replaced(graph)
    return StorageError(f"{graph}: {what}")


def replaced(graph: str) -> StorageError:
    """What is said to a run whose graph is another one by now."""
    return StorageError(f"{graph}: replaced while being read; run again")


def replaced_in(text: str) -> StorageError | None:
    """The same, of an error of Spark's reader that says so: a file of a graph is not there any more."""
    found = re.search(rf"FILE_NOT_EXIST\S* [^\n]*?file (\S[^\n]*)/{folder_name(PREPARE_ID.pattern)}/target=", text)
    return replaced(unquote(re.sub(r"file:(//)?", "", found[1]))) if found else None


def _name(folder: str) -> str:
    return folder.rstrip("/").rpartition("/")[2]


def graph_of(folder: str) -> str:
    """The path of the graph whose blocks are in a folder."""
    return folder.rstrip("/").rpartition("/")[0] or "/"


# ---- the manifest

FORMAT = "graphsweep prepared graph"
VERSION = 7
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
        raise unreadable(f"{path}/{name}", error) from error
    return content.decode(errors="replace")


def remove(path: str, name: str) -> None:
    filesystem, root = locate(path)
    filesystem.delete_file(f"{root}/{name}")


def find_manifest(path: str) -> dict[str, Any] | None:
    """The manifest of a prepared graph of any version; None if there is none, or that of something else."""
    try:
        manifest = json.loads(read_text(path, MANIFEST) or "null")
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def _instead(path: str) -> str:
    """What is there, if that is something of ours, or a file: as the end of a message."""
    found = describe(reached(path))
    if found in OURS:
        return f"; {found}"
    return f"; {found}: prepare the graph of its table first" if found == A_FILE else ""


def read_manifest(path: str) -> dict[str, Any]:
    text = read_text(path, MANIFEST)
    if text is None:
        raise StorageError(f"{path}: no prepared graph here ({MANIFEST} is missing){_instead(path)}")
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
    if not PREPARE_ID.fullmatch(str(manifest.get("prepare"))):
        raise StorageError(f"{path}: {MANIFEST} is damaged: it does not say which blocks are the graph's")
    return manifest
