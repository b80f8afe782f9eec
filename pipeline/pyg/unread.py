"""Weights that a program never reads: what a forgotten argument leaves behind.

Comes in: a module, its recording, and which weights the user says may go unread. Goes out: their names, or a ModelError
that names them and the arguments that were left out. A layer with weights for edge features runs without the features,
and without a word; that those weights are not in the program is what shows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch_geometric.nn import (
    DeepGraphInfomax,
    GMMConv,
    HGTConv,
    NNConv,
    ResGatedGraphConv,
    RGATConv,
    SAGEConv,
    SignedGCN,
    TransformerConv,
)
from torch_geometric.nn.aggr import DegreeScalerAggregation
from torch_geometric.nn.parameter_dict import ParameterDict

from pipeline.errors import ModelError, nearest
from pipeline.pyg.arguments import Signature
from pipeline.pyg.asked import column_hint
from pipeline.pyg.called import FORWARD
from pipeline.pyg.copies import copy_of
from pipeline.pyg.example import Example
from pipeline.pyg.forward import run_forward, run_whole, some
from pipeline.pyg.precision import in_float64

# Weights that PyG's own classes leave unread whatever forward is given: their constructor decides which ones are.
LEFT_BY_PYG: dict[type[torch.nn.Module], frozenset[str]] = {
    DeepGraphInfomax: frozenset(["weight"]),  # of its loss
    DegreeScalerAggregation: frozenset(["avg_deg_lin", "avg_deg_log"]),
    RGATConv: frozenset(["w", "l1", "b1", "l2", "b2"]),
    SignedGCN: frozenset(["lin"]),  # of the signs that it tells pairs of nodes
}
# The map of the node itself, which DirGNNConv turns off in the layers that it is given.
ROOT_MAPS: dict[type[torch.nn.Module], str] = {
    GMMConv: "root",
    NNConv: "lin",
    ResGatedGraphConv: "lin_skip",
    SAGEConv: "lin_r",
    TransformerConv: "lin_skip",
}
NOT_DATA = {"size", "num_nodes", "batch_size", "return_attention_weights"}  # optional arguments that are no columns
HOW_TO_ACCEPT = "if the model is right without them, accept it: unused=[{}]"


def unread_weights(
    net: torch.nn.Module, signature: Signature, read: Collection[str], example: Example
) -> tuple[str, ...]:
    """Names of the floating-point parameters and buffers that change nothing in the outputs. `read`: those that a
    recording has read."""
    tensors = named(net)
    shared = {id(tensors[name]) for name in read}
    names = [name for name, tensor in tensors.items() if tensor.dtype.is_floating_point and id(tensor) not in shared]
    names = [name for name in names if tensors[name].numel() and name not in signature.tables]
    if not names:
        return ()
    # the recording has seen no use of them; a use that it cannot see (a compiled extension) would change the outputs
    before = _outputs(net, signature, example, ())
    return tuple(_without_effect(net, signature, example, names, before))


def named(net: torch.nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, under all of its names."""
    return dict([*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)])


def check_unread(
    net: torch.nn.Module, signature: Signature, example: Example, unread: Sequence[str], accepted: Sequence[str]
) -> None:
    """ModelError if a weight goes unread that is neither accepted nor one that PyG's class never reads.

    `accepted`: names of weights, or patterns: "decoder.*".
    """
    known = named(net)
    for pattern in accepted:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in known):
            raise ModelError(f"unused names {pattern!r}, which is no weight of the module; {nearest(pattern, known)}")
    left = _left_by_pyg(net, unread)
    names = [
        name for name in unread if name not in left and not any(fnmatchcase(name, pattern) for pattern in accepted)
    ]
    if not names:
        return
    chosen = signature.outputs or signature.called.method != FORWARD
    if chosen and not signature.by_type:  # what another output reads was not forgotten
        names = [name for name in names if name not in _read_elsewhere(net, signature, example, names)]
        if not names:
            return
    lines = [f"weights that the recorded program never reads: {some(names)}", *_reasons(net, signature, example, names)]
    if not (signature.types.is_typed or signature.indices or signature.matrices or signature.adjs):
        lines.append("forward takes no edge_index: the model reads no graph, only columns of the nodes")
    left_out = [name for name in signature.left_out if name not in NOT_DATA]
    if left_out:
        parameters = signature.called.parameters
        columns = [name for name in left_out if name in parameters and parameters[name].default is None]
        hints = ", ".join(f"{name!r}: {column_hint(name)}" for name in columns)
        lines.append(f"forward ran without {', '.join(left_out)}" + (f"; to give: inputs={{{hints}}}" if hints else ""))
    lines.append(HOW_TO_ACCEPT.format(", ".join(map(repr, _patterns(names)))))
    raise ModelError("\n".join(lines))


# ---- which are read


def _without_effect(
    net: torch.nn.Module,
    signature: Signature,
    example: Example,
    names: Sequence[str],
    before: dict[str, Tensor],
    everything: bool = False,
) -> list[str]:
    """Those of the names whose numbers can be others without another output. Halves where some have an effect."""
    after = _outputs(net, signature, example, names, everything)
    if after.keys() == before.keys() and all(
        torch.equal(after[name].nan_to_num(), before[name].nan_to_num()) for name in before
    ):
        return list(names)
    if len(names) == 1:
        return []
    middle = len(names) // 2
    return [
        name
        for half in (names[:middle], names[middle:])
        for name in _without_effect(net, signature, example, half, before, everything)
    ]


def _outputs(
    net: torch.nn.Module, signature: Signature, example: Example, changed: Sequence[str], everything: bool = False
) -> dict[str, Tensor]:
    """Of one forward, with other numbers in some weights; none if it fails with them. `everything`: all tensors that
    it returns."""
    copied = copy_of(net)
    tensors, random = named(copied), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in changed:
            tensors[name].uniform_(0.5, 1.5, generator=random)
    with in_float64():
        try:
            if everything:
                leaves = tree_leaves(run_whole(copied, signature, example.fresh()))
                return {str(place): each for place, each in enumerate(leaves) if isinstance(each, Tensor)}
            return run_forward(copied, signature, example.fresh())
        except ModelError:
            if not changed:
                raise
            return {}


def _read_elsewhere(net: torch.nn.Module, signature: Signature, example: Example, names: Sequence[str]) -> set[str]:
    """Those of the names that change something in what forward returns beside the wanted outputs."""
    whole = replace(signature, outputs=(), called=replace(signature.called, method=FORWARD))
    try:
        before = _outputs(net, whole, example, (), everything=True)
    except ModelError:  # such as a corrupted graph that cannot be made: then nothing is known
        return set()
    return {name for name in names if not _without_effect(net, whole, example, [name], before, everything=True)}


def _left_by_pyg(net: torch.nn.Module, names: Sequence[str]) -> set[str]:
    """Those that no input makes PyG's own classes read."""
    left = set()
    for name in names:
        for path in _up(name):
            owner = net.get_submodule(path.rpartition(".")[0])
            own = path.rpartition(".")[2]
            turned_off = getattr(owner, "root_weight", True) is False and own == ROOT_MAPS.get(type(owner))
            if own in LEFT_BY_PYG.get(type(owner), ()) or turned_off:
                left.add(name)
            if isinstance(owner, HGTConv) and _left_by_hgt(owner, name.removeprefix(f"{path.rpartition('.')[0]}.")):
                left.add(name)
    return left


def _left_by_hgt(conv: HGTConv, name: str) -> bool:
    """Whether it belongs to a type that gets no messages, or whose input and output differ in width."""
    part, _, rest = name.partition(".")
    key = rest.removeprefix("lins.").partition(".")[0]
    node_type = next((each for each in conv.node_types if ParameterDict.to_internal_key(each) == key), None)
    if node_type is None or part not in ("skip", "out_lin"):
        return False
    same_width = conv.kqv_lin.lins[node_type].weight.shape[1] == conv.out_channels
    return node_type not in conv.dst_node_types or (part == "skip" and not same_width)


# ---- why they are not


def _reasons(net: torch.nn.Module, signature: Signature, example: Example, names: Sequence[str]) -> list[str]:
    """One line for each module that has such weights: how it was called."""
    copied = copy_of(net)
    calls: dict[str, set[str]] = {}
    with _called(copied, names, calls), in_float64():
        run_forward(copied, signature, example.fresh())
    lines = []
    for path in dict.fromkeys(name.rpartition(".")[0] for name in names):
        around = list(_up(path))
        called = next((each for each in around if each in calls), None)
        if called and calls[called]:
            lines.append(f"{called} ({_kind(copied, called)}) ran without {', '.join(sorted(calls[called]))}")
        if around and around[0] != called:
            outermost = around[around.index(called) - 1] if called else around[-1]
            lines.append(f"{outermost} ({_kind(copied, outermost)}) was not called")
    return list(dict.fromkeys(lines))


def _kind(net: torch.nn.Module, path: str) -> str:
    return type(net.get_submodule(path)).__name__


def _up(path: str) -> Iterator[str]:
    """A module's path, then those of the modules around it."""
    while path:
        yield path
        path = path.rpartition(".")[0]


@contextmanager
def _called(net: torch.nn.Module, names: Sequence[str], calls: dict[str, set[str]]) -> Iterator[None]:
    """While the block runs, `calls` learns which optional arguments the modules of some weights are never given."""
    paths = {path for name in names for path in _up(name.rpartition(".")[0])}

    def watching(path: str) -> Any:
        def enter(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            missing = _not_given(module, args, kwargs)
            calls[path] = calls.get(path, missing) & missing

        return enter

    handles = [net.get_submodule(path).register_forward_pre_hook(watching(path), with_kwargs=True) for path in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _not_given(module: torch.nn.Module, args: Any, kwargs: Any) -> set[str]:
    """Optional arguments of a forward that are left at None."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return set()
    optional = {name for name, each in bound.signature.parameters.items() if each.default is None} - NOT_DATA
    return {name for name in optional if bound.arguments.get(name) is None}


def _patterns(names: Sequence[str]) -> list[str]:
    """Names as they are, or with a star where many have the same beginning."""
    if len(names) <= 3:
        return list(names)
    tops = dict.fromkeys(name.partition(".")[0] for name in names)
    return [f"{top}.*" if any(name.startswith(f"{top}.") for name in names) else top for top in tops][:5]
