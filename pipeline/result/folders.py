"""The tables of a typed graph: a folder for each type, within the directory of the result.

Comes in: the directory that is written, the types, receipts of tasks. Goes out: empty folders before tasks write; then
the files of all tables, counted by type. Knows nothing of how rows are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import unwritable
from pipeline.places.filesystem import Opened
from pipeline.result.counted import File, count_files, mark_done, refuse_missing, refuse_other_blocks
from pipeline.result.written import Receipt
from pipeline.schema import AnyType, folder_of


def make_folders(directory: Opened, types: Iterable[AnyType], output: str) -> None:
    """A folder for each type. StorageError if one cannot be made. An object store has no folders."""
    if not directory.renames:
        return
    for type in types:
        folder = directory.child(folder_of(type))
        try:
            folder.filesystem.create_dir(folder.path, recursive=False)
        except OSError as error:  # a name that is too long for the disk, say
            raise unwritable(f"{output}/{folder_of(type)}", error) from error


def count_types(
    directory: Opened,
    format: str,
    rows: Mapping[AnyType, int],
    blocks: int,
    receipts: Sequence[Receipt],
    output: str,
) -> list[File]:
    """The files of all tables, named from the directory; StorageError unless each table has a row for every one.

    Parameters
    ----------
    rows
        Type → how many nodes, or edges, there are.
    output
        What the user calls the directory.
    """
    found = []
    for type, expected in rows.items():
        name = folder_of(type)
        here, called = directory.child(name), f"{output}/{name}"
        what = "nodes" if isinstance(type, str) else "edges"
        files = count_files(here, format, called)
        mine = [receipt for receipt in receipts if receipt.type == str(type)]
        refuse_other_blocks(files, blocks, mine, called)
        computed = {receipt.block: receipt.rows or 0 for receipt in mine if receipt.block is not None}
        refuse_missing(sum(file.rows for file in files), sum(computed.values()), expected, called, what)
        mark_done(here)
        found += [file._replace(name=f"{name}/{file.name}") for file in files]
    return found
