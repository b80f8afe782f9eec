"""Options of the command line that name columns or classes, or say how CSV is read, from their texts.

Comes in: texts. Goes out: names of columns, of classes; a `Csv`. Opens no file but one of names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, reason_of, shortened

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


def columns_by_type(given: Sequence[str]) -> str | dict[str, str] | None:
    """COLUMN, for all node types, or TYPE=COLUMN once for each; None if nothing is said."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    found: dict[str, str] = {}
    for text in given:
        type, equals, column = text.partition("=")
        if not (type and equals and column):
            raise SettingError(f"--blocks-by {text}: one column for all node tables, or TYPE=COLUMN for each of them")
        if type in found:
            raise SettingError(f"--blocks-by names the type {type!r} twice; give it one column")
        found[type] = column
    return found or None


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
    adj_t=edge_index+edges.weight, adjs=edge_index+edge_index; a number, scale=2.0, or true or false; a table of edges,
    pos_edge_index=pos"""
    name, found, column = text.partition("=")
    index, plus, values = column.partition("+")
    given: Any = _constant(column)
    if given is not None:
        return _named_input(text, name), given
    if plus and (index != "edge_index" or set(values.split("+")) == {"edge_index"}):
        given = column.split("+")
    else:
        given = (index, None if values == "none" else values) if plus else None if column == "none" else column
    word = isinstance(given, str) and "." not in given and given not in WORDS
    if not found or not column or (word and (name in COLUMNS or not re.search("edge|^ei_|_ei$", name.lower()))):
        raise _no_input(text)
    return _named_input(text, name), given


WORDS = ("edge_index", "num_nodes", "data", "node_ids")
COLUMNS = ("edge_weight", "edge_attr")  # never the edges themselves, which the name of a table stands for


def _constant(text: str) -> bool | int | float | None:
    """A number, or true or false; None if it is something else."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text) if text[:1] in "+-.0123456789" and "_" not in text else None
        except ValueError:
            continue
    return None


def _named_input(text: str, name: str) -> str:
    if not name:
        raise _no_input(text)
    return name


def _no_input(text: str) -> SettingError:
    return SettingError(
        f"--input {text}: write NAME=TABLE.COLUMN, like edge_weight=edges.weight; NAME=none; a number, scale=2.0; "
        "several columns edge_attr=edges.a+edges.b; or for a matrix "
        "adj_t=edge_index+edges.weight, adj_t=edge_index+gcn_norm, adj_t=edge_index+none; of several sets of edges "
        "pos_edge_index=TABLE"
    )


def output_names(text: str | None) -> list[str] | dict[str, str]:
    """NAME[,NAME…], with NAME=NAME_IN_FORWARD among them."""
    names = column_names(text or "")
    if not any("=" in name for name in names):
        return names
    found: dict[str, str] = {}
    for each in names:
        name, equals, of = (part.strip() for part in each.partition("="))
        if not name or (equals and not of):
            raise SettingError(f"--outputs {text}: write NAME,NAME or NAME=NAME_IN_FORWARD")
        if name in found:
            raise SettingError(f"--outputs {text}: {name!r} is given twice")
        found[name] = of or name
    return found


def class_names(texts: Sequence[str]) -> Any:
    """NAME,NAME,…, or the path of a file with one name a line; or OUTPUT=NAME,NAME, each time for another output.

    Raises
    ------
    SettingError
        If two are for the same output, or only some say for which they are.
    StorageError
        If the file cannot be read.
    """
    if len(texts) == 1 and "=" not in texts[0].partition(",")[0]:
        return _names_of(texts[0])
    found: dict[str, list[str]] = {}
    for text in texts:
        output, equals, names = text.partition("=")
        if not equals or "," in output or not output.strip():
            raise SettingError(f"--classes {shortened(text)}: write OUTPUT=NAME,NAME for each of several outputs")
        if output.strip() in found:
            raise SettingError(f"--classes: output {output.strip()!r} is given twice")
        found[output.strip()] = _names_of(names)
    return found


def _names_of(text: str) -> list[str]:
    """With a comma these are the names; else it is a file: a class alone is no choice."""
    if "," in text:
        return [name.strip() for name in text.split(",")]
    try:
        with open(text, encoding="utf-8-sig") as file:
            lines = file.read(MOST_NAMES + 1)
    except FileNotFoundError:
        raise SettingError(
            f"--classes {shortened(text)}: there is no such file; write the names with commas, NAME,NAME, or give a "
            "file with one name a line"
        ) from None
    except (OSError, ValueError) as error:
        said = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else reason_of(text, error)
        raise StorageError(f"--classes {shortened(text)}: cannot be read: {said}") from error
    if len(lines) > MOST_NAMES:
        raise SettingError(
            f"--classes {shortened(text)}: has more than {MOST_NAMES:,} letters; one name a line is expected"
        )
    return [line.strip() for line in lines.rstrip().split("\n")]


MOST_NAMES = 1 << 24
"""Letters of a file of names."""
