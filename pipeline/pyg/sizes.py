"""The check of an import on graphs of other sizes: where forward takes another way, and one that is larger than most.

Comes in: a recording and the graphs that it was checked on. Goes out: nothing, or a ModelError that names the line at
which the module goes by the size of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from pipeline.errors import ModelError
from pipeline.formula.program import Program
from pipeline.formula.spaces import ALL, Edges, Nodes
from pipeline.pyg.arguments import Signature
from pipeline.pyg.branches import REMEDY, Sizes, numbers_on, other_sides, outcome
from pipeline.pyg.check import check
from pipeline.pyg.counts import Comparison, Counts, Noticed
from pipeline.pyg.example import Example, example_of, kinds_of
from pipeline.pyg.forward import ForwardFailed
from pipeline.pyg.recording import Recording
from pipeline.pyg.types import UNTYPED, Types, counts_of
from pipeline.pyg.where import CANNOT
from pipeline.schema import EdgeType

NUMBERS = 1 << 20  # of all values on the larger graph: a third of an import's time
LARGEST, SMALLEST = 50_000, 1_500  # nodes of the larger graph
LOOPS_AGAIN = (423, 707, 151)  # nodes, edges, self-loops
MOST_EMPTIED = 24  # types of edges that are tried empty whatever forward does
CLEAN = 200  # smaller numbers of rows could be those of lanes, heads or steps


def check_on(
    net: torch.nn.Module, found: Signature, recording: Recording, known: Sequence[Example], widths: Collection[int]
) -> None:
    """ModelError where the module computes something else on one of the known graphs, of which the first was recorded;
    or on a graph of another size."""
    noticed = Noticed(list(recording.noticed.comparisons))
    for example in known[1:]:
        # an average over all nodes of a type without nodes is NaN
        empty = found.types.is_typed and not min(example.sizes.counts.values())
        try:
            check(net, found, recording, example, any_numbers=not empty)
        except ModelError as error:
            if isinstance(error, ForwardFailed) and not min(example.sizes.counts.values()):
                continue  # a type without nodes: what the module itself does not run on, nobody has numbers for
            asked = _asked(noticed.comparisons, example)
            if asked is None:
                raise
            raise _differs(asked, example, error) from error
    for edge_type in _emptied(found, recording):
        try:
            check(net, found, recording, known[-1].without(edge_type), any_numbers=False)
        except ForwardFailed:
            pass
        except ModelError as error:
            raise ModelError(
                f"{CANNOT}forward computes something else where there are no edges {edge_type.relation!r}; {REMEDY} "
                f"({error})"
            ) from error
    if recording.merges:  # also of self-loops, of which known graphs have one a node
        again = example_of(found.arguments, *LOOPS_AGAIN, widths, bool(found.matrices), found.types, True)
        check(net, found, recording, again, any_numbers=False)
    counts: list[Counts] = [each.sizes.counts for each in known]
    larger = larger_sizes(recording.program, found.types, kinds_of(found.arguments))
    _check(net, found, recording, larger, widths, noticed, None)
    counts.append(counts_of(found.types, *larger))
    while noticed.comparisons:
        sides = other_sides(noticed.comparisons, counts, recording.program, bool(found.matrices), found.types)
        noticed = Noticed()
        for comparison, sizes in sides:
            _check(net, found, recording, sizes, widths, noticed, comparison)
            counts.append(counts_of(found.types, *sizes))


def _emptied(found: Signature, recording: Recording) -> tuple[EdgeType, ...]:
    """Types of edges of which a graph may have none, each to be tried: forward may skip one. Of many types, which takes
    seconds, if forward asks for a size at all."""
    types = found.types.edges if found.types.is_typed else ()
    return types if len(types) <= MOST_EMPTIED or recording.noticed.comparisons else ()


def _check(
    net: torch.nn.Module,
    found: Signature,
    recording: Recording,
    sizes: Sizes,
    widths: Collection[int],
    noticed: Noticed,
    why: Comparison | None,
) -> None:
    """On a graph of these sizes. `noticed` learns what forward asks of them, `why` is a question that led here."""
    example = example_of(found.arguments, *sizes, widths, bool(found.matrices), found.types)
    seen = noticed if _is_clean(example.sizes.counts, widths) else None
    try:
        check(net, found, recording, example, seen, any_numbers=False)
    except ForwardFailed:
        pass  # what the module itself does not run on, nobody has numbers for
    except ModelError as error:
        asked = why or _asked(recording.noticed.comparisons, example)
        raise _differs(asked, example, error) from error


def _asked(comparisons: Sequence[Comparison], example: Example) -> Comparison | None:
    """A question that has another answer on this graph."""
    return next((each for each in comparisons if outcome(each, example.sizes.counts) != each.outcome), None)


def larger_sizes(program: Program, types: Types = UNTYPED, kinds: int = 0) -> Sizes:
    """A graph as large as costs little, in which there is a row of each of the kinds that forward tells apart."""
    per_node = max(1, numbers_on(program, counts_of(types, 1000, 1500, 50)) // 1000)
    nodes = max(SMALLEST, kinds + 2, min(LARGEST, NUMBERS // per_node)) | 1
    return nodes, nodes + nodes // 2, nodes // 20


def _is_clean(counts: Counts, widths: Collection[int]) -> bool:
    """Whether a number of rows can be nothing else."""
    found = list(counts.values())
    return min(found) > CLEAN and len(set(found)) == len(found) and set(widths).isdisjoint(found)


def _differs(asked: Comparison | None, example: Example, error: ModelError) -> ModelError:
    """The error of a check, with the question that forward asked, if one is known."""
    counts = example.sizes.counts
    nodes = sum(count for space, count in counts.items() if isinstance(space, Nodes) and type(space) is Nodes)
    edges = sum(count for space, count in counts.items() if isinstance(space, Edges) and space.part == ALL)
    question = f"asks whether {asked}, and " if asked else ""
    return ModelError(
        f"{CANNOT}forward {question}computes something else on a graph of {nodes:,} nodes and {edges:,} edges than on "
        f"one of another size; {REMEDY} ({error})"
    )
