"""What each superstep has to compute for some targets: found backward through the program, from tiles and send lists.

Comes in: a plan, the blocks, the nodes that are wanted of each. Goes out: of each superstep the nodes of each block
that somebody needs, and the edges into them. Nothing is joined: the tiles of a block say which rows of which send list
an edge reads, and the lists whose rows these are. Knows nothing of how it is computed (for_targets.py).

What is computed twice over would be slower than the whole: a superstep of which most nodes or edges are needed is left
whole, and then those before it are whole too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.blocks.block import LOOPS, Block, IntArray, Tile
from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.softmax import piece_of
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.reductions.record import EXPONENTIALS
from pipeline.formula.spaces import Nodes
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep, edges_of
from pipeline.run.branch import rows_of_branches
from pipeline.run.branch_rows import BranchRows
from pipeline.run.edges import tiles_for
from pipeline.run.fused import BlockSource
from pipeline.run.in_place import Sends
from pipeline.run.picked import Marks, Picked, into, pick, pick_of_branch
from pipeline.run.spill import Keep
from pipeline.schema import EdgeType

# Of the edges of a superstep. Choosing edges takes a quarter of the time of adding them up (GraphSAGE, 64 lanes).
MOST_EDGES = 0.7
MOST_NODES = 0.5  # of the nodes; more of them have places in nearly all chunks (picked.py)

Open = Callable[[int, Superstep], Block]
Rows = Mapping[str, IntArray]
"""Node type → local indices of nodes of one block, ascending."""


@dataclass(frozen=True)
class BlockNeeded:
    """What a superstep needs of one block."""

    picked: Mapping[str, Picked]
    """Node type → the nodes."""
    tiles: Mapping[EdgeType, Mapping[int, Tile]] = field(default_factory=dict)
    """The edges into them, rows by place."""
    reads: Mapping[EdgeType, Mapping[int, IntArray]] = field(default_factory=dict)
    """Edge type → source block or LOOPS → local indices, in the whole source block, of what the tile reads."""
    branch_rows: Mapping[int, BranchRows | None] = field(default_factory=dict)
    """Branch.id → the rows that are computed; None: all nodes that are needed. Branches without an edge in the whole
    block are not there."""

    @property
    def is_empty(self) -> bool:
        return not any(len(each.rows) for each in self.picked.values())

    @property
    def edges(self) -> int:
        """Those of nobody's are not counted, see picked.into."""
        return sum(
            int(np.diff(tile.indptr)[tile.rows != self.picked[type.target].spare].sum())
            for type, tiles in self.tiles.items()
            for tile in tiles.values()
        )


@dataclass(frozen=True)
class Needed:
    """What a superstep computes."""

    nodes: int
    """That are needed, of all blocks; of those that are whole all nodes."""
    edges: int
    blocks: Sequence[BlockNeeded] | None
    """None: whole."""


def why_whole(plan: Plan) -> str | None:
    """Why a plan needs all nodes and edges, whatever is wanted of it; None if it does not."""
    if any(value.op in TOTALS for value in plan.program.values):
        return "the model reads totals over all nodes"
    for step in plan.steps:
        for reduction, executed in step.executed:
            # NumPy computes some values for chunks of edges: of other edges they would be other chunks, with other bits
            if edge_program(executed).dense or (_piece(executed) and reduction.id in step.pushed):
                return f"{reduction.op} in superstep {step.number} is computed for chunks of all edges"
        if any(len(sizes) > 1 for sizes in _pieces(step).values()):
            return f"reductions of superstep {step.number} take their edges in chunks of different sizes"
    return None


def needed_for(
    plan: Plan,
    source: BlockSource,
    sends: Sequence[Sends],
    nodes: Mapping[str, Sequence[int]],
    targets: Sequence[Rows],
    threads: int = 1,
    keep: Keep | None = None,
) -> list[Needed]:
    """What each superstep computes, the first one first.

    Parameters
    ----------
    sends
        The send lists of each block.
    nodes
        Node type → number of nodes of each block.
    targets
        Of each block, the nodes that are wanted.
    keep
        Puts the edges that were found elsewhere until they are used.
    """
    blocks, open = range(len(sends)), source.tiles
    if why_whole(plan) is not None:
        return [_whole(step, nodes) for step in plan.steps]
    marks = [_marks(nodes, block, targets[block]) for block in blocks]
    parts: list[Needed] = []
    with ThreadPoolExecutor(threads) as pool:
        for step in reversed(plan.steps):
            if (parts and parts[-1].blocks is None) or not _pays(step, open, nodes, marks):
                parts.append(_whole(step, nodes))
                continue
            made = list(pool.map(partial(_block_part, step, open, sends, marks, keep), blocks))
            needed = sum(int(of.sum()) for each in marks for of in each.values())
            parts.append(Needed(needed, sum(each.edges for each in made), made))
            if step.number:
                marks = _before(plan.steps[step.number - 1], step, marks, made)
    return parts[::-1]


def _piece(reduction: Value) -> int | None:
    """How many edges of a tile the loop of a reduction takes at a time; None: each row by itself."""
    return piece_of(edge_program(reduction)) if REDUCTIONS[reduction.op].loop == EXPONENTIALS else None


def _pieces(step: Superstep) -> dict[EdgeType, set[int]]:
    found: dict[EdgeType, set[int]] = {edges_of(reduction).type: set() for reduction in step.reductions}
    for reduction in step.reductions:
        if (piece := _piece(reduction)) is not None:
            found[edges_of(reduction).type].add(piece)
    return found


def computed(parts: Sequence[Needed]) -> list[str]:
    """What each superstep computes, for people."""
    return [
        f"superstep {number}: all nodes"
        if part.blocks is None
        else f"superstep {number}: {part.nodes:,} nodes, {part.edges:,} edges"
        for number, part in enumerate(parts)
    ]


def _whole(step: Superstep, nodes: Mapping[str, Sequence[int]]) -> Needed:
    return Needed(sum(map(sum, nodes.values())), -1, None)


def _marks(nodes: Mapping[str, Sequence[int]], block: int, targets: Rows) -> dict[str, Marks]:
    marks = {type: np.zeros(counts[block], np.bool_) for type, counts in nodes.items()}
    for type, rows in targets.items():
        marks[type][rows] = True
    return marks


def _pays(
    step: Superstep, open: Open, nodes: Mapping[str, Sequence[int]], marks: Sequence[Mapping[str, Marks]]
) -> bool:
    """Whether a superstep is worth cutting down. Its edges are counted in one block: nodes are spread over the blocks
    by a hash, so that the share is about the same in all."""
    if all(value.op in ("input", "fill") for value in step.computed):
        return False  # features as they are stored, which are read whole anyway
    needed = sum(int(of.sum()) for each in marks for of in each.values())
    if needed > MOST_NODES * sum(map(sum, nodes.values())):
        return False
    if not step.reductions:
        return True
    chosen = edges = 0
    block = open(0, step)
    for type in {edges_of(reduction).type for reduction in step.reductions}:
        for tile in block.tiles.get(type, {}).values():
            degrees = np.diff(tile.indptr)
            edges += tile.edges
            chosen += int(degrees[marks[0][type.target][tile.rows]].sum())
    return chosen <= MOST_EDGES * edges


def _block_part(
    step: Superstep,
    open: Open,
    sends: Sequence[Sends],
    marks: Sequence[Mapping[str, Marks]],
    keep: Keep | None,
    index: int,
) -> BlockNeeded:
    needed = marks[index]
    picked = {type: pick(of) for type, of in needed.items()}
    if not step.reductions or not any(of.any() for of in needed.values()):
        return BlockNeeded(picked)
    block = open(index, step)
    tiles: dict[EdgeType, dict[int, Tile]] = {}
    reads: dict[EdgeType, dict[int, IntArray]] = {}
    received = {shipment.edge_type for shipment in step.receives}
    pieces = {type: max(sizes, default=None) for type, sizes in _pieces(step).items()}
    for type, columns in _edge_columns(step).items():
        tiles[type], reads[type] = {}, {}
        for source, tile in _tiles(step, type, block):
            found = into(tile, needed[type.target], picked[type.target], columns, pieces[type])
            if found is None:
                continue
            made, at = found
            tiles[type][source] = made if keep is None else _kept(made, keep)
            if type in received:
                sender, target = (index, LOOPS) if source == LOOPS else (source, index)
                reads[type][source] = sends[sender][type][target][at]
    targets = {branch.id: branch.edges.type.target for branch in step.branches}
    nodes = {type: len(of) for type, of in needed.items()}
    branch_rows = {
        number: None if rows is None else pick_of_branch(rows, needed[targets[number]], picked[targets[number]])
        for number, rows in rows_of_branches(step, block, nodes).items()
    }
    return BlockNeeded(picked, tiles, reads, branch_rows)


def _edge_columns(step: Superstep) -> dict[EdgeType, list[str]]:
    """Type of edges that a superstep reduces over → the columns that it reads of them."""
    found: dict[EdgeType, list[str]] = {edges_of(reduction).type: [] for reduction in step.reductions}
    for type, name in step.edge_columns:
        found[type].append(name)
    return found


def _tiles(step: Superstep, type: EdgeType, block: Block) -> list[tuple[int, Tile]]:
    """Those that some reduction goes through: perhaps not the loops."""
    spaces = [edges_of(reduction) for reduction in step.reductions]
    return list(
        {source: (source, tile) for s in spaces if s.type == type for source, tile in tiles_for(s, block)}.values()
    )


def _kept(tile: Tile, keep: Keep) -> Tile:
    values = {name: keep(array) for name, array in tile.values.items()}
    return Tile(tile.rows, tile.indptr, keep(tile.indices), values, tile.senders, tile.middles)


def _before(
    earlier: Superstep, step: Superstep, marks: Sequence[Mapping[str, Marks]], made: Sequence[BlockNeeded]
) -> list[dict[str, Marks]]:
    """The nodes that the superstep before has to compute: those that tiles read, and those that it keeps values for."""
    kept = {_type_of(value) for value in earlier.keeps if isinstance(value.space, Nodes)}
    before = [
        {type: of.copy() if type in kept else np.zeros(len(of), np.bool_) for type, of in each.items()}
        for each in marks
    ]
    for index, part in enumerate(made):
        for type, by_source in part.reads.items():
            for source, rows in by_source.items():
                before[index if source == LOOPS else source][type.source][rows] = True
    return before


def _type_of(value: Value) -> str:
    assert isinstance(value.space, Nodes)
    return value.space.type
