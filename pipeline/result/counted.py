"""What is in the files of a result, counted by the driver before anything is put in place.

Comes in: a directory. Goes out: its files with their rows and bytes; a StorageError if they are not what was computed.
A task may have written to a disk that nobody else sees, and Spark does not know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.places.contents import DONE
from pipeline.places.directories import THREADS, list_files, remove_others
from pipeline.places.filesystem import Opened
from pipeline.places.marker import MARKER
from pipeline.result.written import CSV, Receipt

BLOCK_BYTES = 1 << 24  # no row of a CSV file is longer
_PART = re.compile(r"part-\d[^/]*\.(?:parquet|csv)")


class File(NamedTuple):
    """A file of the table."""

    name: str
    rows: int
    bytes: int


def count_files(directory: Opened, format: str, output: str) -> list[File]:
    """The files of a table, in the order of their names. What is no part of it is removed: what tasks were writing when
    they were killed, and checksums, which only Hadoop's local file system has.

    `output` is what the user calls the directory.
    """
    sizes = list_files(directory)
    names = sorted(filter(is_part, sizes))
    remove_others(directory, {*names, MARKER, DONE})
    rows_of = _rows_of_csv if format == CSV else _rows_of_parquet

    def count(name: str) -> File:
        try:
            return File(name, rows_of(directory.child(name)), sizes[name])
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{output}: {name} was not written whole ({error}); run it again") from error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(count, names))


def is_part(name: str, folders: Collection[str] = ("",)) -> bool:
    """Whether a file of a result holds rows of it. `folders`: of its tables."""
    folder, _, name = name.rpartition("/")
    return folder in folders and _PART.fullmatch(name) is not None


def refuse_missing(found: int, computed: int, wanted: int, output: str, what: str = "nodes") -> None:
    """StorageError unless the files hold a row for each node (or each of `what`), as many as were computed."""
    if found == computed == wanted:
        return
    if computed != wanted:
        raise StorageError(
            f"{output}: {computed:,} rows were computed for {wanted:,} {what}; nothing was put in place. Was the graph "
            "replaced meanwhile? Run it again"
        )
    raise StorageError(
        f"{output}: {computed:,} rows were computed, but the files that this machine sees there hold {found:,}: tasks "
        "write to disks of their own. Nothing was put in place; give a path that all machines share"
    )


def refuse_other_blocks(files: Iterable[File], blocks: int, receipts: Iterable[Receipt], output: str) -> None:
    """StorageError unless the file of every block is there, with the rows that its receipt says."""
    expected = {receipt.block: receipt.rows for receipt in receipts if receipt.block is not None}
    seen = {int(file.name[len("part-") :].partition(".")[0]): file.rows for file in files}
    missing = [block for block in range(blocks) if block not in expected or seen.get(block) != expected[block]]
    if missing:
        raise StorageError(
            f"{output}: {len(missing)} of {blocks} files were not written where this machine sees them, for example "
            f"of block {missing[0]}; give a path that all machines share"
        )


def mark_done(directory: Opened) -> None:
    with directory.filesystem.open_output_stream(f"{directory.path}/{DONE}", compression=None):
        pass


def _rows_of_parquet(file: Opened) -> int:
    return int(pq.read_metadata(file.path, filesystem=file.filesystem).num_rows)


def _rows_of_csv(file: Opened) -> int:
    parsed, read = (
        csv.ParseOptions(newlines_in_values=True),
        csv.ReadOptions(block_size=BLOCK_BYTES, autogenerate_column_names=True),
    )
    with file.filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(1)
    if not head:
        return 0  # Spark's file of no rows, which has no header
    # one column is enough to count rows, whatever the header calls it, and nothing has to be made of it
    convert = csv.ConvertOptions(include_columns=["f0"], column_types={"f0": pa.string()})
    with file.filesystem.open_input_stream(file.path, compression=None) as stream:
        reader = csv.open_csv(stream, read, parsed, convert_options=convert)
        return sum(batch.num_rows for batch in reader) - 1  # the header
