"""How objects of the library are shown: a few lines of text, and the same as a table in notebooks.

Comes in: a title, and facts by name; a number of bytes. Goes out: text, or HTML. Knows nothing of what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

MOST = 4  # of the same kind that are named
LONGEST = 200  # letters of a line


def text(title: str, facts: Mapping[str, str]) -> str:
    """The title, and a line for each fact.

    >>> print(text("Graph", {"nodes": "3", "edges": "5"}))
    Graph
      nodes  3
      edges  5
    """
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {_short(fact)}" for name, fact in facts.items())])


def html(title: str, facts: Mapping[str, str]) -> str:
    """The same as a table."""
    left = 'style="text-align:left"'
    rows = "".join(
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(_short(fact))}</td></tr>" for name, fact in facts.items()
    )
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def some(items: Iterable[str], most: int = MOST) -> str:
    """The first ones by name, and how many more there are."""
    each = list(items)
    return ", ".join(each[:most]) + (f" and {len(each) - most:,} more" if len(each) > most else "")


def size(count: float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, one: str, several: str | None = None) -> str:
    """1 node, 2 nodes, 20,000 nodes."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _short(fact: str) -> str:
    line = " ".join(fact.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
