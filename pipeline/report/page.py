"""The page of a run: HTML in one file, which asks for nothing from anywhere.

Comes in: facts, as `--json` says them. Goes out: text. Knows nothing of how they were found. All that
stands in the facts is data of somebody: the template escapes every word of it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.plan.seconds import duration
from pipeline.report import plots
from pipeline.report.page_file import marks
from pipeline.shown import size

TEMPLATES = Path(__file__).parent / "templates"
MOST_CLASSES = 20  # that are drawn: the most frequent ones
MOST_TYPES = 12  # of edges whose degrees are drawn
NOTHING = "–"

Facts = Mapping[str, Any]


def render(template: str, facts: Facts, **more: Any) -> str:
    """A page from one of the templates: everything in `facts` and `more` is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # the templates' names end in .j2, by which jinja2 would not know that they are HTML: always
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"count": _count, "number": _number, "bytes": _bytes, "seconds": _seconds, "text": _text}
    return environment.get_template(template).render(f=facts, **more)


def run_page(command: str, facts: Facts) -> str:
    """The page of a run. `facts`: those of the command, and under "report" what only the page asks for."""
    told = facts["report"]
    return render(
        "run.html.j2", facts, command=command, r=told, marks=safe(marks(facts.get("run"))), plots=_plots(facts, told)
    )


def _plots(facts: Facts, told: Facts) -> dict[str, Any]:
    """What is drawn, by what it shows; as the source of an image, in which nothing can run."""
    found: dict[str, Any] = {"supersteps": None, "blocks": None, "columns": {}, "classes": {}, "degrees": {}}
    steps, forecast = facts.get("supersteps") or [], (told.get("forecast") or {}).get("supersteps") or []
    if steps and len(steps) == len(forecast):
        pair = [step["seconds"] for step in steps], [step["seconds"] for step in forecast]
        found["supersteps"] = _image(plots.pairs(*pair, [str(step["number"]) for step in steps]))
    blocks = told.get("blocks")
    if blocks and blocks["edges"] and len(blocks["edges"]) > 1:
        found["blocks"] = _image(plots.many(blocks["edges"], blocks["median_edges"]))
    degrees = (told.get("degrees") or {}).get("edge_types") or {}
    for type, of in list(degrees.items())[:MOST_TYPES]:
        labels = [_span(bar) for bar in of["bars"]]
        found["degrees"][type] = _image(plots.labelled([bar["nodes"] for bar in of["bars"]], labels, True))
    for type, of in ((told.get("scores") or {}).get("tables") or {}).items():
        found["columns"][type] = [
            _image(plots.histogram(bars["counts"], bars["from"], bars["to"])) if bars else None
            for bars in (column["bars"] for column in of["distributions"])
        ]
        found["classes"][type] = [_classes(each) for each in of["classes"]]
    return found


def _classes(of: Facts) -> dict[str, Any]:
    """The most frequent classes and a drawing of how often each is the predicted one; None where there is no row."""
    first = frequent(of["counts"])
    image = _image(plots.labelled([n for _, n in first], [str(at) for at, _ in first])) if any(of["counts"]) else None
    return {"first": first, "image": image}


def frequent(counts: list[int]) -> list[tuple[int, int]]:
    """The most frequent classes with their counts, by class."""
    order = sorted(range(len(counts)), key=lambda at: (-counts[at], at))[:MOST_CLASSES]
    return [(at, counts[at]) for at in sorted(order)]


def _span(bar: Facts) -> str:
    low, high = bar["from"], bar["to"]
    return _short(low) if low == high else f"{_short(low)}–{_short(high)}"


def _short(count: int) -> str:
    for step, word in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if count >= step:
            return f"{count >> (step.bit_length() - 1)}{word}"
    return str(count)


def _image(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def safe(html: str) -> Any:
    """Text of ours that is HTML already."""
    from markupsafe import Markup

    return Markup(html)


# ---- how facts are written


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _number(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.5g}"


def _bytes(number: float | None) -> str:
    return NOTHING if number is None else size(int(number))


def _seconds(number: float | None) -> str:
    if number is None:
        return NOTHING
    return duration(number) if number >= 9.95 else f"{number:.2f} s" if math.isfinite(number) else str(number)


def _text(item: Any) -> str:
    """Of a fact of any kind: words, numbers, lists and mappings of them."""
    if item is None:
        return NOTHING
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return _count(item)
    if isinstance(item, float):
        return _number(item)
    if isinstance(item, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in item.items()) or NOTHING
    if isinstance(item, list | tuple):
        return ", ".join(map(_text, item)) or NOTHING
    return str(item)
