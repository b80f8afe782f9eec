"""A module of half or double precision: how far its outputs are from those in float32, in which graphsweep computes.

Comes in: a module and example graphs. Goes out: a sentence with the largest change, or none for a module in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.pyg.arguments import Signature
from pipeline.pyg.copies import copied
from pipeline.pyg.example import Example
from pipeline.pyg.forward import run_forward


def precision_notes(net: torch.nn.Module, signature: Signature, examples: Sequence[Example]) -> list[str]:
    """One sentence for each precision other than float32 that the module's weights have."""
    floats = {tensor.dtype for tensor in [*net.parameters(), *net.buffers()] if tensor.dtype.is_floating_point}
    kinds = [kind for kind in (torch.float64, torch.float16, torch.bfloat16) if kind in floats]
    if not kinds:
        return []
    # where some weights are wider than others, rows come as the narrowest ones are
    own = kinds[-1] if kinds[-1] is not torch.float64 or torch.float32 not in floats else torch.float32
    name = " and ".join(str(kind).removeprefix("torch.") for kind in kinds)
    text = f"the module is {name}; graphsweep computes in float32"
    try:
        change, largest = _change(net, signature, examples, own)
    except ModelError as error:
        return [f"{text}; what that changes could not be measured, because its own forward does not run here: {error}"]
    return [f"{text}: on random graphs an output changes by at most {change:.1e}, where the largest is {largest:.1e}"]


def _change(
    net: torch.nn.Module, signature: Signature, examples: Sequence[Example], own: torch.dtype
) -> tuple[float, float]:
    """The largest difference of an output, and the largest output."""
    change = largest = 0.0
    for example in examples:
        before = _outputs(copied(net), signature, example, own)
        after = _outputs(copied(net).float(), signature, example, torch.float32)
        for name in before:
            both = torch.stack([before[name].double(), after[name].double()])
            both = both[:, both.isfinite().all(0)]
            if both.numel():
                change = max(change, float((both[0] - both[1]).abs().max()))
                largest = max(largest, float(both.abs().max()))
    return change, largest


def _outputs(net: torch.nn.Module, signature: Signature, example: Example, kind: torch.dtype) -> dict[str, Tensor]:
    """Of one forward on columns of this precision."""
    default = torch.get_default_dtype()
    columns = {
        name: tensor.to(kind) if tensor.dtype.is_floating_point else tensor for name, tensor in example.columns.items()
    }
    torch.set_default_dtype(kind)  # of what forward makes without a dtype
    try:
        with torch.no_grad():
            return run_forward(net, signature, replace(example.fresh(), columns=columns))
    finally:
        torch.set_default_dtype(default)
