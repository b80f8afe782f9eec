"""How wide the arguments of a module with several types are: found where forward first meets a weight with them.

Comes in: a way to run forward. Goes out: the arguments with widths. Trying all widths, as for one type, would take
their product over the types. Here each argument is given a width that nothing else has; the operation that fails on it
(a linear map, a norm) names the width that it wants, and forward is run again with that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from pipeline.errors import ModelError
from pipeline.pyg.arguments import Argument, Signature
from pipeline.pyg.typed_arguments import hint

STEP = 1 << 12  # between the widths that are tried; what is joined to an argument is narrower
# what torch and PyG say of shapes and dtypes that do not fit each other
SIZES = re.compile(
    r"shape|size|dimension|dtype|scalar type|\bLong\b|\bDouble\b|out of (range|bounds)|broadcast|channels|elements"
    r"|normalized_shape|must match|expected \d|not enough values|too many values|divisible|features",
    re.IGNORECASE,
)
# what they say of a tensor that has another number of axes than forward expects
AXES = re.compile(
    r"shape '\[.*\]' is invalid|(not enough|too many) values to unpack|number of dimensions|dimension out of range"
    r"|expected \d-?d |tuple index out of range|too many indices|must be a? ?\d-?d|number of subscripts|unsqueeze",
    re.IGNORECASE,
)
WEIGHT = "edge_weight"  # one number per edge
X = "x"  # rows of the nodes


def with_found_widths(
    found: Signature,
    told: Collection[str],
    run: Callable[[Signature], object],
    explain: Callable[[Signature], object] | None = None,
) -> tuple[Signature, tuple[str, ...]]:
    """The arguments with the widths at which forward runs, and the names of those that it runs with at any width.

    `told`: names of the arguments whose widths are known. `explain`: of typed models; it may raise a better error where
    none is found, and columns that are not x may be numbers.
    """
    tried = {
        argument.name: STEP * (number + 1) + 1
        for number, argument in enumerate(found.arguments)
        if argument.name not in told and argument.input != WEIGHT
    }
    arguments = tuple(
        replace(each, shape=(tried[each.name],)) if each.name in tried else each for each in found.arguments
    )
    first: tuple[Sequence[Argument], Signature, Exception] | None = None
    while True:
        candidate = replace(found, arguments=arguments)
        seen = _Meeting({width: name for name, width in tried.items()})
        try:
            with seen:
                run(candidate)
            break
        except Exception as error:  # whatever a module raises at a width that does not fit
            if not seen.wanted:
                if not first and (not tried or not is_about_sizes(error)):
                    raise
                if explain is None:
                    raise _unknown([each for each in arguments if each.name in tried], error) from error
                first = first or ([each for each in arguments if each.name in tried], candidate, error)
                numbers = {each.name for each in first[0] if each.name in tried and each.input not in (X, f"{X}_dict")}
                if not numbers:
                    explain(first[1])
                    raise _unknown(first[0], first[2]) from first[2]
                # perhaps a number in each row, such as a time
                arguments = tuple(replace(each, shape=()) if each.name in numbers else each for each in arguments)
                tried = {name: width for name, width in tried.items() if name not in numbers}
                continue
        arguments = tuple(_as_wanted(each, seen.wanted) for each in arguments)
        tried = {name: width for name, width in tried.items() if name not in seen.wanted}
    return candidate, tuple(tried)


def _as_wanted(argument: Argument, wanted: Mapping[str, tuple[int | None, int | None]]) -> Argument:
    if argument.name not in wanted:
        return argument
    width, below = wanted[argument.name]
    return replace(argument, shape=() if width is None else (width,), below=below)


def is_about_sizes(error: BaseException) -> bool:
    """Whether a failure may come from the width of a row, or from floats in the place of integers."""
    while error.__cause__ is not None:  # what forward itself raised
        error = error.__cause__
    return isinstance(error, RuntimeError | ValueError | IndexError | AssertionError | TypeError) and bool(
        SIZES.search(str(error)) or isinstance(error, AssertionError)
    )


def is_about_axes(error: BaseException) -> bool:
    """Whether a failure is one of the number of axes, which no width mends."""
    while error.__cause__ is not None:
        error = error.__cause__
    return bool(AXES.search(str(error)))


def _unknown(left: Sequence[Argument], error: Exception) -> ModelError:
    return ModelError(
        f"no width was found that fits {', '.join(argument.name for argument in left)}; give {hint(left)} "
        f"(the last failure: {str(error)[:300]})"
    )


class _Meeting(TorchFunctionMode):
    """Notices which operation fails on a width that was tried, and what width it wants."""

    def __init__(self, tried: Mapping[int, str]):
        super().__init__()
        self._tried = tried
        self.wanted: dict[str, tuple[int | None, int | None]] = {}
        """Argument → (width, None), or (None, how many integers)"""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            return func(*args, **kwargs)
        except Exception:
            if not self.wanted:
                self._learn(getattr(func, "__name__", ""), [*args, *kwargs.values()])
            raise

    def _learn(self, operation: str, arguments: Sequence[Any]) -> None:
        tensors = [each for each in tree_leaves(arguments) if isinstance(each, Tensor)]
        for tensor in tensors:
            if not tensor.dim():
                continue
            base, more = divmod(tensor.shape[-1] - 1, STEP)
            name = self._tried.get(base * STEP + 1)
            if name is None:
                continue
            others = [each for each in tensors if each is not tensor and each.dim()]
            if operation == "embedding" and others:
                self.wanted[name] = None, others[0].shape[0]
                return
            sizes = [size for each in others for size in _meets(operation, each)]
            sizes += [
                size for each in arguments if isinstance(each, list | tuple) for size in each if type(size) is int
            ]
            fitting = next((size - more for size in sizes if size > more and (size - 1) // STEP != base), None)
            if fitting is not None:
                self.wanted[name] = fitting, None
                return


def _meets(operation: str, other: Tensor) -> list[int]:
    """The sizes of another operand that the last axis of a tensor may meet."""
    if operation in ("matmul", "__matmul__", "mm", "bmm", "addmm"):
        return [other.shape[-2] if other.dim() > 1 else other.shape[-1]]
    return [other.shape[-1]]
