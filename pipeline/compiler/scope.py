"""Nested loops as text: which lines stand in which loop, and which value already has a name there.

Comes in: headers of loops, lines. Goes out: indented text. A line goes into the outermost loop that knows the variables
it needs, which keeps invariants out of inner loops: LLVM cannot move loads itself, since for all it knows the arrays
overlap. Knows nothing of formulas.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

FUNCTION, ROW, EDGE = "function", "row", "edge"


class Scope:
    """The body of one loop."""

    def __init__(self, header: str, defines: frozenset[str]):
        self.header = header
        self.defines = defines
        self.body: list[str | Scope] = []
        self.names: dict[Hashable, str] = {}

    def lines(self, indent: str = "") -> Iterator[str]:
        yield indent + self.header
        for item in self.body or ["pass"]:
            if isinstance(item, Scope):
                yield from item.lines(indent + "    ")
            else:
                yield f"{indent}    {item}"


class Writer:
    """A function that is being written: a stack of open scopes, the outermost being the function itself."""

    def __init__(self, header: str):
        self.stack = [Scope(header, frozenset([FUNCTION]))]
        self.prologue: list[str] = []
        self.constants: dict[str, str] = {}
        self._count = 0

    def fresh(self, prefix: str) -> str:
        """A name that was not used before."""
        self._count += 1
        return f"{prefix}{self._count}"

    def line(self, text: str) -> None:
        self.stack[-1].body.append(text)

    @contextmanager
    def block(self, header: str, *defines: str) -> Iterator[None]:
        """A loop (or a condition) in the innermost scope; `defines`: the variables that exist inside only."""
        scope = Scope(header, frozenset(defines))
        self.stack.append(scope)
        yield
        assert self.stack.pop() is scope
        self.stack[-1].body.append(scope)

    def depth(self, needed: Iterable[str]) -> int:
        """The outermost scope in which all these variables exist."""
        wanted = set(needed)
        return max((depth for depth, scope in enumerate(self.stack) if depth == 0 or wanted & scope.defines), default=0)

    @contextmanager
    def at(self, depth: int) -> Iterator[Scope]:
        """Go on writing in an outer scope, ahead of the loops that are open below it."""
        stack, self.stack = self.stack, self.stack[: depth + 1]
        yield self.stack[-1]
        assert len(self.stack) == depth + 1
        self.stack = stack

    def constant(self, number: float) -> str:
        """The name of a float32 constant of the module."""
        value = float(np.float32(number))
        text = f"np.{value}" if not np.isfinite(value) else repr(value)
        text = text.replace("np.-inf", "-np.inf")
        return self.constants.setdefault(text, f"F{len(self.constants)}")

    def array(self, prefix: str, *sizes: int) -> str:
        """The name of a scratch array that is made once per call."""
        name = self.fresh(prefix)
        size = str(sizes[0]) if len(sizes) == 1 else str(sizes)
        self.prologue.append(f"{name} = np.empty({size}, np.float32)")
        return name

    def text(self) -> str:
        """The constants and the function."""
        assert len(self.stack) == 1
        lines = [f"{name} = np.float32({number})" for number, name in self.constants.items()]
        function = self.stack[0]
        function.body = [*self.prologue, *function.body]
        return "\n".join([*lines, "", "", *function.lines()]) + "\n"
