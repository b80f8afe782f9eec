"""What the steps have found to be wrong, gathered, and with the texts that keys stand for.

Comes in: rows of kind FINDING. Goes out: findings. How they are told is in checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import LongArray
from pipeline.blocks.rows import Row
from pipeline.preparing import tiles
from pipeline.preparing.checks import EXAMPLES, Finding, merge, name_texts
from pipeline.preparing.pack import FINDING
from pipeline.preparing.preparation import Preparation
from pipeline.tables.layout import Layout
from pipeline.tables.words import not_text

LookUp = Callable[[Layout, str, list[int]], Mapping[int, str]]
"""(layout of an edge table, column, keys) → the texts of these keys, as far as they are there."""


def findings_of(rows: Iterable[Row]) -> list[Finding]:
    return merge(Finding.from_bytes(row.data.tobytes()) for row in rows if row.kind == FINDING)


def find_names(findings: list[Finding], plan: Preparation, look_up: LookUp) -> list[Finding]:
    """Findings about edges whose ends are text, with the texts instead of their keys."""
    named: list[Finding] = []
    for layout in dict.fromkeys(plan.edges.values()):
        texts = {name for name, text in zip(layout.keys, layout.texts, strict=True) if text}
        mine = [each for each in findings if each.table == layout.table and each.column in texts]
        findings = [each for each in findings if each not in mine]
        named += name_texts(mine, partial(look_up, layout))
    return [*findings, *named]


def texts_of(texts: pa.Array, keys: Sequence[int], layout: Layout) -> dict[int, str]:
    """Some of the texts by their keys."""
    texts = texts.drop_null()
    bad = not_text(texts)
    texts = texts if bad is None else texts.filter(pc.invert(bad))
    found = np.isin(layout.text_hash(texts, layout.seed), keys)
    named = texts.filter(pa.array(found)).unique()
    return dict(zip(layout.text_hash(named, layout.seed).tolist(), named.to_pylist(), strict=True))


def dangling_ends(layout: Layout, side: int, keys: LongArray) -> Finding:
    """Edge ends that are no nodes. The examples are keys: of texts the driver looks up what they stand for."""
    keys = tiles.distinct(np.sort(keys))
    return Finding(layout.table, layout.keys[side], "dangling", len(keys), tuple(keys[:EXAMPLES].tolist()))
