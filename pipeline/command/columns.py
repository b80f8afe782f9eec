"""Options of the command line that name columns, or say how CSV is read, from their texts.

Comes in: texts. Goes out: names of columns; a `Csv`. Opens no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError

if TYPE_CHECKING:
    from pipeline.tables.csv_text import Csv


def csv_options(sep: str | None, no_header: bool, encoding: str | None, ids: str | None) -> Csv | None:
    """None if nothing was said about CSV. A separator may be spelt \\t or tab, which shells make hard to type."""
    given = {"sep": {"\\t": "\t", "tab": "\t"}.get(sep or "", sep), "encoding": encoding, "ids": ids}
    given = {name: value for name, value in given.items() if value is not None}
    if not given and not no_header:
        return None
    from pipeline.tables.csv_text import Csv

    return Csv(**given, header=not no_header)  # type: ignore[arg-type]


def column_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def feature_columns(text: str) -> list[str] | dict[str, list[str]]:
    """Columns that are x together, one too; with NAME=COLUMN among them, or NAME=COLUMN+COLUMN, that one is a feature
    of its own."""
    together = [name for name in column_names(text) if "=" not in name]
    alone = _named(text)
    if not alone:
        return together
    return {**({"x": together} if together else {}), **alone}


def edge_columns(text: str) -> dict[str, list[str]]:
    """Columns of edges, each a value of its name; NAME=COLUMN+COLUMN makes one value of several."""
    return {**{name: [name] for name in column_names(text) if "=" not in name}, **_named(text)}


def _named(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in column_names(text):
        name, equals, made = each.partition("=")
        if not equals:
            continue
        columns = [column.strip() for column in made.split("+")]
        if not name.strip() or not all(columns):
            raise SettingError(f"{each!r}: write NAME=COLUMN, or NAME=COLUMN+COLUMN")
        if name.strip() in found:
            raise SettingError(f"{name.strip()!r} is given twice: {text}")
        found[name.strip()] = columns
    return found


def input_column(text: str) -> tuple[str, Any]:
    """edge_weight=edges.weight, edge_weight=none, edge_attr=edges.a+edges.b, edges=edge_index,
    adj_t=edge_index+edges.weight"""
    name, found, column = text.partition("=")
    index, plus, values = column.partition("+")
    if plus and index != "edge_index":
        given: Any = column.split("+")
    else:
        given = (index, None if values == "none" else values) if plus else None if column == "none" else column
    if not found or not name or not column or (isinstance(given, str) and "." not in given and given != "edge_index"):
        raise SettingError(
            f"--input {text}: write NAME=TABLE.COLUMN, like edge_weight=edges.weight; NAME=none; several columns "
            "edge_attr=edges.a+edges.b; or for a matrix "
            "adj_t=edge_index+edges.weight, adj_t=edge_index+gcn_norm, adj_t=edge_index+none"
        )
    return name, given
