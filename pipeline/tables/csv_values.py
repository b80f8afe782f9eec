"""What the columns of a CSV file hold: numbers, truth values, ids, or any text.

Comes in: a file's columns of strings. Goes out: what all of a column's fields are; the same columns typed by that.
Knows nothing of tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.csv_text import CsvFile
from pipeline.tables.partitions import repeated
from pipeline.tables.words import as_number

TRUTH = ("true", "false")


class Seen(NamedTuple):
    """What is known of a column when all its fields have passed by."""

    integers: bool = True
    """Every text is the canonical form of an int64."""
    numbers: bool = True
    truths: bool = True
    """Every text is true or false, in any case."""
    no_integer: str | None = None
    """The first text that is not the canonical form of one."""
    no_number: str | None = None

    def and_of(self, other: Seen) -> Seen:
        return Seen(
            self.integers and other.integers,
            self.numbers and other.numbers,
            self.truths and other.truths,
            other.no_integer if self.no_integer is None else self.no_integer,
            other.no_number if self.no_number is None else self.no_number,
        )

    @property
    def word(self) -> str:
        """Spark's word for the type of a column of values."""
        return "double" if self.numbers else "boolean" if self.truths else "string"


def survey(file: CsvFile, wanted: Sequence[str]) -> tuple[int, dict[str, Seen]]:
    """Rows of a file, and what its columns hold. Reads all of it."""
    rows, seen = 0, {name: Seen() for name in wanted}
    for batch in file.rows(wanted):
        rows += batch.num_rows
        for name in wanted:
            seen[name] = _look(seen[name], batch.column(name).drop_null())
    return rows, seen


def _look(seen: Seen, texts: pa.Array) -> Seen:
    """A column with some more texts; what is settled is not looked at again."""
    if seen.integers:
        same = _canonical(texts)
        if not pc.all(same, min_count=0).as_py():
            seen = seen._replace(integers=False, no_integer=texts.filter(pc.invert(same))[0].as_py())
    if seen.numbers:
        first = first_no_number(texts)
        seen = seen._replace(numbers=first is None, no_number=first)
    if seen.truths:
        known = pc.is_in(pc.ascii_lower(texts), value_set=pa.array(TRUTH))
        seen = seen._replace(truths=pc.all(known, min_count=0).as_py())
    return seen


def _canonical(texts: pa.Array) -> pa.Array:
    """Whether each is an int64 as Python writes it."""
    shaped = pc.match_substring_regex(texts, r"^(0|-?[1-9][0-9]{0,18})$")
    try:
        texts.filter(shaped).cast(pa.int64())
    except pa.ArrowInvalid:  # 19 digits that are too large
        both = zip(texts.to_pylist(), shaped.to_pylist(), strict=True)
        return pa.array([good and -(2**63) <= int(text) < 2**63 for text, good in both], pa.bool_())
    return shaped


def first_no_number(texts: pa.Array) -> str | None:
    try:
        as_number(texts)
    except pa.ArrowInvalid:
        half = len(texts) // 2
        if not half:
            return str(texts[0].as_py())
        found = first_no_number(texts[:half])
        return first_no_number(texts[half:]) if found is None else found
    return None


def typed(texts: pa.Array, word: str) -> pa.Array:
    """A column of texts as what it was found to be."""
    if word == "bigint":
        return texts.cast(pa.int64())
    if word == "double":
        return as_number(texts)
    return pc.equal(pc.ascii_lower(texts), TRUTH[0]) if word == "boolean" else texts


def typed_rows(
    file: CsvFile, columns: Sequence[str], words: Mapping[str, str], constants: Mapping[str, object]
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, each column as its word says; constants stand for columns in the names of folders."""
    stored = [name for name in columns if name not in constants] or list(file.head().columns[:1])
    for batch in file.rows(stored):
        arrays = [
            repeated(constants[name], batch.num_rows)
            if name in constants
            else typed(batch.column(name), words.get(name, "string"))
            for name in columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, list(columns))
