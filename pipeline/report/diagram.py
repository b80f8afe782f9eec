"""A plan as a drawing: a box for each superstep, between two of them an arrow for each exchange, as wide as its bytes.

Comes in: a plan, the counts of a graph. Goes out: boxes, arrows and texts with their places, for a template to draw.
Knows nothing of SVG, and escapes nothing: the template does.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import kept_bytes, kept_lanes, shipment_bytes, shipped_rows, total_bytes
from pipeline.plan.superstep import Superstep
from pipeline.schema import EDGE, EdgeType
from pipeline.shown import size
from pipeline.tables.types import spelt

WIDTH, LEFT, BOX = 900, 20, 660
LINE, PAD, GAP = 18, 12, 26
LETTERS, LABEL = 78, 104  # of a line in a box, and of one beside an arrow
MOST = 8  # exchanges between two supersteps that are drawn, those of most bytes; all are in the table


@dataclass(frozen=True)
class Text:
    """A line of a box: at x, y."""

    x: int
    y: int
    words: str
    whole: str
    """What was cut from it is shown when somebody points at it."""


@dataclass(frozen=True)
class Box:
    y: int
    height: int
    title: Text
    lines: tuple[Text, ...]


@dataclass(frozen=True)
class Arrow:
    """Straight down."""

    x: int
    top: int
    bottom: int
    thick: float
    label: Text


def exchanges(plan: Plan, counts: Counts) -> list[dict[str, Any]]:
    """For programs: keys that stay. What is sent after each superstep, and kept."""
    found: list[dict[str, Any]] = []
    for step in plan.steps:
        for shipment in step.ships:
            rows, partials = shipped_rows(counts, shipment)
            found.append(
                {
                    "after_superstep": step.number,
                    "kind": "push" if shipment.push else "pull",
                    "edges": str(shipment.edge_type),
                    "columns": shipment.width,
                    "rows": rows,
                    "partial_results": partials if shipment.push else 0,
                    "bytes": shipment_bytes(counts, shipment),
                }
            )
        if step.totals:
            found.append(_other(step, "totals", len(step.totals), total_bytes(counts, step)))
        if step.keeps:
            found.append(_other(step, "keep", kept_lanes(step), kept_bytes(counts, step)))
    return found


def drawing(plan: Plan, counts: Counts, seconds: list[str]) -> dict[str, Any]:
    """Boxes and arrows, and the size of the whole. `seconds`: of each superstep, in words."""
    boxes, arrows = [], []
    sent = exchanges(plan, counts)
    largest = max((each["bytes"] for each in sent), default=0) or 1
    y = PAD
    for step in plan.steps:
        texts = _lines(step)
        height = PAD + LINE * (1 + len(texts)) + PAD
        title = _text(LEFT + PAD, y + PAD + 12, f"superstep {step.number}, {seconds[step.number]}")
        lines = tuple(_text(LEFT + PAD, y + PAD + 12 + LINE * at, line) for at, line in enumerate(texts, 1))
        boxes.append(Box(y, height, title, lines))
        y += height
        here = sorted(
            (each for each in sent if each["after_superstep"] == step.number), key=lambda each: -each["bytes"]
        )
        if step is plan.steps[-1] or not here:
            y += GAP
            continue
        drawn = here[:MOST]
        bottom = y + GAP + LINE * (len(drawn) + (len(here) > MOST))
        for at, each in enumerate(drawn):
            x = LEFT + 30 + 16 * at
            thick = 2 + 8 * math.sqrt(each["bytes"] / largest)
            label = _text(
                LEFT + 30 + 16 * len(drawn) + 12, y + GAP // 2 + 8 + LINE * at, f"{at + 1}. {_label(each)}", LABEL
            )
            arrows.append(Arrow(x, y, bottom, round(thick, 1), label))
        if len(here) > MOST:
            last = arrows[-1].label
            rest = sum(each["bytes"] for each in here[MOST:])
            more = f"and {len(here) - MOST} more: {size(rest)}"
            arrows.append(Arrow(LEFT + 30 + 16 * len(drawn), y, bottom, 1.0, _text(last.x, last.y + LINE, more)))
        y = bottom
    return {"width": WIDTH, "height": y, "left": LEFT, "box": BOX, "boxes": boxes, "arrows": arrows}


def _lines(step: Superstep) -> list[str]:
    """What a superstep computes, in the order of its phases."""
    lines = [f"for the whole graph: {_operations(step.graph_values)}"] if step.graph_values else []
    for phase in step.phases:
        nodes = [value for value in phase.nodes if value.op not in ("input", "fill", "spread", *TOTALS)]
        lines += [f"nodes: {_operations(nodes)}"] if nodes else []
        lines += [f"edges: {_operations(phase.reductions)}"] if phase.reductions else []
    features = ", ".join(name if node_type == "node" else f"{node_type}.{name}" for node_type, name in step.features)
    return [*([f"reads {features}"] if features else []), *lines, *(["writes the outputs"] if step.outputs else [])]


def _operations(values: list[Value]) -> str:
    """Each kind once, and how often."""
    words = Counter(
        f"matmul {value.inputs[0].shape[-1]}→{value.shape[-1]}" if value.op == "matmul" else value.op
        for value in values
    )
    return ", ".join(word if times == 1 else f"{word} ×{times}" for word, times in words.items())


def _label(exchange: dict[str, Any]) -> str:
    moved = size(exchange["bytes"])
    if exchange["kind"] == "keep":
        return f"kept by each block: {exchange['columns']:,} columns, {moved}"
    if exchange["kind"] == "totals":
        return f"totals from each block to each, {moved}"
    pushed = f" + {exchange['partial_results']:,} partial results" if exchange["kind"] == "push" else ""
    type = EdgeType.parse(exchange["edges"])
    over = f" over {spelt(type)}" if type not in (EDGE, EDGE.reversed) else ""
    return f"sent{over}: {exchange['columns']:,} columns × {exchange['rows']:,} rows{pushed} = {moved}"


def _other(step: Superstep, kind: str, columns: int, moved: int) -> dict[str, Any]:
    return {
        "after_superstep": step.number,
        "kind": kind,
        "edges": None,
        "columns": columns,
        "rows": None,
        "partial_results": 0,
        "bytes": moved,
    }


def _text(x: int, y: int, words: str, most: int = LETTERS) -> Text:
    return Text(x, y, words if len(words) <= most else f"{words[: most - 1]}…", words)
