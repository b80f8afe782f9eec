"""graphsweep: exact, whole-graph inference of graph neural networks on Apache Spark.

    from graphsweep import Graph, Model, Settings, prepare, open_graph, infer, explain, verify

`graphsweep` and `pipeline` are the same package (graphsweep.py). Each of these names is imported when it is first used:
workers import kernels only, and scoring needs no torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.errors import GraphsweepError
    from pipeline.explain import explain
    from pipeline.graph import Graph
    from pipeline.infer import infer
    from pipeline.model import Model
    from pipeline.prepare import prepare
    from pipeline.prepared import PreparedGraph, open_graph
    from pipeline.score import score
    from pipeline.settings import Settings
    from pipeline.verify import verify

_HOMES = {
    "Graph": "pipeline.graph",
    "GraphsweepError": "pipeline.errors",
    "Model": "pipeline.model",
    "PreparedGraph": "pipeline.prepared",
    "Settings": "pipeline.settings",
    "explain": "pipeline.explain",
    "infer": "pipeline.infer",
    "open_graph": "pipeline.prepared",
    "prepare": "pipeline.prepare",
    "score": "pipeline.score",
    "verify": "pipeline.verify",
}

__all__ = [
    "Graph", "GraphsweepError", "Model", "PreparedGraph", "Settings", "explain", "infer", "open_graph", "prepare",
    "score", "verify",
]  # fmt: skip


class _Package(ModuleType):
    """`prepare`, `infer` and `verify` are functions in modules of the same names. Whenever Python imports such a module
    it would put it in the function's place."""

    def __getattr__(self, name: str) -> Any:
        if name == "cli":  # of the entry points: who loads them by their metadata asks for attributes
            return import_module("pipeline.cli")
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_HOMES[name]), name)
        super().__setattr__(name, found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
