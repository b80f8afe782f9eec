"""What forward takes: which argument is which column, how wide, and whether of integers; which are None, or a matrix.

Comes in: a module's signature and what the user says about it. Goes out: the arguments, or a ModelError that says what
to add. What nobody gave is found by trying: rows of floats first, then of integers, such as the categories that an
embedding takes.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from pipeline.errors import ModelError, nearest
from pipeline.formula.operations import MOST_ROWS
from pipeline.formula.spaces import Edges, Nodes, parse_space
from pipeline.pyg.asked import Unanswered, is_matrix
from pipeline.pyg.several_columns import several_columns
from pipeline.pyg.types import UNTYPED, Types

EDGE_INDEX = "edge_index"
GCN_NORM, COLUMN = "gcn_norm", "column"  # what the values of a matrix are
TABLES = {"x": "nodes", "edge_weight": "edges", "edge_attr": "edges"}  # what PyG's own arguments are
TRIALS = 2000  # forwards on a graph of a few edges
ANY = 8  # integers of an argument that is only compared with numbers: any would do

Told = int | range | type[bool] | Sequence[int | range]
Features = int | range | Mapping[str, Told] | None
Source = str | Sequence[str | None] | None
Inputs = Mapping[str, Source] | None
"""Argument → its column or columns, "edge_index", a matrix such as ("edge_index", "edges.weight"), or None."""


@dataclass(frozen=True)
class Argument:
    """A tensor that forward takes: an attribute of `data`, or a parameter of its own."""

    name: str
    column: str
    """"nodes.x" """
    shape: tuple[int, ...]
    """of a row"""
    below: int | None = None
    """Integers from 0 to below this; None: floats."""
    mask: bool = False
    """Truth values."""
    made_of: tuple[str, ...] = ()
    """The columns that it is put together from, one number each, if it is not one column."""
    parameter: str = ""
    """Of several types: the parameter that takes this one's tensor in a dict, or the attribute of a HeteroData."""

    @property
    def space(self) -> Nodes | Edges:
        """What it has one row per."""
        space = parse_space(self.column.partition(".")[0])
        assert isinstance(space, Nodes | Edges)
        return space

    @property
    def input(self) -> str:
        """The program's name for it."""
        return self.parameter.removesuffix("_dict") or self.name


@dataclass(frozen=True)
class Matrix:
    """An argument that takes the edges as a sparse matrix of (dst, src), as PyG's `adj_t` is."""

    name: str
    values: str | None
    """"column": those of the argument of this name; "gcn_norm": as PyG's gcn_norm makes them; None: all are 1."""


@dataclass(frozen=True)
class Signature:
    """How forward is called."""

    arguments: tuple[Argument, ...]
    indices: tuple[str, ...]
    """The parameters that take edge_index."""
    as_data: str | None = None
    """The parameter that takes everything as one Data object."""
    matrices: tuple[Matrix, ...] = ()
    none: tuple[str, ...] = ()
    """Arguments, or attributes of data, that the user says are None."""
    left_out: tuple[str, ...] = ()
    """Optional arguments that nobody gave."""
    types: Types = UNTYPED


Forward = Callable[[Signature], object]


class Form(NamedTuple):
    """What the rows of an argument may be."""

    rank: int
    """How unlikely: of several forms that fit, the ones of the lowest rank count."""
    shape: tuple[int, ...]
    below: int | None = None
    """As in Argument; 1 stands for as many as will be found."""
    mask: bool = False


STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _is_of_matrix(told: Any) -> bool:
    """Whether it says what the values of a matrix are; `_matrix` checks the rest."""
    if not isinstance(told, tuple | list) or not told:
        return False
    return told[0] == EDGE_INDEX or (isinstance(told, tuple) and told[0] in ("nodes", "edges"))  # a table, no column


def signature(net: torch.nn.Module, inputs: Inputs) -> Signature:
    """The arguments of forward, without their widths.

    `inputs`: argument → "nodes.COLUMN", "edges.COLUMN", a list of columns, "edge_index", ("edge_index", values of a
    matrix), or None.
    Required parameters called x, edge_index, edge_weight and edge_attr need no mention.
    """
    given = dict(inputs or {})
    several = {
        name: several_columns(name, told, _usual_table(name))
        for name, told in given.items()
        if isinstance(told, list | tuple) and not _is_of_matrix(told)
    }
    given |= {name: columns.column_of(name) for name, columns in several.items()}
    parameters = inspect.signature(net.forward).parameters
    named = {name: parameter for name, parameter in parameters.items() if parameter.kind not in STARS}
    required = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    as_data = required[0] if required == ["data"] else None
    if as_data:
        required = ["x", EDGE_INDEX]
    elif not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in given:
            if name not in named:
                raise ModelError(f"inputs names {name!r}, which forward does not take; {nearest(name, named)}")
    matrices = {name: _matrix(name, told) for name, told in given.items() if not isinstance(told, str | None)}
    index = next((name for name, told in given.items() if told == EDGE_INDEX), None)
    if index is not None and _is_matrix(named, index):
        raise ModelError(
            f"inputs gives {index!r} the edge_index, which has no values, and a matrix has: {_matrix_forms(index)}"
        )
    if index is None and (as_data or EDGE_INDEX in named or not matrices):
        index = EDGE_INDEX
    columns = {}
    for name in dict.fromkeys([*required, *given]):
        if name == index or (name in given and given[name] is None):
            continue
        if name in matrices:
            if matrices[name].values == COLUMN:
                columns[name] = _column(name, str(list(given[name] or ())[1]), ("edges",))
            continue
        columns[name] = _column(name, str(given.get(name) or _own_column(name, named)), ("nodes", "edges"))
    if as_data is None and index not in named and not matrices:
        if type(net).__name__ == "HeteroConv":
            raise ModelError(
                "HeteroConv is a layer of typed graphs, whose forward tells nothing of its arguments: write a module "
                "with forward(self, x_dict, edge_index_dict) around it, and import that"
            )
        raise ModelError(f"forward takes no edge_index; it takes {', '.join(named) or 'nothing'}")
    return Signature(
        tuple(
            Argument(name, column, (), made_of=several[name].names if name in several else ())
            for name, column in columns.items()
        ),
        () if index is None else (index,),
        as_data,
        tuple(matrices.values()),
        tuple(name for name, told in given.items() if told is None),
        tuple(
            STARS.get(parameter.kind, "") + name
            for name, parameter in parameters.items()
            if name not in (*required, *given, index, as_data)
        ),
    )


_PAIRS = (
    "the pairs of a link predictor: that is no output for each node. Import its encoder, the part that makes the "
    "embeddings of the nodes, and score pairs of these"
)
OTHER_TASKS = {
    "edge_label_index": _PAIRS,
    "edge_label": _PAIRS,
    "batch": "the graph that each node is of: a module that pools has no output for each node. Import the part before "
    "its pooling; if it only norms by graph, inputs={'batch': 'nodes.COLUMN'} names a column",
}
"""Argument that modules for other tasks take → what to do instead."""


def _usual_table(name: str) -> str | None:
    return TABLES.get(name) or ("edges" if name.startswith("edge") else None)


def _own_column(name: str, named: Mapping[str, inspect.Parameter]) -> str:
    """The column of an argument that inputs does not name."""
    if name in TABLES:
        return f"{TABLES[name]}.{name}"
    if _is_matrix(named, name):
        raise ModelError(f"forward takes {name!r}: if it is the graph, {_matrix_forms(name)}")
    if name in OTHER_TASKS:
        raise ModelError(f"forward takes {name!r}, {OTHER_TASKS[name]}")
    raise ModelError(
        f"forward takes {name!r}: say where it comes from, "
        f"inputs={{{name!r}: 'nodes.COLUMN'}} or 'edges.COLUMN' (or 'edge_index')"
    )


def _column(name: str, column: str, tables: Sequence[str]) -> str:
    table, _, key = column.partition(".")
    if table not in tables or not key:
        raise ModelError(f"input {name!r} is {column!r}; write {' or '.join(f'{each}.COLUMN' for each in tables)}")
    return column


def _is_matrix(named: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Whether a parameter looks like a matrix: by its name, or its type."""
    annotation = str(named[name].annotation) if name in named else ""
    return is_matrix(name) or ("SparseTensor" in annotation and "Union" not in annotation)


def _matrix_forms(name: str) -> str:
    """How a matrix is given, for messages."""
    return (
        f"say what its values are: inputs={{{name!r}: ('edge_index', 'edges.COLUMN')}}, or "
        f"inputs={{{name!r}: ('edge_index', 'gcn_norm')}} if PyG's gcn_norm made it before training, or "
        f"inputs={{{name!r}: ('edge_index', None)}} if all of them are 1"
    )


def _matrix(name: str, told: Any) -> Matrix:
    """What inputs says of a matrix."""
    parts = tuple(told) if isinstance(told, tuple | list) else ()
    if len(parts) != 2 or parts[0] != EDGE_INDEX or not isinstance(parts[1], str | None):
        raise ModelError(f"input {name!r} is {told!r}; write a column, or for a matrix ('edge_index', VALUES)")
    return Matrix(name, parts[1] if parts[1] in (None, GCN_NORM) else COLUMN)


def with_widths(net: torch.nn.Module, found: Signature, features: Features, run: Forward) -> Signature:
    """The same arguments with the shapes of their rows, and which of them are integers.

    `run`: forward on a small graph, which raises where a width does not fit.
    """
    given = {"x": features} if isinstance(features, int | range) else dict(features or {})
    names = [argument.name for argument in found.arguments]
    for name in given:
        if name not in names:
            raise ModelError(f"features names {name!r}, which is no input; {nearest(name, names)}")
    _check_widths(found, given)
    given = {**{argument.name: (len(argument.made_of),) for argument in found.arguments if argument.made_of}, **given}
    matrices = {matrix.name for matrix in found.matrices}
    choices = [_choices(net, argument, given.get(argument.name), matrices) for argument in found.arguments]
    fitting, failure = _fitting(found, choices, run)
    if len(fitting) == 1:
        return _with_ranges(fitting[0], given, run)
    likely = [[form for form in forms if form.rank == 0] for forms in choices]
    open_names = [name for name, forms in zip(names, likely, strict=True) if len(forms) != 1]
    if not fitting and not open_names:
        return _formed(found, [forms[0] for forms in likely])  # what is wrong with it, its recording will say
    what = "several widths fit" if fitting else "no width was found that fits"
    why = "" if fitting else f" (the last failure: {failure})"
    asked = ", ".join(f"{name!r}: WIDTH" for name in open_names or names)
    raise ModelError(
        f"{what} {' and '.join(open_names or names)} of {type(net).__name__}; give features={{{asked}}}{why}"
    )


def _check_widths(found: Signature, given: Mapping[str, Told]) -> None:
    """ModelError if `features` gives an argument another width than it has columns."""
    for argument in found.arguments:
        if not argument.made_of or argument.name not in given:
            continue
        shape = told_forms(argument.name, given[argument.name])[0].shape
        if math.prod(shape) != len(argument.made_of):
            raise ModelError(
                f"features gives {argument.name!r} rows of {math.prod(shape)} numbers, inputs gives it "
                f"{len(argument.made_of)} columns: {', '.join(argument.made_of)}"
            )


def _choices(net: torch.nn.Module, argument: Argument, given: Any, matrices: Collection[str]) -> list[Form]:
    """Forms that the rows of an argument may have."""
    if given is not None:
        return told_forms(argument.name, given)
    if argument.name == "edge_weight" or argument.name in matrices:
        return [Form(0, ())]
    known = {"x": "in_channels", "edge_attr": "edge_dim"}.get(argument.name)
    width = getattr(net, known, None) if known else None
    if isinstance(width, tuple | list) and len(set(width)) == 1:
        width = width[0]
    if isinstance(width, int) and width > 0:
        return [Form(0, (width,)), Form(1, (), 1), Form(2, (), None)]
    sizes = sorted({size for tensor in net.parameters() for size in tensor.shape})
    wide = [(size,) for size in sizes]
    # x and edge_attr are rows of several numbers in most models, other arguments mostly a number: a kind, an age
    number, row = (2, 0) if argument.name in TABLES else (0, 2)
    forms = [Form(number, ()), Form(1, (), 1), *(Form(row, shape) for shape in wide)]
    forms += [Form(3, shape, 1) for shape in dict.fromkeys([(1,), *wide])]
    # what is joined with an embedding is narrower than the map behind it
    left = {a - b for a, b in itertools.combinations(reversed(sizes), 2)} - set(sizes)
    forms += [Form(row + 1, (size,)) for size in sorted(left)]
    if argument.name.endswith("mask"):  # integers would pass too: as the numbers of rows
        return [Form(0, ()), Form(1, (), mask=True), *(form._replace(rank=form.rank + 2) for form in forms)]
    return forms


def told_forms(name: str, given: Any) -> list[Form]:
    """What `features` says: a width, a shape; range(10) for integers, at the end of several; bool for a mask."""
    if given is bool:
        return [Form(0, (), mask=True)]
    parts = (given,) if isinstance(given, int | range) else tuple(given)
    if parts and isinstance(parts[-1], range):
        numbers = parts[-1]
        if (numbers.start, numbers.step) != (0, 1) or not numbers:
            raise ModelError(f"features gives {name!r} {numbers}; write integers as range(K), for 0 to K - 1")
        return [Form(0, tuple(map(int, parts[:-1])), numbers.stop)]
    shape = tuple(map(int, parts))
    return [Form(0, shape), Form(1, shape, 1)]


def _fitting(found: Signature, choices: Sequence[Sequence[Form]], run: Forward) -> tuple[list[Signature], str]:
    """The likeliest signatures with which forward runs, and what the last one that did not run said."""
    by_rank = sorted(itertools.product(*choices), key=lambda forms: sum(form.rank for form in forms))
    fitting: list[Signature] = []
    rank, failure = 0, "nothing to try"
    for forms in by_rank[:TRIALS]:
        if fitting and sum(form.rank for form in forms) > rank:
            break
        rank = sum(form.rank for form in forms)
        candidate = _formed(found, forms)
        failed = _failure(candidate, run)
        if failed is not None:
            failure = failed
        elif all(  # integers are guessed only where floats do not do
            form.below is None or form.rank == 0 or _failure(_with(candidate, place, None), run) is not None
            for place, form in enumerate(forms)
        ):
            fitting.append(candidate)
    return fitting, failure


def _failure(candidate: Signature, run: Forward) -> str | None:
    """What forward says where it does not run."""
    try:
        run(candidate)
    except Unanswered:  # no width helps
        raise
    except Exception as error:  # whatever a module raises at a width that does not fit
        return str(error)
    return None


def _with_ranges(found: Signature, given: Mapping[str, Any], run: Forward) -> Signature:
    """With as many different integers as forward takes: the rows of an embedding, the classes of a one-hot row."""
    for place, argument in enumerate(found.arguments):
        told = told_forms(argument.name, given[argument.name]) if argument.name in given else []
        if argument.below is not None and not (told and told[0].below):
            found = _with(found, place, _most(found, place, run))
    return found


def _most(found: Signature, place: int, run: Forward) -> int:
    """As many different integers as an argument may be, found by doubling and halving."""
    low, high = 1, 2
    while _failure(_with(found, place, high), run) is None:
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return ANY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _failure(_with(found, place, middle), run) is None else (low, middle)
    return low


def _with(found: Signature, place: int, below: int | None) -> Signature:
    arguments = list(found.arguments)
    arguments[place] = replace(arguments[place], below=below)
    return replace(found, arguments=tuple(arguments))


def _formed(found: Signature, forms: Sequence[Form]) -> Signature:
    arguments = (
        replace(argument, shape=form.shape, below=form.below, mask=form.mask)
        for argument, form in zip(found.arguments, forms, strict=True)
    )
    return replace(found, arguments=tuple(arguments))
