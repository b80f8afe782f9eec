"""Several columns of a table as one argument of forward: which they are, in order.

Comes in: what `inputs` says, a list. Goes out: the table and the names of its columns, or a ModelError that says how
to write them. Knows nothing of modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.errors import ModelError, shortened

TABLES = ("nodes", "edges")


class Several(NamedTuple):
    """Columns of one table, each a number of a row."""

    table: str
    names: tuple[str, ...]

    def column_of(self, argument: str) -> str:
        """What a graph calls them together."""
        return f"{self.table}.{argument}"


def several_columns(argument: str, told: Sequence[Any], usual: str | None, tables: Sequence[str] = TABLES) -> Several:
    """The columns that make an argument. `usual`: the table of an argument of this name, whose columns need no prefix.
    `tables`: what they may be of.

    ModelError if they are none, of two tables or of an unknown one, or if one is there twice: a module was trained on
    each of its columns once.
    """
    if not told or not all(isinstance(each, str) and each for each in told):
        raise ModelError(f"inputs gives {argument!r} as {shortened(told)}; a list of names of columns is expected")
    split = [each.partition(".") for each in told]
    spelled = [table for table, dot, key in split if dot and key and table in tables]
    if len(spelled) == len(told):
        names = tuple(key for _, _, key in split)
    elif not spelled and usual is not None:
        spelled, names = [usual], tuple(told)
    else:
        forms = " or ".join(str([f"{table}.COLUMN" for _ in told[:2]]) for table in tables)
        raise ModelError(f"inputs gives {argument!r} as {shortened(told)}; say of which table each column is: {forms}")
    if len(set(spelled)) > 1:
        raise ModelError(
            f"inputs gives {argument!r} columns of both tables, {shortened(told)}; an argument has a row per node, or "
            "a row per edge"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelError(f"inputs gives {argument!r} the column {twice!r} twice; name each column once, in their order")
    return Several(spelled[0], names)
