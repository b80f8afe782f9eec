"""Arrow's types in Spark's words, and their columns as the few types that the rest of the project reads.

Comes in: schemas and columns as pandas, polars, Spark and others write them. Goes out: words; columns of plain types.
Knows nothing of what the columns mean.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORDS = {
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    # Spark has no unsigned integers: it reads them as the next wider type
    "uint8": "smallint",
    "uint16": "int",
    "uint32": "bigint",
    "uint64": "decimal(20,0)",
    "bool": "boolean",
    "halffloat": "float",
    "large_string": "string",
    "string_view": "string",
    "large_binary": "binary",
    "binary_view": "binary",
    "date32[day]": "date",
    "date64[ms]": "date",
    "null": "void",
}
_VECTOR = ["type", "size", "indices", "values"]  # the fields of a vector of Spark ML


def word(type: pa.DataType) -> str:
    """Spark's word for a type."""
    if pa.types.is_dictionary(type):
        return word(type.value_type)
    if isinstance(type, pa.BaseExtensionType):
        return str(type) if _is_another(type) else word(type.storage_type)
    if is_list(type):
        return f"array<{word(type.value_type)}>"
    if pa.types.is_decimal(type):
        return f"decimal({type.precision},{type.scale})"
    if pa.types.is_timestamp(type):
        return "timestamp" if type.tz else "timestamp_ntz"
    if pa.types.is_time(type):
        return "time"
    if pa.types.is_fixed_size_binary(type):
        return "binary"
    if pa.types.is_map(type):
        return f"map<{word(type.key_type)},{word(type.item_type)}>"
    if pa.types.is_struct(type):
        fields = [type.field(at) for at in range(type.num_fields)]
        if [field.name for field in fields] == _VECTOR:
            return "vector"
        return f"struct<{','.join(f'{field.name}:{word(field.type)}' for field in fields)}>"
    return _WORDS.get(str(type), str(type))


def _is_another(type: pa.BaseExtensionType) -> bool:
    """Whether what is stored is not what it means: any number but 0 is true; a tensor's axes are in another order."""
    axes = getattr(type, "permutation", None)
    return type.extension_name == "arrow.bool8" or (axes is not None and list(axes) != sorted(axes))


def is_list(type: pa.DataType) -> bool:
    known = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = tuple(test for name in ("is_list_view", "is_large_list_view") if (test := getattr(pa.types, name, None)))
    return any(test(type) for test in (*known, *views))


def plain(column: pa.Array) -> pa.Array:
    """A column as strings, integers, float32, float64, booleans, or lists of numbers of these types; types that hold
    neither text nor numbers stay as they are."""
    type = column.type
    if isinstance(type, pa.BaseExtensionType):
        return plain(column.storage)
    if pa.types.is_dictionary(type):
        # the values first: Arrow 25 takes no values of a dictionary of views
        return plain(column.dictionary).take(column.indices)
    if pa.types.is_large_string(type) or str(type) == "string_view":
        return column.cast(pa.string())
    if pa.types.is_decimal(type):
        # the nearest float32, as in Spark: by its digits, because a float64 between would round twice
        return column.cast(pa.string()).cast(pa.float32())
    if pa.types.is_float16(type):
        return _wide(column)
    if is_list(type):
        return _list(column)
    return column


def _list(column: pa.Array) -> pa.Array:
    inner = column.type.value_type
    kept = not (isinstance(inner, pa.BaseExtensionType) or pa.types.is_dictionary(inner) or _is_converted(inner))
    if pa.types.is_list(column.type) and kept:
        return column
    if (pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)) and kept:
        return column.cast(pa.list_(inner))
    # made of lengths: Arrow 26 casts a list_view to a list that lacks its last values
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = column.is_null() if column.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), plain(column.flatten()), mask=mask)


def _is_converted(inner: pa.DataType) -> bool:
    return pa.types.is_decimal(inner) or pa.types.is_float16(inner)


def _wide(halves: pa.Array) -> pa.Array:
    """float32 of float16, which Arrow casts in new versions only."""
    values = np.asarray(halves.to_numpy(zero_copy_only=False)).astype(np.float32)
    return pa.array(values, pa.float32(), mask=np.asarray(halves.is_null()) if halves.null_count else None)


def not_text(texts: pa.Array) -> pa.Array | None:
    """Which of some strings are not UTF-8, which nothing but Arrow lets into a column of text; None if all are."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.binary())
        return pa.array([raw[at].is_valid and not _is_utf8(raw[at].as_py()) for at in range(len(raw))])
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_number(texts: pa.Array) -> pa.Array:
    """float64 of texts, the nearest; spaces around them do not count. ArrowInvalid if one is no number."""
    return pc.ascii_trim_whitespace(texts).cast(pa.float64())
