"""What is wrong with the user's tables: found while their rows pass by, told once.

Comes in: findings, small counts with up to three examples, from every task that sees rows. Goes out: one `DataError`
that lists them all. Knows nothing of Spark: findings travel beside the data, so that no check costs a job of its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import DataError
from pipeline.shown import counted
from pipeline.tables.layout import Layout

EXAMPLES = 3
LONGEST = 100  # letters of an example


@dataclass(frozen=True)
class Finding:
    """`count` rows of a table's column with the same thing to tell, and some of their ids, smallest first."""

    table: str
    """What the table is called: nodes or edges, nodes[account]."""
    column: str
    what: str
    """One of `REMEDIES`, or `width`: arrays of length `width`, which is wrong only if there is another."""
    count: int
    examples: tuple[int | str, ...] = ()
    width: int = 0

    def to_bytes(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Finding:
        fields = json.loads(data)
        return Finding(**{**fields, "examples": tuple(fields["examples"])})


REMEDIES = {  # what is counted, and the rest of the sentence about it
    "null": ("null", "{count}{examples}; fill them or drop these rows"),
    "not finite": ("row", "NaN or infinite numbers in {count}{examples}; replace them"),
    "no text": ("text", "{count} not in UTF-8{examples}; store them in UTF-8"),
    "duplicate": ("id", "{count} more than once{examples}; keep one row for each"),
    "collision": ("id", "{count} with the 64-bit hash of another{examples}; rename one of them"),
    "dangling": (
        "id",
        "{count} absent from the nodes{examples}; add these nodes, or leave their edges out with drop_dangling=True",
    ),
}


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each (table, column, what, width): counts added, the smallest examples kept."""
    same: dict[tuple[str, str, str, int], list[Finding]] = defaultdict(list)
    for finding in findings:
        same[finding.table, finding.column, finding.what, finding.width].append(finding)
    return [
        Finding(
            table,
            column,
            what,
            sum(finding.count for finding in group),
            tuple(sorted({example for finding in group for example in finding.examples})[:EXAMPLES]),
            width,
        )
        for (table, column, what, width), group in sorted(same.items(), key=lambda item: item[0])
    ]


def name_texts(findings: Iterable[Finding], look_up: Callable[[str, list[int]], Mapping[int, str]]) -> list[Finding]:
    """Findings about edge ends name hashes when ids are text; `look_up` finds, in a column, the texts behind them."""
    spelled = []
    for finding in findings:
        keys = [example for example in finding.examples if isinstance(example, int)]
        if finding.what == "dangling" and keys:
            # a DataFrame that is computed anew may hold other edges by now: no example then
            texts = look_up(finding.column, keys)
            finding = dataclasses.replace(finding, examples=tuple(sorted(texts[key] for key in keys if key in texts)))
        spelled.append(finding)
    return spelled


def refuse(findings: Iterable[Finding]) -> None:
    """Raise one DataError for all that is wrong; do nothing if nothing is."""
    merged = merge(findings)
    lines = [_sentence(finding) for finding in merged if finding.what != "width"]
    widths: dict[str, list[Finding]] = defaultdict(list)
    for finding in merged:
        if finding.what == "width":
            widths[f"{finding.table}.{finding.column}"].append(finding)
    for column, found in sorted(widths.items()):
        if [finding.width for finding in found] == [0]:
            count = counted(found[0].count, "row")
            lines.append(
                f"{column} holds arrays without numbers in {count}{_first(found[0].examples)}; drop the column"
            )
        elif len(found) > 1:
            lines.append(f"{column} holds arrays of different lengths: {_lengths(found)}; they must be the same")
    if lines:
        raise DataError("\n".join(lines))


def check_totals(manifest: Mapping[str, Any], rows: Mapping[str, int | None], layouts: Iterable[Layout]) -> None:
    """Whether what is stored of a graph is all that was read: nothing lost on the way, nothing twice.

    `rows`: what a table is called → its rows, if they were known before it was read.

    Raises
    ------
    DataError
        If a table gave other rows than it has.
    """
    for layout in layouts:
        if len(layout.keys) == 1:
            _check_rows(layout.table, sum(manifest["node_types"][layout.type]["nodes"]), rows[layout.table])
            continue
        totals = {name: sum(numbers) for name, numbers in manifest["edge_types"][layout.type].items()}
        assert totals["payload_rows_in"] == totals["payload_rows_out"], "every block is sent what its tiles read"
        # an undirected edge is stored twice, but for a self-loop; of those that were dropped it is not known which it
        # was
        directions = 2 if layout.undirected else 1
        loops = totals["self_loops"] if layout.undirected else 0
        if not (layout.undirected and totals["dropped"]):
            stored = (totals["edges"] + loops + totals["dropped"]) // directions
            _check_rows(layout.table, stored, rows[layout.table])


def _check_rows(table: str, count: int, known: int | None) -> None:
    if known is not None and count != known:
        raise DataError(
            f"{table} has {counted(known, 'row')}, but {count:,} came when it was read: it was changed meanwhile; "
            f"run again when nobody writes it"
        )


def _sentence(finding: Finding) -> str:
    noun, rest = REMEDIES[finding.what]
    told = rest.format(count=counted(finding.count, noun), examples=_first(finding.examples))
    return f"{finding.table}.{finding.column} holds {told}"


def _first(examples: Sequence[int | str]) -> str:
    return f" (first: {', '.join(map(_shown, examples))})" if examples else ""


def _shown(example: int | str) -> str:
    text = str(example)
    if text != text.strip():  # as CHAR(n) of a database has them: nobody would see why it is another id
        text = f"'{text}'"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _lengths(found: list[Finding]) -> str:
    """The usual length without examples, then the others."""
    usual, *others = sorted(found, key=lambda finding: (-finding.count, finding.width))
    return f"{usual.width} in {counted(usual.count, 'row')}, " + ", ".join(
        f"{finding.width} in {counted(finding.count, 'row')}{_first(finding.examples)}" for finding in others
    )
