"""One CSV file: its bytes as text, its header, its rows. The same for a file on a disk and for bytes from Spark.

Comes in: a stream of bytes, and the options of the user. Goes out: column names; Arrow batches of strings, by name.
What RFC 4180 does not allow is an error with the number of the line, never a row that is shifted or lost. Knows nothing
of what the columns mean.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.errors import SettingError, StorageError
from pipeline.kernels.quotes import BROKEN, PLAIN, QUOTED, START, follow_quotes

SEPARATORS = ",;\t|"
BLOCK_BYTES = 32 << 20  # pyarrow wants a row whole in one block
COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
HEAD_BYTES = 1 << 20
IDS = ("auto", "text")


@dataclass(frozen=True)
class Csv:
    """How CSV files are to be read.

    Parameters
    ----------
    sep : str, optional
        The character between fields. None: a comma, or else what stands alone in the header line among ; tab and |.
    header : bool
        The first line of each file names its columns. Without, they are _c0, _c1, … by position.
    encoding : str
        Of the text, by Python's names: utf-8, latin-1, cp1252, …
    ids : str
        "auto": ids are integers if every one is written as an integer is (7, -12; not 007, +4 or 1e5), else text.
        "text": they are text.
    """

    sep: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    ids: str = "auto"

    def __post_init__(self) -> None:
        if self.sep is not None and (len(self.sep) != 1 or not self.sep.isascii() or self.sep in '"\r\n'):
            raise SettingError(f"the separator of CSV is {self.sep!r}; it must be one ASCII character, no quote")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise SettingError(f"unknown encoding {self.encoding!r}; known are utf-8, latin-1, cp1252, …") from error
        if self.ids not in IDS:
            raise SettingError(f"ids of CSV are {self.ids!r}; accepted: {', '.join(IDS)}")

    def described(self) -> dict[str, Any]:
        """What is not as usual, for a manifest."""
        usual = Csv()
        return {name: value for name, value in vars(self).items() if value != getattr(usual, name)}


class Head(NamedTuple):
    """What is known of a file from its first line."""

    columns: tuple[str, ...]
    """None where the file is empty."""
    sep: str


Opener = Callable[[], pa.NativeFile]
"""Opens a file anew: the bytes as they are stored."""


@dataclass(frozen=True)
class CsvFile:
    """A file of which a stream of bytes can be had."""

    name: str
    """For messages, and for the ending that tells the compression."""
    open: Opener
    options: Csv

    def head(self) -> Head:
        """Its columns. StorageError if it has no header line, or one that cannot be understood."""
        with self.open() as stored:
            if stored.read(4) == b"PAR1":
                raise StorageError(f"{self.name} is a Parquet file, not CSV")
        try:
            with self._text() as text:
                start = text.read(HEAD_BYTES)
        except UnicodeDecodeError as error:
            raise self._not_decoded() from error
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.name} cannot be read as CSV: {_first_line(error)}") from error
        if not start.strip():
            raise StorageError(f"{self.name} is empty, without a header line")
        try:
            first = start.decode()
        except UnicodeDecodeError as error:
            if error.start < len(start) - 4:
                raise self._not_decoded() from error
            first = start[: error.start].decode()
        first = first.removeprefix("\ufeff")
        sep = self.options.sep or _separator(first)
        try:
            fields = next(row for row in csv.reader(io.StringIO(first, newline=""), delimiter=sep, strict=True) if row)
        except (csv.Error, StopIteration) as error:
            raise StorageError(f"{self.name}, line 1: {error}") from error
        if not self.options.header:
            return Head(tuple(f"_c{at}" for at in range(len(fields))), sep)
        return Head(tuple(fields), sep)

    def rows(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows: the wanted columns as strings; a field without anything is null, "" is an empty text."""
        head = self.head()
        for name in wanted:
            if name not in head.columns:
                raise self.lacks(name, head)
        numbers = [head.columns.index(name) for name in wanted]
        with self._text() as stream:
            text = _Checked(stream, ord(head.sep))
            # the header line comes with the rows, and is taken off: Arrow counts lines without anything as rows to skip
            header = int(self.options.header)
            try:
                for batch in _reader(text, head, numbers):
                    if batch.num_rows > header:
                        yield pa.RecordBatch.from_arrays(batch[header:].columns, list(wanted))
                    header = max(0, header - batch.num_rows)
            except (pa.ArrowException, OSError) as error:
                raise self._complaint(head, error) from error

    def lacks(self, name: str, head: Head) -> StorageError:
        """What is said of a file without a column."""
        first = head.sep.join(head.columns)
        hint = "; is the header line missing in it?" if self.options.header else ""
        return StorageError(f"{self.name} has no column {name!r}; its first line is {first[:80]!r}{hint}")

    # ---- bytes to text

    def _text(self) -> pa.NativeFile:
        stream = self.open()
        packed = next((kind for end, kind in COMPRESSION.items() if self.name.lower().endswith(end)), None)
        if packed:
            stream = pa.CompressedInputStream(stream, packed)
        encoding = codecs.lookup(self.options.encoding).name
        return stream if encoding == "utf-8" else pa.transcoding_input_stream(stream, encoding, "utf8")

    def _not_decoded(self) -> StorageError:
        return StorageError(
            f"{self.name}{self._line_of_bad_bytes()} is not {self.options.encoding}; give its encoding (latin-1, …)"
        )

    def _line_of_bad_bytes(self) -> str:
        with self._text() as text:
            for number, line in enumerate(io.BufferedReader(text), 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return f", line {number},"
        return ""

    # ---- what is wrong, found by a slow reader when a fast one has failed

    def _complaint(self, head: Head, error: Exception) -> StorageError:
        if isinstance(error, StorageError):
            return error
        try:
            with self._text() as text, io.TextIOWrapper(io.BufferedReader(text), "utf-8-sig", newline="") as lines:
                csv.field_size_limit(1 << 30)
                reader = csv.reader(lines, delimiter=head.sep, strict=True)
                start = 1
                for row in reader:
                    if row and len(row) != len(head.columns):
                        fields = f"{len(row)} field{'' if len(row) == 1 else 's'} instead of {len(head.columns)}"
                        shown = head.sep.join(row)[:80]
                        return StorageError(f"{self.name}, line {start}: {fields}: {shown!r}")
                    start = reader.line_num + 1
        except UnicodeDecodeError:
            return self._not_decoded()
        except csv.Error as found:
            what = "a quote that is not closed" if "unexpected end" in str(found) else "text after a closing quote"
            return StorageError(f"{self.name}, line {start}: {what}; a quote within a field is written twice")
        except (OSError, pa.ArrowException) as found:
            error = found
        return StorageError(f"{self.name} cannot be read as CSV: {_first_line(error)}")


class _Checked:
    """A stream as pyarrow reads it: without the mark of UTF-8, with an end of the last line, quotes followed."""

    def __init__(self, stream: pa.NativeFile, separator: int) -> None:
        self._stream = stream
        self._separator = separator
        self._begun = self._ended = False
        self._last = b"\n"
        self.state = START
        self.closed = False

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        if not self._begun:
            self._begun = True
            data = data.removeprefix(codecs.BOM_UTF8) or self._stream.read(size)
        if data:
            self._follow(data)
            self._last = data[-1:]
        elif not self._ended:
            self._ended = True
            if self.state == QUOTED:
                raise pa.ArrowInvalid("a quote is not closed")
            return b"" if self._last == b"\n" else b"\n"
        return data

    def _follow(self, data: bytes) -> None:
        if self.state in (START, PLAIN) and b'"' not in data:  # most files have none: nothing to follow
            self.state = START if data[-1:] in (b"\n", b"\r", bytes([self._separator])) else PLAIN
            return
        self.state = follow_quotes(np.frombuffer(data, np.uint8), self._separator, self.state)
        if self.state == BROKEN:
            raise pa.ArrowInvalid("text after a closing quote")

    def close(self) -> None:
        self.closed = True


def _reader(text: _Checked, head: Head, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    names = list(map(str, range(len(head.columns))))
    chosen = [names[at] for at in numbers]
    return iter(
        pacsv.open_csv(
            pa.PythonFile(text, "r"),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names),
            parse_options=pacsv.ParseOptions(delimiter=head.sep, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=chosen,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _separator(text: str) -> str:
    """The separator of a header line, where it is certain: a comma, or the only one of the others in it."""
    line, quoted = "", False
    for sign in text.removeprefix("\ufeff").lstrip("\r\n"):
        quoted ^= sign == '"'
        if sign in "\r\n" and not quoted:
            break
        line += sign if not quoted else ""
    found = [each for each in SEPARATORS if each in line]
    return found[0] if "," in found or len(found) == 1 else ","
