"""Numbers of nodes and edges that a forward reads into Python, and what it compares them with.

Comes in: one forward while it runs. Goes out: every comparison of a size in the user's own code, said so that its
outcome on another graph can be worked out. A branch on a size cannot be seen in what torch computes: forward goes one
way on the example graphs, and perhaps another one on the user's.
"""

from __future__ import annotations

import builtins
import functools
import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.formula.spaces import Edges, Nodes
from pipeline.pyg.call import Sizes
from pipeline.pyg.replaced import Function
from pipeline.pyg.where import LIBRARIES, place_of

Counts = Mapping[Nodes | Edges, int]
Number = int | float

SYMBOLS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
ARITHMETIC = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow")
WRITTEN = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "truediv": "/", "mod": "%", "pow": "**"}
SHAPES = {torch.Tensor.shape.__get__, torch.Tensor.size}  # type: ignore[attr-defined]
NUMBERS = {torch.Tensor.numel, torch.Tensor.nelement, torch.numel, torch.Tensor.__len__}
BYTES = {torch.Tensor.nbytes.__get__}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Size:
    """A number made of the sizes of a graph: what it is on a graph of other counts, and how to say it."""

    on: Callable[[Counts], Number]
    text: str


@dataclass(frozen=True)
class Comparison:
    """`left < right`, where at least one side is made of sizes."""

    left: Size
    symbol: str
    right: Size
    outcome: bool
    place: str
    """model.py:31"""

    def on(self, counts: Counts) -> bool:
        compare = {symbol: getattr(operator, name) for name, symbol in SYMBOLS.items()}[self.symbol]
        return bool(compare(self.left.on(counts), self.right.on(counts)))

    def __str__(self) -> str:
        return f"{self.left.text} {self.symbol} {self.right.text} in {self.place}"


@dataclass
class Noticed:
    """What one forward, or several, did with sizes."""

    comparisons: list[Comparison] = field(default_factory=list)
    escaped: list[str] = field(default_factory=list)
    """Where a size became a plain number, of which nobody knows what it is compared with."""


class Counted:
    """A number of Python's own kind that remembers how it came from sizes: `Count`, or `Quotient`."""

    size: Size
    noticed: Noticed


def _counted(number: Any, size: Size, noticed: Noticed) -> Any:
    """A number that remembers; others, such as a Fraction, are let go."""
    kind = {int: Count, float: Quotient}.get(type(number))
    if kind is None:
        return number
    made = kind(number)
    made.size, made.noticed = size, noticed
    return made


def _size_of(number: Any) -> Size | None:
    if isinstance(number, Counted):
        return number.size
    if isinstance(number, int | float):
        return Size(lambda counts: number, f"{number:,}")
    return None


def _compared(name: str, base: type) -> Callable[..., Any]:
    plain = getattr(base, f"__{name}__")

    def compare(self: Any, other: Any) -> Any:
        outcome = plain(self, other)
        right = _size_of(other)
        if outcome is not NotImplemented and right is not None:
            _note(self, Comparison(self.size, SYMBOLS[name], right, outcome, ""))
        return outcome

    return compare


def _truth(base: type) -> Callable[..., bool]:
    def truth(self: Any) -> bool:
        outcome = bool(base.__bool__(self))  # type: ignore[attr-defined]
        _note(self, Comparison(self.size, "!=", Size(lambda counts: 0, "0"), outcome, ""))
        return outcome

    return truth


def _note(number: Any, found: Comparison) -> None:
    place = _users_line()
    if place is not None:
        number.noticed.comparisons.append(Comparison(found.left, found.symbol, found.right, found.outcome, place))


def _computed(name: str, base: type, swapped: bool) -> Callable[..., Any]:
    plain = getattr(base, f"__{'r' if swapped else ''}{name}__")
    exact = getattr(operator, name)

    def compute(self: Any, other: Any, *more: Any) -> Any:
        result = plain(self, other, *more)
        own, size = self.size, _size_of(other)
        if result is NotImplemented or size is None or more:
            return result
        first, second = (size, own) if swapped else (own, size)
        on = lambda counts: exact(first.on(counts), second.on(counts))  # noqa: E731
        return _counted(result, Size(on, f"({first.text} {WRITTEN[name]} {second.text})"), self.noticed)

    return compute


def _turned(name: str, base: type) -> Callable[..., Any]:
    """-n, abs(n), round(n), math.floor(n): still a number that remembers."""
    plain = getattr(base, f"__{name}__")
    functions: dict[str, Any] = {"neg": operator.neg, "pos": operator.pos, "abs": abs, "round": round}
    exact = functions.get(name) or getattr(math, name)

    def turn(self: Any, *more: Any) -> Any:
        result, own = plain(self, *more), self.size
        return _counted(result, Size(lambda counts: exact(own.on(counts), *more), f"{name}({own.text})"), self.noticed)

    return turn


def _leaves(name: str, base: type) -> Callable[..., Any]:
    """int(n), float(n), math.sqrt(n): Python makes a plain number of it."""
    plain = getattr(base, name)

    def leave(self: Any, *more: Any) -> Any:
        place = _users_line()
        if place is not None:
            self.noticed.escaped.append(place)
        return plain(self, *more)

    return leave


def _methods(base: type) -> dict[str, Any]:
    made: dict[str, Any] = {f"__{name}__": _compared(name, base) for name in SYMBOLS}
    made |= {f"__{name}__": _computed(name, base, False) for name in ARITHMETIC}
    made |= {f"__r{name}__": _computed(name, base, True) for name in ARITHMETIC}
    made |= {f"__{name}__": _turned(name, base) for name in ("neg", "pos", "abs", "round", "floor", "ceil", "trunc")}
    made |= {name: _leaves(name, base) for name in ("__int__", "__float__", "__divmod__", "__rdivmod__")}
    made |= {"__bool__": _truth(base), "__hash__": base.__hash__}
    made |= {"__copy__": lambda self: self, "__deepcopy__": lambda self, memo: self, "__module__": __name__}
    return made


def of_math() -> dict[Function, Function]:
    """math.sqrt, math.log and others, and what gives numbers that remember in their places."""
    return {getattr(math, name): _of_math(name) for name in ("sqrt", "log", "log2", "log10", "log1p", "exp", "pow")}


def _of_math(name: str) -> Function:
    plain = getattr(math, name)

    @functools.wraps(plain)
    def compute(*numbers: Any) -> Any:
        result, sizes = plain(*numbers), [_size_of(number) for number in numbers]
        remembering = next((number for number in numbers if isinstance(number, Counted)), None)
        if remembering is None or None in sizes:
            return result
        on = lambda counts: plain(*(size.on(counts) for size in sizes if size is not None))  # noqa: E731
        text = ", ".join(size.text for size in sizes if size is not None)
        return _counted(result, Size(on, f"{name}({text})"), remembering.noticed)

    return compute


Count: Any = type("Count", (int, Counted), {**_methods(int), "bit_length": _leaves("bit_length", int)})
Quotient: Any = type("Quotient", (float, Counted), {**_methods(float), "is_integer": _leaves("is_integer", float)})


class ReadsSizes(TorchFunctionMode):
    """While a forward runs, sizes of tensors that are numbers of nodes or edges are numbers that remember it."""

    def __init__(self, sizes: Sizes, noticed: Noticed):
        super().__init__()
        self._sizes = sizes
        self.noticed = noticed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in SHAPES:
            return torch.Size(map(self._count, result)) if isinstance(result, torch.Size) else self._count(result)
        if func in NUMBERS and func is not torch.Tensor.__len__:
            return self._numbers(args[0])
        if func in BYTES:
            return self._numbers(args[0]) * args[0].element_size()
        if func is torch.tensor and any(isinstance(item, Counted) for item in args):
            self.noticed.escaped.append(_users_line() or "torch.tensor")
        return result

    def _numbers(self, tensor: Tensor) -> Any:
        return functools.reduce(operator.mul, map(self._count, tensor.shape)) if tensor.dim() else 1

    def _count(self, number: Any) -> Any:
        space = self._sizes.space(number)
        if space is None or type(number) is not int:
            return number
        return _counted(number, Size(lambda counts: counts[space], f"the number of {space}"), self.noticed)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Also len(tensor), of which Python makes a plain number otherwise. Not for several threads."""
        plain = builtins.len

        def length(item: Any, /) -> Any:
            return item.shape[0] if isinstance(item, Tensor) and item.dim() else plain(item)

        builtins.len = length
        try:
            with self:
                yield
        finally:
            builtins.len = plain


def _users_line() -> str | None:
    """The line that does something with a size, if it is the user's: what torch and PyG do with sizes changes no
    numbers."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "") + "."
    return None if name.startswith(LIBRARIES) else place_of(frame)
