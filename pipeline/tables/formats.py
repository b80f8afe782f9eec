"""The format of a table by the names of its files, and what is said of a file that is not what it should be.

Comes in: the files of a table. Goes out: parquet or csv. Looks into files only where no name tells, or reading failed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError, nearest
from pipeline.tables.belonging import TableFile
from pipeline.tables.listing import Listing, data_filesystem

FORMATS = ("parquet", "csv", "delta")
ENDINGS = {
    "parquet": (".parquet", ".pq"),
    "csv": tuple(f".{name}{packed}" for name in ("csv", "tsv") for packed in ("", ".gz", ".bz2", ".zst")),
}
# of tables that are not read; said by their names
OTHERS = (".orc", ".avro", ".json", ".jsonl", ".ndjson", ".xlsx", ".xls", ".arrow", ".feather", ".zip")
MAGIC = b"PAR1"


def known_format(path: str, format: str | None) -> str | None:
    """The same, None for "auto"; StorageError if it is none that can be read."""
    if format in (None, "auto"):
        return None
    if format not in FORMATS:
        raise StorageError(f"{path}: unknown format {format!r}; {nearest(format, FORMATS)}")
    return format


def format_of(listing: Listing, given: str | None, looks_inside: bool = True) -> str:
    """The format of a table; `given` is what the user says. Where this process cannot look into files, those without an
    ending are taken for Parquet, and Spark says if they are none.

    Raises
    ------
    StorageError
        If the names and the first bytes do not tell it, or tell several; or if a Delta table is to be read as files.
    """
    table = str(listing.place)
    if listing.is_delta:
        if given not in (None, "delta"):
            raise StorageError(
                f"{table}: a Delta table; read as {given} its removed rows would count. Give its format as delta"
            )
        return "delta"
    if given is not None:
        return given
    kinds: dict[str | None, TableFile] = {}
    for part in listing.parts:
        kinds.setdefault(by_name(part.file), part)
    if None in kinds and not looks_inside:
        kinds = {"parquet": kinds[None]} if len(kinds) == 1 else kinds
    elif None in kinds:
        filesystem = data_filesystem(listing.place)
        unnamed = [part for part in listing.parts if by_name(part.file) is None]
        with ThreadPoolExecutor(16) as pool:
            magic = list(pool.map(lambda part: _ends(filesystem, part.file) == (MAGIC, MAGIC), unnamed))
        if not all(magic):
            return _refuse_unnamed(table, unnamed[magic.index(False)], kinds)
        kinds.setdefault("parquet", kinds[None])
        del kinds[None]
    if len(kinds) > 1:
        (one, first), (other, second) = [(kind or "other", part) for kind, part in kinds.items()][:2]
        raise StorageError(
            f"{table}: holds {one} and {other} files ({_name(first)}, {_name(second)}); a table has one format. Move "
            "the others elsewhere, or name the files that are meant, as PATH/*.parquet"
        )
    return str(next(iter(kinds)))


def _refuse_unnamed(table: str, part: TableFile, kinds: dict[str | None, TableFile]) -> str:
    others = [kind for kind in kinds if kind is not None]
    if others:
        raise StorageError(f"{table}: holds {_name(part)} beside {others[0]} files; move it elsewhere")
    ending = posixpath.splitext(_name(part))[1].lower()
    if ending in OTHERS:
        raise StorageError(
            f"{table}: {_name(part)} is a {ending} file; {', '.join(FORMATS)} are read. Read it with Spark or pandas "
            "and give the DataFrame, from Python; or write it as parquet"
        )
    raise StorageError(f"{table}: the name does not say the format; give it, one of {', '.join(FORMATS)}")


def by_name(file: str) -> str | None:
    """The format that the name of a file tells."""
    lower = file.lower()
    return next((format for format, endings in ENDINGS.items() if lower.endswith(endings)), None)


def refuse_content(table: str, part: TableFile, filesystem: fs.FileSystem, error: Exception) -> StorageError:
    """What is said of a file that cannot be read as Parquet."""
    name = _name(part)
    try:
        start, end = _ends(filesystem, part.file)
    except PermissionError:
        return StorageError(f"{table}: no permission to read {name}")
    except (OSError, pa.ArrowException) as closed:
        return StorageError(f"{table}: {name} cannot be read: {closed}")
    if b"PARE" in (start, end):
        return StorageError(f"{table}: {name} is an encrypted Parquet file, which is not supported")
    if start != MAGIC:
        return StorageError(f"{table}: {name} is not a Parquet file")
    if end != MAGIC:
        return StorageError(f"{table}: {name} is a Parquet file whose end is missing")
    reason = str(error).strip().partition("\n")[0]
    return StorageError(f"{table}: {name} cannot be read as parquet, it is damaged: {reason}")


def _ends(filesystem: fs.FileSystem, file: str) -> tuple[bytes, bytes]:
    with filesystem.open_input_file(file) as stream:
        start = stream.read(4)
        stream.seek(max(0, stream.size() - 4))
        return start, stream.read(4)


def _name(part: TableFile) -> str:
    return posixpath.basename(part.file)


def names(parts: Sequence[TableFile]) -> list[str]:
    """Of the files, without their folders."""
    return [_name(part) for part in parts]
