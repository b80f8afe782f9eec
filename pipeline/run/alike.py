"""Branches that are alike: of many relations each has few edges, and what is done for a tile is done for several.

Comes in: the branches of a phase, one after another, what a superstep has made of a block so far. Goes out: nothing;
their terms are added to the joins. Branches whose reductions do the same are reduced in one pass over their edges, the
rows of one behind those of another; then each computes its terms as it would alone (branch.py). A row has the edges
that it had, in their order, so that the bits are the same.

RGCN of 2,000 relations, 2^20 nodes and 16.8M edges in 8 blocks, has 256,000 tiles of 65 edges: they took 32 of 41
core-seconds, of which 10 were the edges, the matrix products and the sums.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import LOOPS, FloatArray, IntArray, LongArray, Tile
from pipeline.blocks.stacked import StackedTiles, ends_of
from pipeline.compiler import EdgePass
from pipeline.compiler.call import Read
from pipeline.formula.spaces import PROPER, SELF_LOOPS
from pipeline.formula.values import Value
from pipeline.kernels.jit import read_only
from pipeline.kernels.join import join_tiles, number_rows
from pipeline.plan.branch import Branch
from pipeline.plan.superstep import Shipment
from pipeline.run import branch as one
from pipeline.run.branch import (
    add_terms,
    edge_pass_is_pushed,
    made_of,
    marked,
    places_of,
    run_branch,
    start_joins,
    values_at,
)
from pipeline.run.edges import NumberedEdges, Work, not_sent
from pipeline.run.joint import FEWEST, add_all_terms

TOGETHER = 1 << 15
"""Edges of branches that are reduced in one pass. Results have no more rows: with 64 lanes 8 MB."""


class Part(NamedTuple):
    """The edges of several branches from one source block."""

    values: FloatArray
    """The rows of that block; columns are places there."""
    tile: Tile
    rest: Tile | None
    """Those that the source block begins."""


class Batch(NamedTuple):
    """Some branches, and their edges."""

    rows: Sequence[IntArray | None]
    """Of each branch, the node of each row; None: a row is a node."""
    ends: Sequence[int]
    """Where the rows of each branch begin, and the last ones end."""
    parts: Mapping[bool, Sequence[Part]]
    """Whether other blocks have begun some of it → by source block, in the order that fixes all sums."""


def run_branches(work: Work, branches: Sequence[Branch], passes: Sequence[Sequence[EdgePass]]) -> None:
    """Adds what branches make to their joins, one after another."""
    at = 0
    while at < len(branches):
        last = at + 1
        key = _likeness(work, branches[at], passes[at])
        while key is not None and last < len(branches) and _likeness(work, branches[last], passes[last]) == key:
            last += 1
        if key is None:
            run_branch(work, branches[at], passes[at])
        else:
            some, over = branches[at:last], passes[at:last]
            batches = _of_tables(work, some) if some[0].chosen is None else _of_numbers(work, some)
            for first, end, batch in batches:
                _run(work, some[first:end], over[first:end], batch)
        at = last


def _likeness(work: Work, branch: Branch, passes: Sequence[EdgePass]) -> Hashable:
    """Equal for branches that can be reduced in one pass; None if it can be in none."""
    shipment = work.shipments.get(branch.edges.type)
    if work.lies is None or work.branch_rows is not None or shipment is None or shipment.wire != "float32":
        return None
    if any(edge_pass.likeness is None for edge_pass in passes) or not any(each.sent for each in passes):
        return None
    pushed = tuple([value.id in work.pushed for value in branch.reductions])
    if branch.chosen and any(pushed):
        return None
    over = branch.edges.type.source, branch.edges.part, tuple([value.id for value in shipment.values])
    by = (branch.edges, branch.chosen.column) if branch.chosen else None
    return over, by, pushed, tuple([each.likeness for each in passes])


def _run(work: Work, branches: Sequence[Branch], passes: Sequence[Sequence[EdgePass]], batch: Batch) -> None:
    """Reduces the edges of a batch, and adds the terms of its branches."""
    begins, total = batch.ends[:-1], batch.ends[-1]
    counts = [end - begin for begin, end in zip(begins, batch.ends[1:], strict=True)]
    reads: list[Read] = []
    if any(reduction.local for edge_pass in passes[0] for reduction in edge_pass.reductions):
        reads += [
            values_at(work, branch, rows, count, count)
            for branch, rows, count in zip(branches, batch.rows, counts, strict=True)
        ]
    several = list(zip(*passes, strict=True))
    results = [
        _reduce(each[0], batch.parts[edge_pass_is_pushed(work, branches[0], each[0])], total, _read_all(each, reads))
        for each in several
    ]
    if _are_joint(branches, passes):
        made: dict[int, FloatArray] = {}
        for edge_pass, found in zip(passes[0], results, strict=True):
            made |= made_of(branches[0], edge_pass, found)
        nodes = [
            np.arange(count, dtype=np.int32) if rows is None else rows
            for rows, count in zip(batch.rows, counts, strict=True)
        ]
        add_all_terms(work, branches, made, np.concatenate(nodes), batch.ends)
        return
    for branch, edge_passes, rows, begin, count in zip(branches, passes, batch.rows, begins, counts, strict=True):
        own: dict[int, FloatArray] = {}
        for edge_pass, found in zip(edge_passes, results, strict=True):
            own |= made_of(branch, edge_pass, [result[begin : begin + count] for result in found])
        start_joins(work, branch)
        add_terms(work, branch, own, rows, count)


def _are_joint(branches: Sequence[Branch], passes: Sequence[Sequence[EdgePass]]) -> bool:
    """Whether the terms of branches can be computed together, and are worth it."""
    if len(branches) < FEWEST or any(branch.likeness != branches[0].likeness for branch in branches[1:]):
        return False
    first = _places(branches[0], passes[0])
    return all(_places(*both) == first for both in zip(branches, passes, strict=True))


def _places(branch: Branch, passes: Sequence[EdgePass]) -> list[int]:
    """Of each reduction, which one of those of all passes it is."""
    numbers = [reduction.value.id for edge_pass in passes for reduction in edge_pass.reductions]
    return [numbers.index(executed.id) for executed in branch.executed]


def _reduce(edge_pass: EdgePass, parts: Sequence[Part], rows: int, read: Read) -> list[FloatArray]:
    """As edges.reduce_tiles."""
    reductions = edge_pass.reductions
    accumulators = {reduction.value.id: reduction.start(rows, read) for reduction in reductions}
    for part in parts:
        edge_pass.add(accumulators, part.tile, part.values, read)
        if part.rest is not None:
            numbered = replace(part.rest, rows=np.arange(len(part.rest.rows), dtype=np.int32))
            for reduction in reductions:
                partial = reduction.partial(numbered, part.values)
                reduction.merge(accumulators[reduction.value.id], part.rest.rows, partial)
    return [reduction.finish(accumulators.pop(reduction.value.id)) for reduction in reductions]


def _read_all(alike: Sequence[EdgePass], reads: Sequence[Read]) -> Read:
    """What gives the node values that the first of some passes reads at the targets: of all, one behind another."""
    if len(reads) == 1:
        return reads[0]
    own = [[value for reduction in each.reductions for value in reduction.local] for each in alike]
    same = {values[0].id: values for values in zip(*own, strict=True)}
    made: dict[int, FloatArray] = {}

    def read(value: Value) -> FloatArray:
        if value.id not in made:
            several = zip(reads, same[value.id], strict=True)
            made[value.id] = np.concatenate([read_one(other) for read_one, other in several])
        return made[value.id]

    return read


# ---- a table of edges for each relation


def _of_tables(work: Work, branches: Sequence[Branch]) -> Iterator[tuple[int, int, Batch]]:
    """Batches, and which of the branches they are of."""
    several = [_stacked(work, branch) for branch in branches]
    for first, last in _groups([len(tiles.indices) for tiles in several]):
        yield first, last, _joined(work, branches[first:last], several[first:last])


def _stacked(work: Work, branch: Branch) -> StackedTiles:
    tiles = StackedTiles.of(work.block.tiles.get(branch.edges.type, {}))
    loops = int(LOOPS in tiles)  # which come first
    part = branch.edges.part
    return tiles.part(loops if part == PROPER else 0, loops if part == SELF_LOOPS else len(tiles))


def _joined(work: Work, branches: Sequence[Branch], several: Sequence[StackedTiles]) -> Batch:
    rows: list[IntArray | None] = []
    places: list[IntArray] = []
    ends = [0]
    for branch, tiles in zip(branches, several, strict=True):
        nodes = work.nodes(branch.reductions[0])
        own = tiles.rows if len(tiles) == 1 else marked([tiles.rows], nodes)
        whole = len(own) > one.MOST_ROWS * nodes
        rows.append(None if whole else own)
        places.append(np.arange(nodes, dtype=np.int32) if whole else places_of(own, nodes))
        ends.append(ends[-1] + (nodes if whole else len(own)))
    pushed = {value.id in work.pushed for value in branches[0].reductions}
    return Batch(rows, ends, {side: _parts(work, branches, several, places, ends, side) for side in pushed})


def _parts(
    work: Work,
    branches: Sequence[Branch],
    several: Sequence[StackedTiles],
    places: Sequence[IntArray],
    ends: Sequence[int],
    pushed: bool,
) -> list[Part]:
    sources = sorted({source for tiles in several for source in tiles.heads[:, 0].tolist()})
    slot_of = {source: slot for slot, source in enumerate(sources)}
    slots = [np.array([slot_of[source] for source in tiles.heads[:, 0].tolist()], np.int64) for tiles in several]
    sizes = np.zeros((2, len(sources)), np.int64)
    for tiles, at in zip(several, slots, strict=True):
        sizes[:, at] += tiles.heads[:, 1:3].T  # of each source a branch has one tile
    starts = np.stack([ends_of(each) for each in sizes])
    lengths = (int(starts[0, -1]), int(starts[0, -1]) + len(sources), int(starts[1, -1]))
    arrays = [np.zeros(length, np.int32) for length in lengths]
    rest = [np.zeros(length if pushed else 0, np.int32) for length in lengths]
    used = np.zeros((4, len(sources)), np.int64)
    values: dict[int, FloatArray] = {}
    for branch, tiles, at, own, base in zip(branches, several, slots, places, ends[:-1], strict=True):
        lists = _sent(work, work.shipments[branch.edges.type], tiles, values)
        sent, sent_ends = np.concatenate([tiles.rows[:0], *lists]), ends_of(np.array([*map(len, lists)], np.int64))
        middles = tiles.indices[:0] if tiles.middles is None else tiles.middles
        given: list[npt.NDArray[Any]] = [tiles.heads, tiles.rows, tiles.indptr, tiles.indices, middles]
        given += [at, sent, sent_ends, own]
        wrong = join_tiles(base, pushed, *[*map(read_only, given), starts, used, *arrays, *rest])
        if wrong >= 0:
            raise not_sent(work.block, int(tiles.heads[wrong, 0]))
    parts = []
    for slot, source in enumerate(sources):
        row, edge = starts[:, slot].tolist()
        rows, edges, rest_rows, rest_edges = used[:, slot].tolist()
        begun = _tile(rest, row, edge, slot, rest_rows, rest_edges) if rest_edges else None
        parts.append(Part(values[source], _tile(arrays, row, edge, slot, rows, edges), begun))
    return parts


def _sent(work: Work, shipment: Shipment, tiles: StackedTiles, values: dict[int, FloatArray]) -> list[IntArray]:
    """Of each tile, the rows that this block gets. `values` is told whose rows they are."""
    assert work.lies is not None
    found = []
    for source in tiles.heads[:, 0].tolist():
        values[source], rows = work.lies(shipment, source)
        found.append(rows)
    return found


def _tile(arrays: Sequence[IntArray], row: int, edge: int, slot: int, rows: int, edges: int) -> Tile:
    """What is in a slot."""
    of_rows, ends, columns = arrays
    begin = row + slot
    return Tile(of_rows[row : row + rows], ends[begin : begin + rows + 1], columns[edge : edge + edges])


# ---- a column with the number of the relation


class _Numbers(NamedTuple):
    """The edges of all relations of a block."""

    places: Sequence[IntArray]
    """Of each source, the row of each of its rows, from the first of its branch."""
    columns: Sequence[IntArray]
    """Of each source, where the rows that its edges read are."""
    values: Sequence[FloatArray]
    """Of each source."""
    rows: IntArray
    """The nodes of all branches, one behind another."""
    ends: LongArray
    """Where those of each number begin, and the last ones end."""
    counts: LongArray
    """Rows of each number."""
    edges: LongArray
    """Edges of each number."""


def _of_numbers(work: Work, branches: Sequence[Branch]) -> Iterator[tuple[int, int, Batch]]:
    numbered = one.numbered_edges(
        work.step, work.block, branches[0], work.chosen, lambda each: one.columns_of(work, each)
    )
    found = _numbers(work, branches[0], numbered)
    nodes = work.nodes(branches[0].reductions[0])
    which = [numbered.places[branch.chosen.number] for branch in branches if branch.chosen]
    first = 0
    for end in range(1, len(which) + 1):
        if end < len(which) and which[end] == which[end - 1] + 1:
            continue
        low = which[first]  # numbers that follow one another
        for start, last in _groups(found.edges[low : which[end - 1] + 1].tolist()):
            yield first + start, first + last, _batch_of(numbered, found, nodes, low + start, low + last)
        first = end


def _numbers(work: Work, branch: Branch, numbered: NumberedEdges) -> _Numbers:
    assert work.lies is not None
    shipment, nodes = work.shipments[branch.edges.type], work.nodes(branch.reductions[0])
    values, columns = [], []
    for source, edges in numbered.tiles:
        rows_there, sent = work.lies(shipment, source)
        if len(edges.indices) and int(edges.indices.max()) >= len(sent):
            raise not_sent(work.block, source)
        values.append(rows_there)
        columns.append(sent[edges.indices])
    tiles = [edges for _, edges in numbered.tiles]
    count = len(numbered.places)
    begins = ends_of(np.array([len(each.rows) for each in tiles], np.int64))
    bounds = np.empty((count, 2 * len(tiles)), np.int64)
    for at, each in enumerate(tiles):
        bounds[:, 2 * at], bounds[:, 2 * at + 1] = each.bounds[:-1] + begins[at], each.bounds[1:] + begins[at]
    every = np.concatenate([np.empty(0, np.int32), *(each.rows for each in tiles)])
    rows, ends, places = np.empty(len(every), np.int32), np.empty(count + 1, np.int64), np.empty(len(every), np.int32)
    whole, marks = np.empty(count, np.bool_), np.zeros(-(-nodes // 8) * 8, np.bool_)
    given = read_only(bounds), read_only(every), one.MOST_ROWS * nodes
    number_rows(*given, marks, marks.view(np.uint64), np.empty(nodes, np.int32), rows, ends, whole, places)
    counts = np.where(whole, nodes, np.diff(ends))
    each_has = np.zeros(count, np.int64)
    for own in tiles:
        each_has += np.diff(own.ends[own.bounds])
    return _Numbers(
        [places[low:high] for low, high in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)],
        columns, values, rows, ends, counts, each_has,
    )  # fmt: skip


def _batch_of(numbered: NumberedEdges, found: _Numbers, nodes: int, first: int, last: int) -> Batch:
    """The branches of the numbers first .. last - 1."""
    counts = found.counts[first:last]
    ends = ends_of(counts)
    parts = []
    for (_, edges), places, columns, values in zip(
        numbered.tiles, found.places, found.columns, found.values, strict=True
    ):
        tile = edges.part(first, last)
        if not tile.edges:
            continue
        bounds = edges.bounds[first : last + 1]
        rows = places[bounds[0] : bounds[-1]] + np.repeat(ends[:-1].astype(np.int32), np.diff(bounds))
        start = int(edges.ends[bounds[0]])
        parts.append(Part(values, Tile(rows, tile.indptr, columns[start : start + tile.edges]), None))
    low = found.ends[first : last + 1].tolist()
    own = [
        None if count > end - begin else found.rows[begin:end]
        for begin, end, count in zip(low[:-1], low[1:], counts.tolist(), strict=True)
    ]
    return Batch(own, ends.tolist(), {False: parts})


def _groups(edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Branches with so many edges in groups of at most TOGETHER, or one alone: first, and the one after the last."""
    first, together = 0, 0
    for at, count in enumerate(edges):
        if at > first and together + count > TOGETHER:
            yield first, at
            first, together = at, 0
        together += count
    if len(edges):
        yield first, len(edges)
