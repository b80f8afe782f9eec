"""The Data object that a `forward(data)` is given: it notices every attribute that is asked of it.

Comes in: the attributes that the user named. Goes out: PyG's own Data, and an error about those that forward asked for
and nobody named. PyG answers None for them, or that they do not exist, and the layers go on without. Knows nothing of
columns or graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from pipeline.errors import ModelError

# What PyG finds out by looking at all edges: a program may not depend on the answer.
OF_THE_GRAPH = (
    "is_undirected", "is_directed", "has_self_loops", "contains_self_loops", "has_isolated_nodes",
    "contains_isolated_nodes", "is_coalesced", "is_sorted", "is_sorted_by_time",
)  # fmt: skip
MATRICES = ("A", "L", "lap", "laplacian")  # names of matrices, beside those that begin with adj


CONTAINERS = ("graph", "ndata", "edata", "node_features", "feature_dict")  # what authors' own data keep tensors in
OWN_CONTAINER = (
    "; if {} holds tensors by their names, import a module whose forward(x, edge_index) puts them into such an object "
    "and calls this one with it"
)


class Unanswered(ModelError):
    """Forward asked its data for what nobody has told. No width of a column would change that."""

    def __init__(self, message: str, names: Collection[str] = ()):
        super().__init__(message)
        self.names = tuple(names)


class Attributes(dict[str, Any]):
    """What a Data object holds: a dict that notices which keys were looked for and are not there."""

    def __init__(self, given: Mapping[str, Any], none: Collection[str], nodes: Tensor | int, parameter: str = "data"):
        super().__init__(given)
        self.none = frozenset(none)
        """Keys that are not there, as the user says."""
        self.nodes = nodes
        """A tensor with a row per node; or how many there are."""
        self.parameter = parameter
        self.missing: dict[str, None] = {}
        self.refused: list[str] = []
        self.read: set[str] = set()
        """Keys that were looked for and are there."""
        self._open = 0

    def copy(self) -> Attributes:
        """With what is noticed kept in the same place."""
        other = Attributes(dict(self._all()), self.none, self.nodes, self.parameter)
        other.missing, other.refused, other.read = self.missing, self.refused, self.read
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Attributes:
        other = self.copy()
        for key, item in self._all():
            other[key] = item.clone() if isinstance(item, Tensor) else item
        return other

    # ---- one key

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            self.read.add(str(key))
            return True
        return self._look_for(key)

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, default) if key in self else default

    def pop(self, key: str, *default: Any) -> Any:
        return super().pop(key, *default) if key in self or not default else default[0]

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def _look_for(self, key: object) -> bool:
        if isinstance(key, str) and not key.startswith("_") and key not in self.none:
            self.missing[key] = None
        return False

    # ---- all keys: what else the author's data has, nobody knows

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside the block all keys may be looked at: for what is done to each of them alone."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _all(self) -> list[tuple[str, Any]]:
        return list(super().items())

    def refuse(self, problem: str) -> None:
        self.refused.append(problem)
        raise Unanswered(problem)

    def _looked_over(self) -> None:
        if not self._open:
            self.refuse(
                f"forward looks over everything that {self.parameter} holds (keys(), to_dict(), a loop); what else the "
                f"author's {self.parameter} holds is not known here: let forward take each attribute by its name"
            )

    def __iter__(self) -> Iterator[str]:
        self._looked_over()
        return super().__iter__()

    def __len__(self) -> int:
        self._looked_over()
        return super().__len__()

    def keys(self) -> Any:
        self._looked_over()
        return super().keys()

    def values(self) -> Any:
        self._looked_over()
        return super().values()

    def items(self) -> Any:
        self._looked_over()
        return super().items()

    # ---- afterwards

    def check(self, error: Exception | None = None) -> None:
        """Unanswered if something was asked that nobody has told, whatever forward made of it. `error`: its failure."""
        if (
            isinstance(error, TypeError | AttributeError)
            and not self.read
            and all(hasattr(Tensor, name) for name in self.missing)
        ):
            raise Unanswered(
                f"forward takes {self.parameter!r}: say where it comes from, "
                f"inputs={{{self.parameter!r}: 'nodes.COLUMN'}} or 'edges.COLUMN' (or 'edge_index'); as a Data object "
                f"forward does not take it: {type(error).__name__}: {error}"
            )
        if self.refused:
            raise Unanswered(self.refused[0])
        if self.missing:
            names = list(self.missing)
            spelled = " and ".join(f"{self.parameter}.{name}" for name in names)
            hints = ", ".join(f"{name!r}: {column_hint(name)}" for name in names)
            none = ", ".join(f"{name!r}: None" for name in names)
            held = next((f"{self.parameter}.{name}" for name in names if name in CONTAINERS), None)
            own = OWN_CONTAINER.format(held) if held else ""
            raise Unanswered(
                f"forward reads {spelled}, which inputs does not name: give inputs={{{hints}}}, "
                f"or inputs={{{none}}} if {self.parameter} has none{own}",
                names,
            )


class _Keys:
    """`data.keys()`: one key may be looked for in it."""

    def __init__(self, attributes: Attributes):
        self._attributes = attributes

    def __contains__(self, key: object) -> bool:
        return key in self._attributes

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)


class GivenData(Data):  # type: ignore[misc]
    """PyG's Data over `Attributes`. It is copied, moved and changed as any other."""

    @staticmethod
    def of(attributes: Attributes) -> GivenData:
        data = GivenData()
        data._store.__dict__["_mapping"] = attributes
        return data

    @property
    def attributes(self) -> Attributes:
        found: Attributes = self._store.__dict__["_mapping"]
        return found

    def __contains__(self, key: str) -> bool:
        return key in self.attributes

    def keys(self) -> Any:
        return _Keys(self.attributes)

    @property
    def num_nodes(self) -> Any:
        if dict.__contains__(self.attributes, "num_nodes"):
            return self.attributes["num_nodes"]
        nodes = self.attributes.nodes
        return nodes.size(0) if isinstance(nodes, Tensor) else nodes

    @num_nodes.setter
    def num_nodes(self, count: Any) -> None:
        self._store["num_nodes"] = count

    @property
    def num_edges(self) -> Any:
        return self["edge_index"].size(1)

    # what PyG does to each attribute alone

    def apply(self, func: Callable[..., Any], *args: str) -> Any:
        with self.attributes.open():
            return super().apply(func, *args)

    def apply_(self, func: Callable[..., Any], *args: str) -> Any:
        with self.attributes.open():
            return super().apply_(func, *args)

    @property
    def is_cuda(self) -> bool:
        return False

    def __repr__(self) -> str:
        with self.attributes.open():
            return str(super().__repr__())

    def is_node_attr(self, key: str) -> bool:
        return self._has_rows(key, self.num_nodes)

    def is_edge_attr(self, key: str) -> bool:
        return self._has_rows(key, self.num_edges)

    def _has_rows(self, key: str, count: int) -> bool:
        item = self[key]
        return isinstance(item, Tensor) and item.dim() > 0 and item.size(self.__cat_dim__(key, item)) == count


def _refusing(name: str) -> Callable[..., Any]:
    def ask(self: GivenData, *args: Any, **options: Any) -> None:
        parameter = self.attributes.parameter
        self.attributes.refuse(
            f"forward asks {parameter}.{name}(), whose answer depends on the graph; a program may not depend on the "
            "graph that it is recorded on: leave the question out of forward"
        )

    return ask


for _name in OF_THE_GRAPH:
    setattr(GivenData, _name, _refusing(_name))


def is_matrix(name: str) -> bool:
    """Whether an argument of this name is a matrix in most models: adj_t, adj, A, L."""
    return name.lower().startswith("adj") or name in MATRICES


def column_hint(name: str) -> str:
    """What inputs would name for an attribute, as text."""
    if is_matrix(name):
        return "('edge_index', 'edges.COLUMN')"
    if "edge_index" in name:  # of several over the same nodes
        return "'TABLE'"
    return "'edges.COLUMN'" if name.startswith("edge") else "'nodes.COLUMN'"
