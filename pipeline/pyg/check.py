"""The import checks itself: on other graphs, the program must give what the module gives.

Comes in: a module and its recording. Goes out: nothing, or a ModelError that names the first operation that differs. A
size, a mask or a number of the example graph that went into the program cannot go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ModelError
from pipeline.formula.interpret import evaluate, interpret
from pipeline.pyg.arguments import Signature
from pipeline.pyg.copies import copy_of
from pipeline.pyg.counts import Noticed, ReadsSizes, of_math
from pipeline.pyg.example import Example
from pipeline.pyg.forward import run_forward
from pipeline.pyg.layout import tensor_shape
from pipeline.pyg.precision import in_float64
from pipeline.pyg.recording import Recording, record
from pipeline.pyg.replaced import replaced
from pipeline.pyg.same import same
from pipeline.pyg.symbols import Rows


def check(
    net: torch.nn.Module,
    signature: Signature,
    recording: Recording,
    example: Example,
    noticed: Noticed | None = None,
    any_numbers: bool = True,
) -> None:
    """ModelError unless program and module agree on a graph that was not recorded.

    `noticed` learns what forward does with the sizes of this one. `any_numbers`: some output of each has to be finite.
    """
    expected = _outputs(net, signature, example, noticed)
    if not all(np.isfinite(array).any() for array in expected.values() if len(array)):
        example = example.positive()
        expected = _outputs(net, signature, example, noticed)
    found = interpret(recording.program, recording.weights, example.arrays)
    expected = {recording.keys.get(name, name): array for name, array in expected.items()}
    if expected.keys() != found.keys():
        raise ModelError(f"the module's outputs depend on the graph: {', '.join(expected)} and {', '.join(found)}")
    for name, array in found.items():
        if not len(expected[name]) and array.shape == expected[name].shape:
            continue
        if any_numbers and not np.isfinite(expected[name]).any():
            raise ModelError(
                f"output {name!r} of the module is NaN or infinite in every row of a random graph, so the import "
                "cannot be checked; are its weights those of a trained model?"
            )
        if not same(array, expected[name]):
            if recording.unconfirmed is not None:
                raise recording.unconfirmed
            raise ModelError(
                f"the recorded program does not compute what the module computes (output {name!r} on another graph): "
                + _first_difference(net, signature, recording, example)
            )


def _outputs(
    net: torch.nn.Module, signature: Signature, example: Example, noticed: Noticed | None
) -> dict[str, npt.NDArray[np.float64]]:
    copied = copy_of(net)
    with in_float64(), _reading(example, noticed):
        outputs = run_forward(copied, signature, example.fresh())
        return {name: tensor.double().numpy() for name, tensor in outputs.items()}


@contextmanager
def _reading(example: Example, noticed: Noticed | None) -> Iterator[None]:
    if noticed is None:
        yield
    else:
        with replaced(of_math()), ReadsSizes(example.sizes, noticed).watching():
            yield


def _first_difference(net: torch.nn.Module, signature: Signature, recording: Recording, example: Example) -> str:
    """Records the module again, on this graph, and compares the two recordings operation by operation."""
    try:
        again = record(net, signature, example, keep=True).steps
    except ModelError as error:
        return f"there, {error}"
    values = evaluate([step.symbol.value for step in recording.steps], recording.weights, example.arrays)
    for first, second in zip(recording.steps, again, strict=False):
        if (first.place.operation, first.place.module) != (second.place.operation, second.place.module):
            return f"its operations depend on the graph: {first.place} here, {second.place} there"
        if second.tensor is None:
            return f"what differs is at or behind {first.place}; a number of the example graph may be part of it"
        array = values[first.symbol.value.id]
        if not same(_as_tensor(first.symbol, array), second.tensor.double().numpy()):
            return f"the first operation that differs is {first.place}; a number of the example graph may be part of it"
    return "its operations depend on the graph"


def _as_tensor(rows: Rows, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The value of the rows as the tensor holds it."""
    array = np.broadcast_to(array, (len(array), *rows.value.shape))
    return np.moveaxis(array, 0, rows.axis + rows.before).reshape(tensor_shape(rows, len(array)))
