"""The steps of a block that is asked by others: which keys there are, and where; its send lists come of that.

Comes in: the keys of a block's nodes, what others ask of it. Goes out: send lists and what is pushed, or what is
missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from pipeline.blocks.block import Block, IntArray, LongArray
from pipeline.blocks.rows import Row, array_rows, join
from pipeline.blocks.stacked import HEAD, StackedTiles, ends_of, indptr_of
from pipeline.kernels.hash import positions
from pipeline.preparing import tiles
from pipeline.preparing.facts import sends_with_facts
from pipeline.preparing.findings import dangling_ends
from pipeline.preparing.pack import finding_row
from pipeline.preparing.preparation import KEYS, MISSING, NO_KEYS, QUESTION, REQUEST, Preparation
from pipeline.preparing.requests import Request, parse_request
from pipeline.schema import EdgeType


def find_missing(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From KEYS and QUESTIONs to this block: MISSING. The rest passes, KEYS too."""
    keys: list[Row] = []
    questions: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == QUESTION:
            questions[row.name, row.source].append(row)
            continue
        if row.kind == KEYS:
            keys.append(row)
        yield row
    here = keys_by_type(keys)
    for (name, asker), parts in sorted(questions.items()):
        _, missing = tiles.answer(here[EdgeType.parse(name).source], join(parts))
        if len(missing):
            yield from array_rows(asker, index, MISSING, name, missing)


def keys_by_type(rows: Iterable[Row]) -> dict[str, LongArray]:
    """The keys of a block's nodes of each type."""
    of_type: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_type[row.name].append(row)
    return {type: join(parts) for type, parts in of_type.items()}


def answer(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From KEYS, REQUESTs and QUESTIONs to this block: its send lists and what it pushes; FINDINGs. The rest passes."""
    asked: dict[EdgeType, dict[int, list[Row]]] = {edge_type: defaultdict(list) for edge_type in plan.edges}
    questions: dict[EdgeType, dict[int, list[Row]]] = {edge_type: defaultdict(list) for edge_type in plan.edges}
    types = {str(edge_type): edge_type for edge_type in plan.edges}
    own: list[Row] = []
    for row in rows:
        if row.kind == KEYS:
            own.append(row)
        elif row.kind == REQUEST:
            asked[types[row.name]][row.source].append(row)
        elif row.kind == QUESTION:
            questions[types[row.name]][row.source].append(row)
        else:
            yield row
    keys = keys_by_type(own)
    sends: dict[EdgeType, dict[int, IntArray]] = {}
    pulled: dict[EdgeType, dict[int, int]] = {}
    pushes: dict[EdgeType, StackedTiles] = {}
    complete = True
    for edge_type, layout in plan.edges.items():
        here, columns = keys[edge_type.source], len(layout.values)
        requests = {asker: parse_request(join(parts), columns) for asker, parts in sorted(asked[edge_type].items())}
        wanted = [request.keys for request in requests.values()]
        wanted += [join(parts) for _, parts in sorted(questions[edge_type].items())]
        together = np.concatenate([NO_KEYS, *wanted])
        found = positions(together, here)
        unknown = together[found < 0]
        if len(unknown) and not edge_type.is_reversed:
            yield finding_row(index, dangling_ends(layout, 0, unknown))
        complete &= not len(unknown)
        ends = ends_of(np.array([len(request.keys) for request in requests.values()], np.int64))
        bounds = ends.tolist()
        sends[edge_type] = {
            asker: found[start:end] for asker, start, end in zip(requests, bounds[:-1], bounds[1:], strict=True)
        }
        pulled[edge_type] = {a: request.first for a, request in requests.items() if request.first < len(request.keys)}
        if complete:
            names = sorted(value.name for value in layout.values)
            pushes[edge_type] = _pushes(requests, found, ends, names, len(here))
    if not complete:
        return  # prepare is going to fail
    pushes = {edge_type: tiles for edge_type, tiles in pushes.items() if tiles}
    yield from sends_with_facts(Block(index, {}, {}, {}, sends, pulled=pulled, pushes=pushes))


def _pushes(
    requests: Mapping[int, Request], found: IntArray, ends: LongArray, names: Sequence[str], senders: int
) -> StackedTiles:
    """The edges that may be pushed to each asker: row j is the j-th of its rows that have some. `found`: of the keys of
    all requests, which end at `ends`, the local indices."""
    some = [(place, asker, request) for place, (asker, request) in enumerate(requests.items()) if len(request.degrees)]
    rows = np.array([len(request.degrees) for _, _, request in some], np.int32)
    edges = np.array([len(request.indices) for _, _, request in some], np.int32)
    heads = np.zeros((len(some), HEAD), np.int32)
    heads[:, 0], heads[:, 1], heads[:, 2] = [asker for _, asker, _ in some], rows, edges
    heads[:, 3] = senders
    starts = ends[np.array([place for place, _, _ in some], np.int64)]
    nothing = np.empty(0, np.int32)
    places = np.concatenate([nothing, *(request.indices for _, _, request in some)])
    degrees = np.concatenate([nothing, *(request.degrees for _, _, request in some)])
    row_ends = ends_of(rows)
    return StackedTiles(
        heads,
        (np.arange(len(degrees)) - np.repeat(row_ends[:-1], rows)).astype(np.int32),
        indptr_of(degrees, row_ends),
        found[places + np.repeat(starts, edges)],
        {name: np.concatenate([request.values[at] for _, _, request in some]) for at, name in enumerate(names) if some},
    )
