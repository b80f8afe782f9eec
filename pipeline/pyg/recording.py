"""One recorded forward: from a module and an example graph to the symbols of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ModelError
from pipeline.formula.program import Program, output_key
from pipeline.formula.spaces import ALL, SELF_PART, Edges, Nodes
from pipeline.formula.values import Value, apply, edge_input, node_input, topological
from pipeline.pyg.arguments import Argument, Signature
from pipeline.pyg.captured import Captured
from pipeline.pyg.chosen import ONE_MASK, Chosen
from pipeline.pyg.copies import copy_of
from pipeline.pyg.counts import Noticed, ReadsSizes
from pipeline.pyg.example import Example
from pipeline.pyg.forward import run_forward
from pipeline.pyg.library import recorded_whole
from pipeline.pyg.precision import float64_factories
from pipeline.pyg.recorder import ReadsByPython, Recorder, Step
from pipeline.pyg.symbols import EdgeIndex, Joined, Opaque, Rows, Symbol
from pipeline.pyg.types import Types, triple
from pipeline.pyg.where import ModuleStack
from pipeline.schema import EdgeType


@dataclass(frozen=True)
class Recording:
    program: Program
    weights: dict[str, npt.NDArray[np.float64]]
    steps: list[Step]
    read: frozenset[str]
    """Weights of the module that the program is made of."""
    noticed: Noticed
    """What forward did with the sizes of the graph."""
    keys: Mapping[str, str]
    """Output of forward → output of the program."""
    captured: Captured
    unconfirmed: ModelError | None
    """The error if the check on other graphs does not confirm what was taken for the same: values of two self-loops
    that were added up, edges of the same two nodes that were left apart."""
    merges: bool
    """Whether that was done to edges, self-loops among them."""


def record(net: torch.nn.Module, signature: Signature, example: Example, keep: bool = False) -> Recording:
    """Runs forward once. ModelError where an output is no value per node, or cannot be said in a formula."""
    net, example = copy_of(net), example.fresh()
    stack = ModuleStack(net)
    captured = Captured(net)
    recorder = Recorder(example.sizes, captured, stack, keep)
    for edge_type, edge_index in example.edge_indices.items():
        recorder.bind(edge_index, EdgeIndex(Edges(edge_type)))
    for argument in signature.arguments:
        recorder.bind(example.columns[argument.name], Rows(_input(argument)))
    sizes = ReadsSizes(recorder.sizes, Noticed())
    with (
        float64_factories(), recorded_whole(recorder), stack.watching(), sizes.watching(), ReadsByPython(recorder),
        recorder,
    ):  # fmt: skip
        outputs = run_forward(net, signature, example)
    values = _values({name: recorder.symbol(tensor) for name, tensor in outputs.items()})
    _refuse_both(values)
    keys = {name: _key(name, value, signature.types) for name, value in values.items()}
    program = Program({keys[name]: value for name, value in values.items()})
    return Recording(
        program,
        captured.arrays,
        recorder.steps,
        frozenset(captured.read(program.values)),
        sizes.noticed,
        keys,
        captured,
        recorder.unconfirmed,
        recorder.merges,
    )


def recorded_weights(recording: Recording) -> frozenset[str]:
    """Weights of the module that some recorded value is made of, whether an output needs it or not."""
    return frozenset(recording.captured.read(topological(step.symbol.value for step in recording.steps)))


def _input(argument: Argument) -> Value:
    space = argument.space
    if isinstance(space, Nodes):
        column = node_input(argument.input, argument.shape, space)
    else:
        column = edge_input(argument.input, argument.shape, space)
    return apply("not_equal", column, 0.0) if argument.mask else column


def _key(name: str, value: Value, types: Types) -> str:
    """What the program calls an output of forward, which may have told the type by a key of a dict. ModelError if that
    is a type of nodes, and the rows are of edges."""
    assert isinstance(value.space, Nodes | Edges)
    kind = value.space.type
    if isinstance(kind, EdgeType):
        kind = kind.forward
        told = [each for each in types.nodes if types.is_typed and name.startswith(output_key(each, ""))]
        if told:
            raise ModelError(
                f"output {name!r} has one row per edge of ({', '.join(triple(kind))}), and forward returned it as one "
                f"of nodes {told[0]!r}: return it alone, or in a dict under the type of its edges"
            )
    return name if name.startswith(output_key(kind, "")) else output_key(kind, name)


class GraphLevel(ModelError):
    """The model gives one row for the whole graph."""


def _values(symbols: Mapping[str, Symbol]) -> dict[str, Value]:
    """The value of each output; the error of one that has none names those that have."""
    found: dict[str, Value] = {}
    failed: list[ModelError] = []
    for name, symbol in symbols.items():
        try:
            found[name] = _output(name, symbol)
        except ModelError as error:
            failed.append(error)
    if not failed:
        return found
    if not found:
        raise failed[0]
    raise type(failed[0])(f"{failed[0]}; to import the others: outputs={list(found)}") from failed[0]


def _refuse_both(values: Mapping[str, Value]) -> None:
    """ModelError if some outputs are of nodes and some of edges."""
    edges = [name for name, value in values.items() if value.is_edge]
    nodes = [name for name in values if name not in edges]
    if edges and nodes:
        raise ModelError(
            f"the module gives a row per node ({', '.join(nodes)}) and a row per edge ({', '.join(edges)}), and a "
            f"result is one table: import each by itself, outputs={nodes} and outputs={edges}"
        )


def _check_edges(name: str, edges: Edges) -> None:
    """ModelError unless an output of edges has a row for each edge of the table."""
    if edges.part in SELF_PART.values():
        raise ModelError(
            f"output {name!r} of the module has rows of self-loops that a layer adds, which are no edges of the table "
            "(attention weights of GATConv, for example): return a row for each edge of edge_index as it is given"
        )
    if edges.part != ALL:
        raise ModelError(
            f"output {name!r} of the module has rows of a part of the edges only, with or without self-loops; a result "
            "has one row for each edge of the table: return a row for each edge of edge_index as it is given"
        )


def _output(name: str, symbol: Symbol) -> Value:
    if isinstance(symbol, Opaque):
        raise symbol.error
    if isinstance(symbol, Joined):
        raise ModelError(
            f"output {name!r} of the module has the rows of {', '.join(map(str, symbol.spaces))}, one after the other; "
            "return a dict, type → tensor: out.split(sizes)"
        )
    if not isinstance(symbol, Rows):
        raise ModelError(
            f"output {name!r} of the module does not depend on the nodes' columns; one row per node is expected"
        )
    if symbol.is_whole:
        raise GraphLevel(
            f"output {name!r} of the module has one row for the whole graph (graph-level output); "
            "graphsweep gives one row per node: import the part of the module before the pooling"
        )
    if isinstance(symbol.space, Chosen):
        raise ModelError(f"output {name!r} of the module has one row for each of the {symbol.space}; {ONE_MASK}")
    if isinstance(symbol.space, Edges):
        _check_edges(name, symbol.space)
    if symbol.axis or symbol.before or symbol.after:
        raise ModelError(
            f"output {name!r} of the module has its rows in axis {symbol.axis}; they must be the first axis"
        )
    return symbol.value
