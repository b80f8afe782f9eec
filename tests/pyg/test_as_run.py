"""An import whose rewritten program gives other numbers than the recorded one is refused, and the rewrite is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, HeteroConv, HGTConv, SAGEConv

from pipeline.errors import GraphsweepError
from pipeline.formula import Value
from pipeline.lowering import lower, rewrites
from pipeline.pyg import as_run, import_module

KINDS = [("a", "r0", "b"), ("a", "r1", "b"), ("b", "r2", "a")]
TYPES = {"metadata": (["a", "b"], KINDS), "features": {"x_dict": {"a": 8, "b": 8}}}


class Shared(nn.Module):
    """One layer for several relations into one type."""

    def __init__(self) -> None:
        super().__init__()
        conv = SAGEConv((8, 8), 8)
        self.layer = HeteroConv(dict.fromkeys(KINDS, conv))

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.layer(x_dict, edge_index_dict)


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.conv, self.out = GCNConv(8, 8), nn.Linear(8, 2)

    def forward(self, x: Any, edge_index: Any) -> Any:
        return self.out(self.conv(self.first(x), edge_index))


class Turned(nn.Module):
    """Which of two directions an edge has makes a difference, but where each edge has both."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.back = SAGEConv(4, 4), SAGEConv(4, 4)

    def forward(self, x: Any, edge_index: Any) -> Any:
        return self.there(x, edge_index) + self.back(x, edge_index.flip(0))


def wrong(rule: Callable[[Value], Value | None]) -> Callable[[Value], Value | None]:
    def counted_twice(value: Value) -> Value | None:
        found = rule(value)
        return None if found is None else found + found

    counted_twice.__name__ = rule.__name__
    return counted_twice


BROKEN: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "sum_linears": (Shared, TYPES),
    "sum_of_stack": (Shared, TYPES),
    "factor_sums": (Narrow, {"features": 8}),
    "fold_affine": (Narrow, {"features": 8}),
    "push_to_ends": (lambda: GATConv(8, 4, heads=2), {"features": 8}),
    "fuse_softmax": (lambda: GATConv(8, 4, heads=2), {"features": 8}),
    "map_after_softmax": (lambda: HGTConv(8, 8, TYPES["metadata"], heads=2), TYPES),
    "map_of_query": (lambda: HGTConv(8, 8, TYPES["metadata"], heads=2), TYPES),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_rewrite(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, told = BROKEN[name]
    torch.manual_seed(0)
    net = make().eval()
    import_module(net, **told)
    right = getattr(rewrites, name)
    monkeypatch.setattr(rewrites, name, wrong(right))
    for some in ("CHEAPER", "MAPS"):
        monkeypatch.setattr(lower, some, tuple(wrong(each) if each is right else each for each in getattr(lower, some)))
    with pytest.raises(as_run.WrongRewrite, match=rf"mistake of graphsweep.* {name} .*report this message") as raised:
        import_module(net, **told)
    assert not isinstance(raised.value, GraphsweepError), "exit code 1, not 2: nobody can mend it but we"


def test_a_wrong_softmax_of_several_relations(monkeypatch: pytest.MonkeyPatch) -> None:
    net = HGTConv(8, 8, TYPES["metadata"], heads=2).eval()
    import_module(net, **TYPES)
    right = rewrites.shared_softmax
    monkeypatch.setattr(
        rewrites,
        "shared_softmax",
        lambda program: lower.Program({name: value * 2.0 for name, value in right(program).outputs.items()}),
    )
    with pytest.raises(as_run.WrongRewrite, match="the rewrite shared_softmax"):
        import_module(net, **TYPES)


def test_directions_of_an_undirected_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Turned().eval()
    import_module(net, features=4)
    monkeypatch.setattr(
        rewrites, "merge_reversed", lambda program: lower.Program({"output": program.outputs["output"] * 2.0})
    )
    with pytest.raises(as_run.WrongRewrite, match="the rewrite merge_reversed"):
        import_module(net, features=4)


def test_folded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def folded(*given: Any) -> Any:
        program, weights = rewrites.fold_weights(*given)
        return program, {name: array + (name.startswith("folded")) for name, array in weights.items()}

    folded.__name__ = "fold_weights"
    monkeypatch.setattr(as_run, "fold_weights", folded)
    with pytest.raises(as_run.WrongRewrite, match="the rewrite fold_weights"):
        import_module(Narrow().eval(), features=8)
