"""One pass over tiles for all reductions that run over the same edges.

Comes in: compiled reductions. Goes out: an EdgePass, which gives each tile to all of them while it is in the cache.
Those that share what they read are one generated loop (joint_loop.py); the others take the tile in turn. Every result
has the bits that its reduction alone would give.

At 262,144 nodes and 4 million edges in 8 blocks, the edges of PNA (two sums, max, min and a count) take 0.67 of the
time of a pass for each when tiles are shared, and 0.41 to 0.45 when the loop is too. Of the whole layer, whose node
values are half of it, that is 0.86 and 0.69 to 0.78.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy.typing as npt

from pipeline.blocks.block import FloatArray, IntArray, LongArray, Tile
from pipeline.compiler.call import Loop, Read
from pipeline.compiler.edge_program import joint_program
from pipeline.compiler.joint_loop import sharing, write_joint_loop
from pipeline.compiler.load import load
from pipeline.compiler.loops import likeness, state_names
from pipeline.compiler.merging import write_merge
from pipeline.compiler.reduction import EMPTY, Accumulator, CompiledReduction
from pipeline.compiler.several import write_several
from pipeline.formula.reductions import Reduction

Partials = Mapping[int, FloatArray]
"""Value.id of each reduction → its partial results, one tile's behind another's."""
Accumulators = Mapping[int, Accumulator]
"""Value.id of each reduction → what it has added up to."""


class EdgePass:
    """Reductions over one part of the edges of a type."""

    def __init__(self, reductions: Sequence[CompiledReduction]):
        self.reductions = list(reductions)
        self.edges = reductions[0].edges
        self.sent = any(reduction.sent for reduction in reductions)
        self.edge_columns = sorted({name for reduction in reductions for name in reduction.edge_columns})
        self.takes_several = all(reduction.takes_several for reduction in reductions)
        loops = sharing([reduction.program for reduction in reductions])
        self._loops = [_loop([self.reductions[position] for position in members]) for members in loops]

    @cached_property
    def likeness(self) -> Hashable:
        """Equal for passes that do the same, whatever relations are called and node values they read at the targets:
        one of them may take the edges of all, if these read the same payload. None: edges have to come as they are, in
        tiles, or with values of their own."""
        if not self.takes_several or self.edge_columns:
            return None
        weights = tuple([array.tobytes() for each in self._loops for array in each.loop.weights])
        texts = tuple([each.loop.text for each in self._loops])
        return texts, weights, tuple([likeness(each.program, each.offsets) for each in self.reductions])

    def ranges(self, tiles: Sequence[Tile], nodes: int) -> list[tuple[int, int]]:
        """As CompiledReduction.ranges, of a reduction that is alone in its pass if it is one that needs them."""
        return self.reductions[0].ranges(tiles, nodes)

    def add(self, accumulators: Accumulators, tile: Tile, payload: FloatArray, read: Read) -> None:
        """Adds the edges of a tile to all reductions; as CompiledReduction.add."""
        for loop in self._loops:
            loop.add(accumulators, tile, payload, read)

    def add_several(
        self, accumulators: Accumulators, several: Several, payload: FloatArray, read: Read, partials: Partials
    ) -> None:
        """Adds several tiles put together, one after another, and after each of them what other blocks have begun of
        its edges: partial results of each reduction, of the rows several.merge_rows. No partials: nothing is begun."""
        for loop in self._loops:
            states = [array for reduction in loop.reductions for array in accumulators[reduction.value.id].results]
            merged: list[npt.NDArray[Any]] = [several.row_ends, several.merge_rows, several.merge_ends]
            merged += [partials.get(reduction.value.id, EMPTY) for reduction in loop.reductions if partials]
            sent = any(reduction.sent for reduction in loop.reductions)
            loop.loop.run_several(
                loop.several(bool(partials)), several.tile, payload if sent else EMPTY, read, states, merged
            )


class Several(NamedTuple):
    """Tiles put together (blocks/together.py), and which rows others have begun."""

    tile: Tile
    row_ends: LongArray
    """(k + 1,): of the tile's rows, those of each of the k tiles."""
    merge_rows: IntArray
    """Of each tile, the rows that have edges that are pushed."""
    merge_ends: LongArray
    """(k + 1,): of `merge_rows`."""


class _Single:
    def __init__(self, reduction: CompiledReduction):
        self.reduction = reduction
        self.reductions = [reduction]

    @property
    def loop(self) -> Loop:
        assert self.reduction.loop is not None, "takes_several"
        return self.reduction.loop

    def several(self, merging: bool) -> Callable[..., None]:
        program, record = self.reduction.program, self.reduction.record
        return _several(self.loop.text, [(record, state_names(program))] if merging else [])

    def add(self, accumulators: Accumulators, tile: Tile, payload: FloatArray, read: Read) -> None:
        self.reduction.add(accumulators[self.reduction.value.id], tile, payload, read)


class _Joint:
    def __init__(self, reductions: Sequence[CompiledReduction]):
        programs = [reduction.program for reduction in reductions]
        joint = joint_program(programs)
        offsets = {number: lane for reduction in reductions for number, lane in reduction.offsets.items()}
        weights = {number: array for reduction in reductions for number, array in reduction.weights.items()}
        self.reductions = reductions
        self.loop = Loop(write_joint_loop(joint, programs, offsets), joint, weights)

    def several(self, merging: bool) -> Callable[..., None]:
        numbered = [(each.record, state_names(each.program, number)) for number, each in enumerate(self.reductions)]
        return _several(self.loop.text, numbered if merging else [])

    def add(self, accumulators: Accumulators, tile: Tile, payload: FloatArray, read: Read) -> None:
        if not tile.edges:
            return
        results = [array for reduction in self.reductions for array in accumulators[reduction.value.id].results]
        sent = any(reduction.sent for reduction in self.reductions)
        self.loop.run(tile, payload if sent else EMPTY, read, [], results)


@cache
def _written(loop: str, merges: tuple[str, ...], states: tuple[tuple[str, ...], ...]) -> Callable[..., None]:
    return load(write_several(loop, merges, states))


def _several(loop: str, merged: Sequence[tuple[Reduction, Sequence[str]]]) -> Callable[..., None]:
    """The function that runs a loop over several tiles; `merged`: what is merged between, and into which states."""
    merges = tuple(write_merge(record) for record, _ in merged)
    return _written(loop, merges, tuple(tuple(names) for _, names in merged))


def _loop(reductions: Sequence[CompiledReduction]) -> _Single | _Joint:
    return _Single(reductions[0]) if len(reductions) == 1 else _Joint(reductions)
