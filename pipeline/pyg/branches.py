"""The other side of every comparison of a size: a graph on which it comes out otherwise.

Comes in: what a recording noticed, and the graphs that check it anyway. Goes out: the sizes of further graphs to check
it on, or a ModelError where none can be made. `if x.size(0) > 2000` is met by a graph of 2,001
nodes; `> 10**7` by none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from pipeline.errors import ModelError
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.pyg.chosen import Chosen
from pipeline.pyg.counts import Comparison, Counts
from pipeline.pyg.types import Types, counts_of
from pipeline.pyg.where import CANNOT

Sizes = tuple[int, int, int]
"""Nodes, edges that are no self-loops, self-loops."""

MOST_NUMBERS = 1 << 26  # of all values of a program on one graph: 0.5 GB in float64, some seconds
LARGEST = 10**15  # beyond it there are no graphs
USUAL = 300  # nodes or edges: what a check graph has where it can choose


def numbers_on(program: Program, counts: Counts) -> int:
    """How many numbers the values of a program are, all together, on a graph."""
    total = 0
    for value in program.values:
        space = value.space
        if isinstance(space, Edges):
            # against the edges there are as many; between two types there are no self-loops
            kind = space.type.forward
            rows = counts.get(Edges(kind, space.part), counts[Edges(kind)])
        elif isinstance(space, Nodes):
            rows = counts[space]
        else:
            continue
        total += value.width * rows
    return total


def other_sides(
    comparisons: Iterable[Comparison], known: Sequence[Counts], program: Program, distinct: bool, types: Types
) -> list[tuple[Comparison, Sizes]]:
    """For each comparison that comes out the same on all known graphs, a graph on which it does not.

    ModelError where the only such graphs are too large to run. A comparison that always comes out the same needs none.
    """
    found: list[tuple[Comparison, Sizes]] = []
    seen = list(known)
    for comparison in comparisons:
        if _of_a_choice(comparison, seen[0]):
            raise ModelError(
                f"{CANNOT}forward asks whether {comparison}; how many nodes a mask chooses is known only from the "
                "data, and a program may not depend on it"
            )
        if any(outcome(comparison, counts) != comparison.outcome for counts in seen):
            continue
        flips = [sizes for sizes in _candidates(comparison, distinct, types) if _flips(comparison, sizes, types)]
        if not flips:
            continue
        reached = [sizes for sizes in flips if numbers_on(program, counts_of(types, *sizes)) <= MOST_NUMBERS]
        if not reached:
            nodes, proper, loops = min(flips, key=sum)
            raise ModelError(
                f"{CANNOT}forward asks whether {comparison}; it comes out otherwise on a graph of {nodes:,} nodes and "
                f"{proper + loops:,} edges, which is too large to check the import on: {REMEDY}"
            )
        sizes = min(reached, key=_unusual)
        found.append((comparison, sizes))
        seen.append(counts_of(types, *sizes))
    return found


REMEDY = "a program may not depend on the size of the graph; import a module that always goes the way of your graph"


class _Choosing(dict[Any, int]):
    """Counts of a graph of which a mask chooses `chosen` nodes."""

    def __init__(self, counts: Counts, chosen: int):
        super().__init__(counts)
        self.chosen = chosen

    def __missing__(self, space: Any) -> int:
        assert isinstance(space, Chosen), space
        return self.chosen


def _of_a_choice(comparison: Comparison, counts: Counts) -> bool:
    """Whether it depends on how many nodes a mask chooses, if it chooses any."""
    outcomes = {comparison.on(_Choosing(counts, chosen)) for chosen in _ladder() if chosen}
    return len(outcomes) > 1


def outcome(comparison: Comparison, counts: Counts) -> bool:
    try:
        return comparison.on(counts)
    except (KeyError, ArithmeticError, ValueError):
        return comparison.outcome


def _flips(comparison: Comparison, sizes: Sizes, types: Types) -> bool:
    return outcome(comparison, counts_of(types, *sizes)) != comparison.outcome


def _unusual(sizes: Sizes) -> float:
    """How far from a usual check graph."""
    return sum(abs(math.log((size + 1) / USUAL)) for size in sizes[:2])


def _candidates(comparison: Comparison, distinct: bool, types: Types) -> Iterator[Sizes]:
    """Graphs of many sizes, among them those between which the comparison changes."""
    for family in (_few_edges, _few_nodes, _sparse, _dense):
        yield from (
            sizes
            for k in _with_changes(comparison, family, _ladder(), types)
            if _possible(sizes := family(k), distinct)
        )


def _few_edges(k: int) -> Sizes:
    """k nodes."""
    return max(k, 1), min(k // 2, 97), min(k // 4, 5)


def _few_nodes(k: int) -> Sizes:
    """k edges."""
    return max(math.isqrt(8 * k), 7), k - k // 8, k // 8 if k < 40 else 5


def _sparse(k: int) -> Sizes:
    return max(k, 1), k + k // 4 if k > 1 else 0, k // 8


def _dense(k: int) -> Sizes:
    return max(k, 1), 20 * k if k > 50 else 0, k // 8


def _possible(sizes: Sizes, distinct: bool) -> bool:
    nodes, proper, loops = sizes
    linked = nodes - nodes // 10
    if linked < 2 and proper:
        return False
    return loops <= linked and not (distinct and proper > linked * (linked - 1) // 2)


def _ladder() -> list[int]:
    steps = {int(1.5**power) for power in range(int(math.log(LARGEST, 1.5)))}
    return sorted(steps | set(range(64)) | {10**power for power in range(15)})


def _with_changes(
    comparison: Comparison, family: Callable[[int], Sizes], ladder: Sequence[int], types: Types
) -> Iterator[int]:
    """The ladder, and the steps at which left - right changes its sign."""
    yield from ladder
    for low, high in pairwise(ladder):
        a, b = (_difference(comparison, family(k), types) for k in (low, high))
        if a is None or b is None or (a > 0) == (b > 0):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            between = _difference(comparison, family(middle), types)
            if between is None:
                break
            low, high = (low, middle) if (between > 0) != (a > 0) else (middle, high)
        yield from (k for k in (low - 1, low, low + 1, high, high + 1) if k >= 0)


def _difference(comparison: Comparison, sizes: Sizes, types: Types) -> float | None:
    counts = counts_of(types, *sizes)
    try:
        return float(comparison.left.on(counts) - comparison.right.on(counts))
    except (KeyError, ArithmeticError, ValueError):
        return None
