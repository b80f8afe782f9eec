"""A branch: what one relation adds to the nodes that have an edge of it.

Comes in: what a superstep has made of a block so far, a branch, its compiled passes. Goes out: nothing; its terms are
added to the joins, which are arrays of all nodes. Between, a row is a node with an edge, in ascending order; where half
of the nodes have one, a row is a node. Branches come one after another, so that there is one at a time; where blocks
lie in memory, several (alike.py).

Which rows there are depends on the block alone: with the same blocks there are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import Block, FloatArray, IntArray
from pipeline.blocks.chosen import by_number
from pipeline.compiler import EdgePass
from pipeline.compiler.call import Read
from pipeline.formula.interpret import execute_rows, last_readers
from pipeline.formula.meanings import same_top
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value
from pipeline.kernels.gather import add_rows, weigh_rows
from pipeline.kernels.jit import read_only
from pipeline.lowering.levels import local_values
from pipeline.plan.branch import Branch, neutral
from pipeline.plan.superstep import Superstep
from pipeline.run.branch_rows import BranchRows
from pipeline.run.edges import NumberedEdges, Tiles, Work, reduce_tiles, tiles_for
from pipeline.run.node_values import ROW_CHUNK

MOST_ROWS = 0.5  # of the nodes: with more of them, to take rows out and put them back costs more than it saves


def run_branch(work: Work, branch: Branch, passes: Sequence[EdgePass]) -> None:
    """Adds what a branch makes to its joins."""
    start_joins(work, branch)
    nodes = work.nodes(branch.reductions[0])
    tiles = _tiles(work, branch)
    if not tiles:
        return
    cut = None if work.branch_rows is None else work.branch_rows[branch.id]
    if work.branch_rows is None:
        rows = rows_of(tiles, nodes)
        tiles = tiles if rows is None else _by_row(tiles, rows, nodes)
    elif cut is None:
        rows = None
    else:
        if not len(cut.needed):
            return
        rows = np.append(cut.nodes, cut.nodes[:1])  # and one for edges of nobody's
        tiles = [(source, cut.by_row(tile)) for source, tile in tiles]
    reduced = nodes if rows is None else len(rows)
    count = reduced if cut is None else len(cut.nodes)
    read = values_at(work, branch, rows, reduced, count)
    made: dict[int, FloatArray] = {}
    for edge_pass in passes:
        pushed = edge_pass_is_pushed(work, branch, edge_pass)
        results = reduce_tiles(work, edge_pass, tiles, reduced, read, pushed)
        made |= made_of(branch, edge_pass, results)
    add_terms(work, branch, made, rows, count, cut)


def start_joins(work: Work, branch: Branch) -> None:
    """What a branch adds to is there."""
    nodes = work.nodes(branch.reductions[0])
    for join, _ in branch.terms:
        if join.id not in work.values:
            work.values[join.id] = np.full((nodes, *join.shape), neutral(join), np.float32)


def values_at(work: Work, branch: Branch, rows: IntArray | None, reduced: int, count: int) -> Read:
    """What gives the node values that the reductions of a branch read at their targets, (reduced, *shape): those that
    the branch computes first, of the first `count` rows, and others of the block."""
    targets = [entry for value in branch.reductions for entry in local_values(value)]
    wanted = {value.id: value for value in branch.before if value in targets}
    local = {number: np.zeros((reduced, *value.shape), np.float32) for number, value in wanted.items()}
    last = last_readers(branch.before, wanted.values())
    for start in range(0, count, ROW_CHUNK) if wanted else ():
        chunk = slice(start, min(start + ROW_CHUNK, count))
        values_of = _chunk(work, branch.before, {}, chunk, rows, last)
        for number in wanted:
            local[number][chunk] = values_of[number]

    def read(value: Value) -> FloatArray:
        """A node value of the block, a row for each row of the branch."""
        if value.id not in local:
            whole = work.values[value.id]
            local[value.id] = whole if rows is None else whole.take(rows, axis=0)
        return local[value.id]

    return read


def edge_pass_is_pushed(work: Work, branch: Branch, edge_pass: EdgePass) -> bool:
    """Whether other blocks have begun the reductions of a pass of a branch."""
    number = edge_pass.reductions[0].value.id
    pairs = zip(branch.executed, branch.reductions, strict=True)
    return next(value.id for executed, value in pairs if executed.id == number) in work.pushed


def made_of(branch: Branch, edge_pass: EdgePass, results: Sequence[FloatArray]) -> dict[int, FloatArray]:
    """Value.id of each reduction of a branch that a pass computes → its result. Two may be one value."""
    found: dict[int, FloatArray] = {}
    for reduction, result in zip(edge_pass.reductions, results, strict=True):
        for executed, value in zip(branch.executed, branch.reductions, strict=True):
            if executed.id == reduction.value.id:
                found[value.id] = result
    return found


def add_terms(
    work: Work,
    branch: Branch,
    made: Mapping[int, FloatArray],
    rows: IntArray | None,
    count: int,
    cut: BranchRows | None = None,
) -> None:
    """Computes the terms of a branch of what its reductions have made, and adds them to the joins."""
    last = last_readers(branch.nodes, [term for _, term in branch.terms])
    for start in range(0, count, ROW_CHUNK):
        chunk = slice(start, min(start + ROW_CHUNK, count))
        values_of = _chunk(work, branch.nodes, made, chunk, rows, last)
        kept = slice(None) if cut is None else cut.within(chunk) - start
        at = chunk if rows is None else rows[chunk][kept]
        for join, term in branch.terms:
            put(work.values[join.id], at, values_of[term.id][kept], join)


def _tiles(work: Work, branch: Branch) -> Tiles:
    return _tiles_of(work.step, work.block, branch, work.chosen, lambda each: columns_of(work, each))


def _tiles_of(
    step: Superstep,
    block: Block,
    branch: Branch,
    chosen: dict[tuple[Edges, str], NumberedEdges],
    columns: Callable[[Branch], Sequence[str]],
) -> Tiles:
    """The edges of a branch, with their values of `columns`."""
    if branch.chosen is None:
        return [(source, tile) for source, tile in tiles_for(branch.edges, block) if tile.edges]
    numbered = numbered_edges(step, block, branch, chosen, columns)
    place = numbered.places[branch.chosen.number]
    parts = [(source, edges.part(place, place + 1)) for source, edges in numbered.tiles]
    return [(source, tile) for source, tile in parts if tile.edges]


def numbered_edges(
    step: Superstep,
    block: Block,
    branch: Branch,
    chosen: dict[tuple[Edges, str], NumberedEdges],
    columns: Callable[[Branch], Sequence[str]],
) -> NumberedEdges:
    """The edges of all branches that choose by the same column, sorted once, with their values of `columns`. `chosen`:
    edges, column → those that were asked for before."""
    assert branch.chosen is not None
    at = branch.edges, branch.chosen.column
    if at not in chosen:
        beside = [(each, each.chosen) for each in step.branches if each.edges == branch.edges]
        alike = [(each, by) for each, by in beside if by and by.column == branch.chosen.column]
        names = sorted({name for each, _ in alike for name in columns(each)})
        numbers = sorted({by.number for _, by in alike})
        tiles = [(s, by_number(tile, branch.chosen.column, numbers, names)) for s, tile in tiles_for(at[0], block)]
        chosen[at] = NumberedEdges({number: place for place, number in enumerate(numbers)}, tiles)
    return chosen[at]


def rows_of_branches(step: Superstep, block: Block, nodes: Mapping[str, int]) -> dict[int, IntArray | None]:
    """Branch.id → the nodes with an edge of each branch, ascending; None: it is computed for all nodes. Of branches
    without edges there is none. `block`: its edges; `nodes`: how many it has of each type."""
    found: dict[int, IntArray | None] = {}
    chosen: dict[tuple[Edges, str], NumberedEdges] = {}
    for branch in step.branches:
        tiles = _tiles_of(step, block, branch, chosen, lambda _: ())
        if tiles:
            found[branch.id] = rows_of(tiles, nodes[branch.edges.type.target])
    return found


def columns_of(work: Work, branch: Branch) -> list[str]:
    """The columns of its edges that a branch reads."""
    compiled = work.plan.compile(work.step)
    return [name for value in branch.reductions for name in compiled[value.id].edge_columns]


def rows_of(tiles: Tiles, nodes: int) -> IntArray | None:
    """The nodes with an edge, ascending; None: all nodes."""
    rows = tiles[0][1].rows if len(tiles) == 1 else marked([tile.rows for _, tile in tiles], nodes)
    return None if len(rows) > MOST_ROWS * nodes else rows


def marked(several: Sequence[IntArray], nodes: int) -> IntArray:
    """Each node that is somewhere, ascending. By marks of all nodes: of 20,000 rows in two tiles it takes a tenth of
    the time of sorting them."""
    marks = np.zeros(nodes, np.bool_)
    for rows in several:
        marks[rows] = True
    return np.flatnonzero(marks).astype(np.int32)


def _by_row(tiles: Tiles, rows: IntArray, nodes: int) -> Tiles:
    """The tiles with places among the nodes with an edge as rows."""
    if len(tiles) == 1:
        ((source, tile),) = tiles
        return [(source, replace(tile, rows=np.arange(len(rows), dtype=np.int32)))]
    place = places_of(rows, nodes)
    return [(source, replace(tile, rows=place[tile.rows])) for source, tile in tiles]


def places_of(rows: IntArray, nodes: int) -> IntArray:
    """(nodes,): of each of some nodes its place among them; of others anything."""
    place = np.empty(nodes, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    return place


def _chunk(
    work: Work,
    nodes: Sequence[Value],
    made: Mapping[int, FloatArray],
    chunk: slice,
    rows: IntArray | None,
    last: Mapping[int, Sequence[int]],
) -> dict[int, npt.NDArray[Any]]:
    """Node values for some rows of a branch; those that nobody reads any more are gone. `made`: of all its rows."""
    values: dict[int, npt.NDArray[Any]] = {number: array[chunk] for number, array in made.items()}
    at, count = chunk if rows is None else rows[chunk], chunk.stop - chunk.start
    for value in nodes:
        values[value.id] = execute_rows(value, [operand(work, entry, values, at, count) for entry in value.inputs])
        for number in last.get(value.id, ()):
            values.pop(number, None)
    return values


def operand(
    work: Work, value: Value, values: dict[int, npt.NDArray[Any]], at: slice | IntArray, count: int
) -> npt.NDArray[Any]:
    """What an operation of a branch reads for `count` of its rows, at these nodes. `values`: those that the branch has
    made; one of the block is put there."""
    if value.is_weight:
        return work.weight(value)
    if value.id not in values:
        whole = work.values.get(value.id)
        if whole is None:
            assert value.op == "fill", value.op
            return np.full((count, *value.shape), value.attributes["value"], np.float32)
        values[value.id] = whole[at] if isinstance(at, slice) else whole.take(at, axis=0)
    return values[value.id]


def put(whole: FloatArray, at: slice | IntArray, values: npt.NDArray[Any], join: Value) -> None:
    """Adds rows of a term to a join; each row of `at` is there once."""
    if join.op == "merge_states":
        _merge(whole, at, values, join.attributes["logits"])
    elif join.op == "add" and not isinstance(at, slice):
        out = whole.reshape(len(whole), join.width)
        add_rows(read_only(np.ascontiguousarray(values, np.float32).reshape(len(at), join.width)), read_only(at), out)
    else:
        meaning = OPERATIONS[join.op].meaning
        assert meaning is not None
        whole[at] = meaning(whole[at], values)


def _merge(whole: FloatArray, at: slice | IntArray, values: npt.NDArray[Any], logits: int) -> None:
    """As meanings.merge_states, in 0.4 of its time: 4,096 rows of 4 heads of 16 lanes 1.8 → 0.7 ms."""
    part, rows = (whole[at], np.arange(len(values), dtype=np.int32)) if isinstance(at, slice) else (whole, at)
    top, kept, weights = same_top(part[rows, -logits:], values[:, -logits:])
    given = read_only(np.ascontiguousarray(values, np.float32)), read_only(rows)
    weigh_rows(*given, read_only(kept), read_only(weights), part)
    part[rows, -logits:] = top
