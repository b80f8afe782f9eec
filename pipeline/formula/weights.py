"""The learned weights of a model, as a formula sees them: names, by attribute.

`w.lin.weight` is the weight of that name; `w.lin` is the namespace below it, so that `linear(x, w.lin)` finds both its
matrix and its bias. Holds shapes, not numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import FormulaError, nearest
from pipeline.formula.values import Value, weight


class Weights:
    """A namespace of weights: name → shape, below a common prefix."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], prefix: str = ""):
        self._shapes = shapes
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"weights {self._prefix.rstrip('.') or '(all)'}"

    def names(self) -> list[str]:
        """The names below this namespace, without its prefix."""
        return [name[len(self._prefix) :] for name in self._shapes if name.startswith(self._prefix)]

    def get(self, name: str) -> Value | None:
        """The weight of that name below this namespace, or None."""
        full = self._prefix + name
        return weight(full, self._shapes[full]) if full in self._shapes else None

    def weight(self, name: str) -> Value:
        """The weight of that name below this namespace; FormulaError if there is none."""
        found = self.get(name)
        if found is None:
            raise FormulaError(f"no weight {self._prefix}{name}; {nearest(name, self.names())}")
        return found

    def has(self, name: str) -> bool:
        """Whether there is a weight, or a namespace, of that name."""
        return any(entry == name or entry.startswith(f"{name}.") for entry in self.names())

    def below(self, name: str) -> Weights:
        """The namespace of that name; FormulaError if it is empty."""
        if not self.has(name):
            known = {entry.split(".")[0] for entry in self.names()}
            raise FormulaError(f"no weights {self._prefix}{name}; {nearest(name, known)}")
        return Weights(self._shapes, f"{self._prefix}{name}.")

    def __getattr__(self, name: str) -> Value | Weights:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self.get(name)
        if found is not None:
            return found
        return self.below(name)

    def __getitem__(self, name: str | int) -> Value | Weights:
        """The same as the attribute, for names that are no identifiers: `w["0"]`, `w[0]`."""
        return self.__getattr__(str(name))
