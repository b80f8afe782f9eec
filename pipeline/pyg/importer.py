"""A PyTorch Geometric module becomes a program, by being run once.

Comes in: an unmodified module. Goes out: program, weights, and which column each input is. No layer is known by name:
what its forward does to the tensors of a small random graph is recorded, said as a formula, and checked on others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from traceback import walk_tb
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.nn import GINConv, MFConv, SAGEConv

from pipeline.errors import GraphsweepError, ModelError, shortened
from pipeline.formula.program import Program, input_name
from pipeline.formula.spaces import Edges, Nodes
from pipeline.pyg.arguments import COLUMN, GCN_NORM, TABLES, Features, Inputs, Matrix, Signature, signature
from pipeline.pyg.as_run import check_as_run
from pipeline.pyg.asked import Unanswered
from pipeline.pyg.called import FORWARD, called
from pipeline.pyg.copies import copied, copy_of, unwrapped
from pipeline.pyg.edge_sets import edge_sets
from pipeline.pyg.example import examples, small_examples, tiny_example
from pipeline.pyg.forward import ForwardFailed, check_ready, check_weights, run_forward
from pipeline.pyg.like import data_like
from pipeline.pyg.of_ones import ones_notes
from pipeline.pyg.one_thread import one_thread
from pipeline.pyg.outputs import Outputs, Wanted, wanted_outputs
from pipeline.pyg.own_precision import precision_notes
from pipeline.pyg.precision import in_float64
from pipeline.pyg.recording import GraphLevel, record, recorded_weights
from pipeline.pyg.search import NoRows, with_widths
from pipeline.pyg.sizes import check_on
from pipeline.pyg.typed_arguments import (
    EDGE_INDICES,
    has_types,
    hint,
    is_told,
    told_by,
    told_widths,
    typed_signature,
    types_for,
)
from pipeline.pyg.unread import check_unread, unread_weights
from pipeline.pyg.untold import BATCHES, AsksBatch
from pipeline.pyg.where import CANNOT
from pipeline.pyg.widths import with_found_widths

WITHOUT_VALUES = (GINConv, MFConv, SAGEConv)  # layers of PyG that call set_value(None) on a SparseTensor


@dataclass(frozen=True)
class Imported:
    """What an import gives."""

    program: Program
    weights: dict[str, npt.NDArray[np.float64]]
    columns: dict[str, str]
    """Program input → table column."""
    unread: tuple[str, ...] = ()
    """Weights of the module that change nothing in its outputs."""
    left_out: tuple[str, ...] = ()
    """Arguments of forward that nobody gave, or that are None because the user says so."""
    notes: tuple[str, ...] = ()
    """What has to be said of the import, a sentence each."""
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Table column that stands for several → their names, in order."""
    origin: str = ""
    """The class of the module."""


def import_module(
    net: torch.nn.Module,
    inputs: Inputs = None,
    features: Features = None,
    seed: int = 0,
    unused: Sequence[str] = (),
    metadata: Any = None,
    like: Any = None,
    outputs: Outputs = (),
) -> tuple[Program, dict[str, npt.NDArray[np.float64]], dict[str, str]]:
    """The program that a module computes, its weights in float64, and program input → table column.

    Parameters
    ----------
    net
        In evaluation mode. It is not changed: everything runs on copies, in float64.
    inputs
        Argument of forward → column, for optional arguments and other names:
        `{"edge_weight": "edges.weight", "pos": "nodes.pos"}`. Required x, edge_index, edge_weight and edge_attr need
        no mention. A forward that takes `data` gets its attributes the same way; every attribute that it asks for has
        to be named. Several columns of numbers are one row, in their order: `{"edge_attr": ["edges.a", "edges.b"]}`; of
        x, edge_attr and edge_weight `["a", "b"]` is enough. None: there is none, `{"edge_weight": None}`. A number is
        the same for every graph: `{"scale": 2.0}`; "num_nodes" is the number of nodes; "data" stands for a Data object,
        of which the other names are attributes. A list such as `["edge_index", "edge_index"]` stands for the sampled
        edges of two layers: each gets all edges. Of several sets of edges over the same nodes each is the name of its
        table, or its edge type: `{"pos_edge_index": "pos", "neg_edge_index": "neg"}`; its columns are "pos.amount".
        The name of a parameter whose rows are learned, one for each node, is a column too:
        `{"embedding.weight": "nodes.embedding"}`. A sparse matrix such as PyG's `adj_t` is `("edge_index", VALUES)`:
        values are a column, "edges.weight"; or None, all are 1; or "gcn_norm", for a matrix that was normalised before
        training (self-loops of weight 1 added, D^-1/2 A D^-1/2), as OGB's examples do.
    features
        The width of x, or argument → width, or shape of a row, or range(K) for one integer from 0 to K - 1 in each
        row, such as a category: `{"x": 64, "kind": range(10)}`; several in a row are `(9, range(10))`; bool for a mask,
        which is true where the column is not 0. What is left out is found by trying.
    seed
        Of the random graphs.
    unused
        Weights that may go unread, by name or pattern: `["decoder.*"]`.
    outputs
        What the outputs are called, since a tensor has no name: `["logits"]`, or as many names as forward returns
        tensors; else it is "output", or "output_0", "output_1", …. Where forward returns a dict or a named tuple, these
        are their names, and `outputs` says which of them are wanted, in which order: `["logits"]`, `["output_0"]`. Both
        at once: `{"logits": "output_0"}`. None: all.
    metadata, like
        Of a module with several types: (node types, edge types); or a HeteroData such as it was trained on, or the
        graph that it is for, which also tell widths and which types have which columns. Needed only where the module
        has no metadata of its own. Then `inputs` and `features` may say something for each type:
        `{"x_dict": {"paper": 64, "author": 16}}`.

    Raises
    ------
    ModelError
        Naming the module, the line and the operation, where the model cannot be said in a formula. Naming weights that
        the program never reads, unless `unused` does, and the arguments that were left out.
    """
    found = imported(net, inputs, features, seed, unused, metadata, like, outputs)
    return found.program, found.weights, found.columns


def imported(
    net: torch.nn.Module,
    inputs: Inputs = None,
    features: Features = None,
    seed: int = 0,
    unused: Sequence[str] = (),
    metadata: Any = None,
    like: Any = None,
    outputs: Outputs = (),
) -> Imported:
    """As `import_module`, with what has to be said of the import."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise ModelError(
            f"inputs is {shortened(inputs)}; argument → column is expected, {{'edge_weight': 'edges.weight'}}"
        )
    net = unwrapped(net)
    check_ready(net)
    named = wanted_outputs(outputs)
    copied(net)  # what is in the way of every copy is said before widths are tried
    with one_thread(), torch.random.fork_rng(devices=()):  # a forward may draw; the user's next numbers are his own
        try:
            found = _found(net, inputs, features, seed, unused, metadata, like, named)
        except GraphsweepError:
            raise
        except Exception as error:
            if _is_ours(error):
                raise
            raise ModelError(f"{CANNOT}{type(net).__name__} raises {type(error).__name__}: {error}") from error
    return replace(found, origin=f"{type(net).__module__}.{type(net).__qualname__}")


def _is_ours(error: Exception) -> bool:
    """Whether a line of this project raised an error: our mistake, unlike what the module, PyG or torch raise."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("pipeline.")


def _found(
    net: torch.nn.Module,
    inputs: Inputs,
    features: Features,
    seed: int,
    unused: Sequence[str],
    metadata: Any,
    like: Any,
    outputs: tuple[Wanted, ...],
) -> Imported:
    like = None if like is None else data_like(like)
    sets = edge_sets(inputs or {}, TABLES, like)
    if has_types(net, metadata, like) and not sets:
        types = types_for(net, metadata, like)
        found = replace(typed_signature(net, inputs, types, like), outputs=outputs)
        return _imported(net, found, features, seed, unused, like)
    try:
        own = replace(signature(net, inputs, like if sets else None), outputs=outputs)
        return _of_one_type(net, own, told_by(own, features, like), seed, unused)
    except ModelError as error:
        pooled = _pooled(net, inputs, features, seed, outputs, error)
        raise (pooled or error) from None


def _pooled(
    net: torch.nn.Module, inputs: Inputs, features: Features, seed: int, outputs: tuple[Wanted, ...], error: ModelError
) -> ModelError | None:
    """The error of a model that gives a row per graph, if that is why the import failed. What it pools by is a batch,
    whose column hides that in many ways."""
    taken = dict.fromkeys([*(inputs or {}), *called(net).named])
    batch = next((name for name in taken if name in BATCHES), None)
    if isinstance(error, Unanswered):
        batch = batch or next((name for name in error.names if name in BATCHES), None)
    if batch is None or isinstance(error, GraphLevel) or (inputs or {}).get(batch, batch) is None:
        return None
    left = (
        {name: form for name, form in features.items() if name != batch} if isinstance(features, Mapping) else features
    )
    try:
        found = replace(signature(net, {**(inputs or {}), batch: None}), outputs=outputs)
        _of_one_type(net, found, left, seed, ["*"])
    except ForwardFailed:
        return None
    except ModelError as other:  # an operation that the column of a batch hid
        return other if isinstance(other, GraphLevel) or isinstance(error, AsksBatch) else None
    return None


def _of_one_type(
    net: torch.nn.Module, found: Signature, features: Features, seed: int, unused: Sequence[str]
) -> Imported:
    ones = tuple(matrix for matrix in found.matrices if matrix.values is None)
    if not ones:
        return _imported(net, found, features, seed, unused)
    others = tuple(matrix for matrix in found.matrices if matrix.values is not None)
    try:  # PyG's layers take edge_index in place of a matrix; a product with the matrix does not
        as_edges = replace(found, indices=(*found.indices, *(each.name for each in ones)), matrices=others)
        return _imported(net, as_edges, features, seed, unused, ones=ones)
    except Unanswered:
        raise
    except ModelError as error:
        try:
            return _imported(net, found, features, seed, unused)
        except ModelError:
            raise error from None


def _imported(
    net: torch.nn.Module,
    found: Signature,
    features: Any,
    seed: int,
    unused: Sequence[str],
    like: Any = None,
    ones: Sequence[Matrix] = (),
) -> Imported:
    """`ones`: matrices of ones in whose place edge_index is given."""
    any_width: tuple[str, ...] = ()
    if found.by_type:
        found, any_width = _typed_widths(net, found, features, like)
    else:
        found = _with_widths(net, found, features)
    widths = _widths(net, found)
    recorded, *others = examples(found.arguments, widths, seed, bool(found.matrices), found.types)
    recording = record(net, found, recorded)
    check_weights(recording.weights)
    unread = unread_weights(net, found, recording.read, recorded)
    # of the last layer many models read one type only: what is made for the others is no sign of an argument forgotten
    elsewhere = recorded_weights(recording) if found.by_type else frozenset()
    check_unread(net, found, recorded, [name for name in unread if name not in elsewhere], unused)
    check_on(net, found, recording, [recorded, *others], widths)
    small = small_examples(found.arguments, bool(found.matrices), found.types)
    check_as_run(recording.program, recording.weights, (each.arrays for each in small))
    columns = {f"{argument.space}.{argument.input}": argument.column for argument in found.arguments}
    read = {input_name(column) for column in recording.program.inputs}
    unknown = [each for each in found.arguments if each.name in any_width and f"{each.space}.{each.input}" in read]
    if unknown:
        raise ModelError(f"several widths fit {', '.join(each.name for each in unknown)}; give {hint(unknown)}")
    left_out = (*found.left_out, *(f"{name} (None)" for name in found.none))
    dropped = [each.name for each in found.arguments if f"{each.space}.{each.input}" not in read]
    columns = {name: columns[name] for name in columns if name in read}
    several = {argument.column: argument.made_of for argument in found.arguments if argument.made_of}
    several = {column: names for column, names in several.items() if column in columns.values()}
    notes = (*_notes(net, found), *precision_notes(net, found, others))
    if ones:
        notes = (*notes, *ones_notes(net, found, ones, next(examples(found.arguments, widths, seed, distinct=True))))
    if found.by_type and dropped and not found.as_data:  # forward of data takes what it reads
        notes = (*notes, f"no output depends on {', '.join(dropped)}: the graph needs no such columns")
    weights = {name: recording.weights[name] for name in recording.program.weights}
    return Imported(recording.program, weights, columns, unread, left_out, notes, several)


def _notes(net: torch.nn.Module, found: Signature) -> list[str]:
    """What was taken for the graph, where that is not edge_index itself."""
    notes = [] if found.called.method == FORWARD else [f"{type(net).__name__} is imported as its {found.called.method}"]
    notes += [f"{name} is given all edges in each of its {layers} layers" for name, layers in found.adjs]
    if not (found.types.is_typed or found.indices or found.matrices or found.adjs):
        notes.append("the model reads no edges")
    notes += [
        f"{name} is given the ends of the edges, without values" for name in found.indices if name not in EDGE_INDICES
    ]
    said = {None: "are all 1", GCN_NORM: "are those of PyG's gcn_norm, with self-loops", COLUMN: "are a column"}
    notes += [f"{matrix.name} is a matrix whose values {said[matrix.values]}" for matrix in found.matrices]
    kinds = sorted({type(module).__name__ for module in net.modules() if isinstance(module, WITHOUT_VALUES)})
    if kinds and any(matrix.values for matrix in found.matrices):
        notes.append(
            f"PyG's {', '.join(kinds)} multiplies by the values of a torch.sparse matrix, as is done here, but leaves "
            "out those of a torch_sparse.SparseTensor; if yours is one, give ('edge_index', None)"
        )
    return notes


def _widths(net: torch.nn.Module, found: Signature) -> set[int]:
    """Sizes that occur in the model, or in what it is given."""
    widths = {size for tensor in net.state_dict().values() for size in tensor.shape}
    widths |= {size for argument in found.arguments for size in argument.shape}
    return widths | {int(number) for _, number in found.constants if math.isfinite(number)}


def _with_widths(net: torch.nn.Module, found: Signature, features: Features) -> Signature:
    return with_widths(net, found, features, partial(_try, net), partial(_explain, net))


def _explain(net: torch.nn.Module, candidate: Signature) -> None:
    """ModelError with the operation that cannot be said, where that and not a width is why forward fails."""
    example = next(examples(candidate.arguments, _widths(net, candidate), 0, bool(candidate.matrices), candidate.types))
    with suppress(ForwardFailed):
        record(net, candidate, example)


def _typed_widths(
    net: torch.nn.Module, found: Signature, features: Any, like: Any
) -> tuple[Signature, tuple[str, ...]]:
    told = [
        argument.name
        for argument in found.arguments
        if argument.name in found.tables or is_told(argument, features, like)
    ]
    return with_found_widths(told_widths(found, features, like), told, partial(_try, net), partial(_explain, net))


def _try(net: torch.nn.Module, candidate: Signature) -> None:
    """Runs forward on a small graph; an error if the widths do not fit."""
    tiny = tiny_example(candidate.arguments, _widths(net, candidate), bool(candidate.matrices), candidate.types)
    with in_float64():
        outputs = run_forward(copy_of(net), candidate, tiny)
    if candidate.by_type:
        return  # its widths are found where forward fails; the recording says what is wrong with an output
    rows = [count for space, count in tiny.sizes.counts.items() if isinstance(space, Nodes | Edges)]
    for name, tensor in outputs.items():
        if not tensor.dim() or tensor.shape[0] not in rows:
            raise NoRows(
                f"output {name!r} of the module has shape {tuple(tensor.shape)}, not a row per node or per edge"
            )
