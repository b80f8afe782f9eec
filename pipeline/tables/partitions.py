"""Columns in the names of folders, as day=2024-01-01: their values, and the types that Spark finds for them.

Comes in: names of folders. Goes out: texts, types in Spark's words, columns of one value. Knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import reduce
from urllib.parse import unquote

import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"

_DOUBLE = re.compile(r"[+-]?(NaN|Infinity|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fFdD]?)")
_DATE = re.compile(r"\d{4,}-\d{1,2}-\d{1,2}")
_TIME = re.compile(r"\d{4,}-\d{1,2}-\d{1,2}[ T]\d{1,2}(:\d{1,2}){0,2}(\.\d+)?\S*")
DECIMAL = "decimal(38,0)"
_INTEGERS = ("int", "bigint", DECIMAL)


def folder_value(folder: str) -> tuple[str, str | None] | None:
    """Column and value of a folder that is a partition; None if it is none. The value null is None."""
    name, sign, value = folder.partition("=")
    if not sign or not name or not value:
        return None
    return unquote(name), None if value == NULL else unquote(value)


def column_type(values: Iterable[str | None]) -> str:
    """Spark's word for the type of a column with these values: the narrowest that holds all of them."""
    words = {_type(value) for value in values if value is not None}
    return reduce(_wider, sorted(words)) if words else "void"


def _type(text: str) -> str:
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        number = int(text)
        if -(2**31) <= number < 2**31:
            return "int"
        if -(2**63) <= number < 2**63:
            return "bigint"
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        _, digits, exponent = Decimal(text).as_tuple()
        # Spark takes a decimal without digits behind the point, of 38 digits at most
        if isinstance(exponent, int) and exponent >= 0 and len(digits) + exponent <= 38:
            return DECIMAL
    if _DOUBLE.fullmatch(text.strip()):
        return "double"
    if _DATE.fullmatch(text) and _is_date(text):
        return "date"
    return "timestamp" if _TIME.fullmatch(text) and _is_date(re.split("[ T]", text)[0]) else "string"


def _is_date(text: str) -> bool:
    _, month, day = map(int, text.split("-"))
    return 1 <= month <= 12 and 1 <= day <= 31


def _wider(one: str, other: str) -> str:
    both = {one, other}
    if len(both) == 1:
        return one
    if both <= set(_INTEGERS):
        return max(both, key=_INTEGERS.index)
    if both == {"int", "double"}:
        return "double"
    return "timestamp" if both == {"date", "timestamp"} else "string"


Folders = tuple[tuple[str, str | None], ...]
"""Column and value of each partition folder that a file lies in; None is null."""


def constants(folders: Folders, types: Mapping[str, str]) -> tuple[tuple[str, object], ...]:
    """Column and value for all rows of a file, where the columns have these types."""
    return tuple((name, None if text is None else _value(text, types[name])) for name, text in folders)


def _value(text: str, type: str) -> object:
    if type in ("int", "bigint"):
        return int(text)
    if type not in ("double", DECIMAL):
        return text
    return float(text.strip().rstrip("fFdD") if text.strip()[-1].lower() in "fd" else text)


def repeated(value: object, rows: int) -> pa.Array:
    """A column of one value."""
    if value is None:
        return pa.nulls(rows, pa.float64())
    kind = pa.int64() if isinstance(value, int) else pa.float64() if isinstance(value, float) else pa.string()
    return pa.repeat(pa.scalar(value, kind), rows)


def is_changed(text: str, type: str) -> bool:
    """Whether an id would not be the same text again, if it is read as a column of this type: 007 would be 7."""
    return type != "string" and str(_value(text, type)) != text
