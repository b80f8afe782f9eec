"""Which columns of the user's tables are what, checked by their names and types alone.

Comes in: names and types of columns (Spark's words for types), and which of them are ids, features, edge values. Goes
out: a `Layout` for each table. Knows nothing of the rows, nor of what will carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import LongArray
from pipeline.blocks.rows import text_buffers
from pipeline.errors import DataError, nearest
from pipeline.kernels.hash import hash_texts
from pipeline.schema import EDGE, NODE, EdgeType, quoted, spelled
from pipeline.tables.words import word

INTEGERS = ("tinyint", "smallint", "int", "bigint")
NUMBERS = (*INTEGERS, "float", "double", "decimal", "boolean")

Columns = str | Sequence[str]
Columned = Columns | Mapping[str, Columns] | None
"""What `features` and `edge_features` take: a column, a list of columns (of nodes: together they are x, one too), or
names for these."""

TextHash = Callable[[pa.Array, int], LongArray]


def text_keys(texts: pa.Array, seed: int) -> LongArray:
    """(n,) 64-bit keys of a string array without nulls.

    Two nodes with the same key are found in their block (build/steps.py). An edge end that is no node can go unnoticed
    if its key is a node's: for one such end and n nodes the probability is n / 2^64, 5e-11 for a billion nodes.
    """
    keys = np.empty(len(texts), np.int64)
    offsets, data = text_buffers(texts)
    hash_texts(offsets, data, seed, keys)
    return keys


@dataclass(frozen=True)
class ValueColumns:
    """A named matrix of node features or edge values, and the table columns that it is made of."""

    name: str
    columns: tuple[str, ...]
    array: bool = False
    """One column of arrays; else each column is a number and one lane."""


@dataclass(frozen=True)
class Where:
    """Which rows of a table are meant: those of one type, where it holds several."""

    column: str
    value: str
    rows: int
    """How many, when the column was looked at."""


@dataclass(frozen=True)
class Layout:
    """What the rows of a table are made of. They come with the keys' columns first, then the values', in this order."""

    table: str
    """What messages call the table: nodes or edges; of typed graphs nodes[account], edges[account__pays__account]."""
    type: str
    """Node or edge type, the NAME of rows."""
    keys: tuple[str, ...]
    """The id column; or src and dst."""
    values: tuple[ValueColumns, ...] = ()
    text: bool = False
    """Ids are text, and their keys hashes; of edges, those of src."""
    target_text: bool | None = None
    """The same of dst, where it is a node of another type; None: as src."""
    undirected: bool = False
    """Each edge stands for both directions; a self-loop for one edge."""
    reverse: bool = False
    """Also the edges against their direction, as a type of their own, for models that reduce at the source. Of no
    meaning if undirected: they are the same edges."""
    seed: int = 42
    text_hash: TextHash = text_keys
    where: Where | None = None
    """Other rows of the table are of other types; its column comes last."""

    @property
    def edge_type(self) -> EdgeType:
        """Of edges: their type, in the direction of the table."""
        return EdgeType.parse(self.type)

    @property
    def edge_types(self) -> tuple[EdgeType, ...]:
        """The types of tiles that the edges are stored in: that of the table first."""
        forward = self.edge_type
        return (forward, forward.reversed) if self.reverse and not self.undirected else (forward,)

    @property
    def texts(self) -> tuple[bool, ...]:
        """Of each key, whether it is text."""
        return (self.text, *[self.text if self.target_text is None else self.target_text] * (len(self.keys) - 1))

    @property
    def columns(self) -> tuple[str, ...]:
        columns = (*self.keys, *(column for value in self.values for column in value.columns))
        return (*columns, self.where.column) if self.where else columns

    def chosen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Of a batch of `columns`, the rows that are meant, without the column that says so."""
        if self.where is None:
            return batch
        *columns, types = batch.columns
        rows = pc.equal(types.cast(pa.string()), self.where.value).fill_null(False)
        names = batch.schema.names[:-1]
        return pa.RecordBatch.from_arrays([column.filter(rows) for column in columns], names)


Look = Callable[[str], object]
"""Finds, in a column of text that should be numbers, a text that is none."""


def table_of(type: str | EdgeType) -> str:
    """What messages, and the manifest, call the table of a type."""
    if isinstance(type, EdgeType):
        return "edges" if type == EDGE else f"edges[{type}]"
    return "nodes" if type == NODE else f"nodes[{spelled(type)}]"


def words_of(table: str) -> str:
    """A table in messages: the node table; of a typed graph the node table nodes[account]."""
    kind = "the node table" if table.startswith("nodes") else "the edge table"
    return kind if table in ("nodes", "edges") else f"{kind} {table}"


def node_layout(
    types: Mapping[str, str], id: str, features: Columned, look: Look | None = None, type: str = NODE
) -> Layout:
    table = table_of(type)
    _check_names(table, types, {id: "id"})
    values = _values(table, types, features, look, joint="x")
    return Layout(table, type, (id,), values, text=_is_text(table, id, types[id]))


def edge_layout(
    types: Mapping[str, str],
    src: str,
    dst: str,
    values: Columned,
    undirected: bool,
    look: Look | None = None,
    reverse: bool = False,
    type: EdgeType = EDGE,
) -> Layout:
    table = table_of(type)
    _check_names(table, types, {src: "src", dst: "dst"})
    text = [_is_text(table, column, types[column]) for column in (src, dst)]
    if text[0] != text[1] and type.source == type.target:
        raise DataError(
            f"{table}.{src} is {types[src]} but {table}.{dst} is {types[dst]}; both are node ids, of one type"
        )
    other = None if text[0] == text[1] else text[1]
    return Layout(
        table, str(type), (src, dst), _values(table, types, values, look), text[0], other, undirected, reverse
    )


def check_id_types(
    nodes: Layout,
    edges: Layout,
    node_types: Mapping[str, str],
    edge_types: Mapping[str, str],
    examples: Mapping[str, str] | None = None,
    end: int = 0,
) -> None:
    """Integers of any size go together; integers and text do not. `examples`: table → an id that is text. `end`: which
    end of the edges is a node of that table, 0 src or 1 dst."""
    if nodes.text != edges.texts[end]:
        (id,), name = nodes.keys, edges.keys[end]
        shown = {table: f" (for example {text!r})" for table, text in (examples or {}).items()}
        raise DataError(
            f"{nodes.table}.{id} is {node_types[id]}{shown.get(nodes.table, '')} but {edges.table}.{name} is "
            f"{edge_types[name]}{shown.get(edges.table, '')}; ids must be integers in both tables, or text in both"
        )


def check_not_swapped(types: Mapping[str, Mapping[str, str]], ids: Mapping[str, Sequence[str]]) -> None:
    """DataError if each table has the id columns of the other one, and lacks its own."""
    own = [set(ids[name]) <= set(types[name]) for name in ("nodes", "edges")]
    other = [set(ids["edges"]) <= set(types["nodes"]), set(ids["nodes"]) <= set(types["edges"])]
    if not any(own) and all(other):
        raise DataError(
            f"the node table has the columns {', '.join(ids['edges'])}, and the edge table {', '.join(ids['nodes'])}; "
            "did you swap nodes and edges?"
        )


def arrow_types(schema: pa.Schema) -> dict[str, str]:
    """Column → Spark's word for its type."""
    return {field.name: word(field.type) for field in schema}


def columns_of(wanted: Columned) -> list[str]:
    """All columns that `features` or `edge_features` names."""
    if wanted is None:
        return []
    if isinstance(wanted, str):
        return [wanted]
    if not isinstance(wanted, Mapping):
        return list(wanted)
    return [column for columns in wanted.values() for column in ([columns] if isinstance(columns, str) else columns)]


def _check_names(table: str, types: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """`wanted`: columns, and the parameter of `Graph` that names each, for the message."""
    for name, option in wanted.items():
        if name in types:
            continue
        near = nearest(name, types)
        # of a typed graph a file may say it, --graph-spec, in which both kinds of columns are called features
        in_file = f", or {option.removeprefix('edge_')} in the graph's file" if "[" in table else ""
        alike = [other for other in types if other.lower() == name.lower()]
        if alike:
            more = f" ({option}={alike[0]!r})"
        elif near.startswith("did"):
            more = f" ({', '.join(types)} exist); {option}= says which column is meant{in_file}"
        else:
            more = f"; {option}= says which column is meant{in_file}"
        raise DataError(f"{table} has no column {name!r}; {near}{more}")


def _is_text(table: str, column: str, type: str) -> bool:
    if type in INTEGERS:
        return False
    if type == "string" or type.startswith(("varchar", "char")):
        return True
    if type == "void":
        raise DataError(
            f"{table}.{column} holds no value, so nobody knows whether ids are integers or strings; give the column "
            "a type, as in pandas: .astype('string')"
        )
    # of NUMBER columns of other databases Spark makes decimal(38,0)
    kind = "bigint" if type.startswith("decimal") else "string" if type.startswith("string") else None
    remedy = f"; cast them, in a view or a DataFrame: CAST({quoted(column)} AS {kind.upper()})" if kind else ""
    raise DataError(f"{table}.{column} is {type}; ids may be integers up to 64 bits, or strings{remedy}")


def _values(
    table: str, types: Mapping[str, str], wanted: Columned, look: Look | None, joint: str | None = None
) -> tuple[ValueColumns, ...]:
    """The values that the user names: a list of columns is one value `joint`, or one value for each."""
    if wanted is None:
        wanted = {}
    elif isinstance(wanted, str):
        wanted = {wanted: wanted}
    elif not isinstance(wanted, Mapping):
        wanted = {joint: tuple(wanted)} if joint and wanted else {name: name for name in wanted}
    return tuple(_value(table, types, name, columns, look) for name, columns in wanted.items())


def _value(table: str, types: Mapping[str, str], name: str, columns: Columns, look: Look | None) -> ValueColumns:
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    _check_names(table, types, dict.fromkeys(columns, "features" if table.startswith("nodes") else "edge_features"))
    arrays = [_is_array(table, column, types[column], look) for column in columns]
    if len(columns) > 1 and any(arrays):
        at = columns[arrays.index(True)]
        raise DataError(f"{table}.{at} is {types[at]}; a list of columns may hold numbers only, an array goes alone")
    return ValueColumns(name, columns, arrays == [True])


def _is_array(table: str, column: str, type: str, look: Look | None) -> bool:
    inner = type.removeprefix("array<").removesuffix(">")
    if inner.partition("(")[0] in NUMBERS:
        return inner != type
    found = look(column) if look and type == "string" else None
    example = "" if found is None else f" (for example {found!r})"
    hint = "; pyspark.ml.functions.vector_to_array makes an array of it" if "vector" in type else ""
    raise DataError(f"{table}.{column} is {type}{example}; values must be numbers or arrays of numbers{hint}")
