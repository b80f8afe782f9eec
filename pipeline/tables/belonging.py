"""Which of the files under a path are rows of a table: Spark's rule, or an error where it would lose rows in silence.

Comes in: the files below a path, however they were found. Goes out: those that belong to the table, each with the
column values in the names of its folders. Knows nothing of file systems, nor of what is in the files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.errors import StorageError
from pipeline.shown import some
from pipeline.tables.partitions import Folders, folder_value

log = logging.getLogger("graphsweep")


class Found(NamedTuple):
    """A file below the path of a table."""

    path: str
    """From the table's path on; "" if the path is the file itself."""
    size: int


class TableFile(NamedTuple):
    """A file whose rows belong to a table."""

    file: str
    """As its file system takes it."""
    size: int
    folders: Folders = ()


def is_hidden(name: str) -> bool:
    """Names of files and folders that Spark passes over: logs, markers, what is still being written."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith("._COPYING_")


def belonging(table: str, root: str, files: Iterable[Found]) -> list[TableFile]:
    """The parts of a table among the files below one root, by path.

    Files of no bytes are passed over, as Spark does; so are folders that are no partitions (day=1), if there are files
    beside them: that is said in a warning.

    Raises
    ------
    StorageError
        If Spark would pass over files without a word, or takes folders for what they are not.
    """
    seen = sorted(file for file in files if file.size and not any(map(is_hidden, file.path.split("/"))))
    parts: list[TableFile] = []
    plain: list[Found] = []
    odd: dict[str, Found] = {}
    for file in seen:
        folders = file.path.split("/")[:-1]
        values = [folder_value(folder) for folder in folders]
        if not folders:
            plain.append(file)
        elif None in values:
            odd.setdefault("/".join(folders[: values.index(None) + 1]), file)
        else:
            named = tuple(value for value in values if value is not None)
            parts.append(TableFile(f"{root}/{file.path}", file.size, named))
    if parts and (odd or plain):
        other = f"the folder {next(iter(odd))}" if odd else f"the file {plain[0].path}"
        raise StorageError(
            f"{table}: {other} lies beside partitions ({seen_folder(parts[0], root)}); Spark would not read both. Move "
            "it elsewhere, or name the files that are meant, as PATH/*/*.parquet"
        )
    if odd and not plain:
        raise StorageError(
            f"{table}: holds no files itself, only folders that are no partitions ({some(odd, 3)}), which Spark does "
            "not look into; name the files that are meant, as PATH/*/*.parquet"
        )
    if odd:
        log.warning("%s: passed over, as Spark does, folders that are no partitions (%s)", table, some(odd, 3))
    _check_columns(table, parts)
    return parts or [TableFile(f"{root}/{file.path}".rstrip("/"), file.size) for file in plain]


def seen_folder(part: TableFile, root: str) -> str:
    """The first folder that a part lies in."""
    return part.file[len(root) :].strip("/").partition("/")[0]


def _check_columns(table: str, parts: Sequence[TableFile]) -> None:
    """Every part lies in folders of the same columns, in the same order."""
    columns = {tuple(name for name, _ in part.folders): part for part in parts}
    if len(columns) > 1:
        (one, first), (other, second) = list(columns.items())[:2]
        raise StorageError(
            f"{table}: its folders are partitions by {', '.join(one) or 'nothing'} ({first.file}) and by "
            f"{', '.join(other) or 'nothing'} ({second.file}); a table has one kind of partitions"
        )


def one_table(table: str, parts: Sequence[TableFile]) -> list[TableFile]:
    """The parts of several roots together, by path; StorageError if their partitions are not of the same columns."""
    _check_columns(table, parts)
    return sorted(parts)
