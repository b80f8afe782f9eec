"""Modules that put all types into one tensor, with offsets: HGTConv, and what users write like it. Against PyG."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.nn import FastRGCNConv, HeteroDictLinear, HeteroLinear, HGTConv, RGATConv
from torch_geometric.utils import one_hot, scatter, softmax

from pipeline.errors import ModelError
from pipeline.formula import interpret
from pipeline.model import Model
from tests.pyg.test_typed import BACK, BACK_GRAPHS, GRAPHS, METADATA, TRIPLES, WIDTHS, assert_same, graph

BACK_METADATA = (list(WIDTHS), BACK)


def starts_of(x_dict: Any) -> tuple[dict[str, int], int]:
    """Where each type begins in one tensor of all, and where that ends."""
    starts, total = {}, 0
    for name, x in x_dict.items():
        starts[name] = total
        total += x.size(0)
    return starts, total


class TwoLayers(nn.Module):
    """Venues only send: the first layer gives nothing of them, and the second knows none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = HGTConv(dict(WIDTHS), 8, METADATA, heads=2)
        self.kept = [kind for kind in TRIPLES if kind[0] != "venue"]
        self.second = HGTConv(8, 8, (["paper", "author"], self.kept), heads=4)
        for name, weight in self.named_parameters():
            if "skip" in name or "p_rel" in name:  # PyG starts with ones
                nn.init.uniform_(weight, -1.0, 1.0)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.first(x_dict, edge_index_dict)
        return self.second(x_dict, {kind: edge_index_dict[kind] for kind in self.kept})


def test_hgt() -> None:
    model = assert_same(TwoLayers())
    assert model.program.output_types == ("paper", "author")
    # what PyG's class leaves: no skip where widths differ, no output of what gets no messages
    assert {name for name in model.about.unread if "skip" in name} == {f"first.skip.{name}" for name in WIDTHS}


def test_hgt_takes_relations_by_name() -> None:
    """PyG takes them by their place in edge_index_dict: in another order it mixes their weights."""
    net = HGTConv(dict(WIDTHS), 8, METADATA, heads=2).eval()
    nn.init.uniform_(net.k_rel.weight)
    model = Model.from_pyg(net)
    given = graph()
    turned = type(given)(given.counts, dict(reversed(given.ends.items())), given.x)
    one, other = (interpret(model.program, model.weights, each.arrays) for each in (given, turned))
    assert all((one[name] == other[name]).all() for name in one)


class ByHand(nn.Module):
    """HGT as a user writes it anew, in other words than PyG's: offsets in a tensor, a loop over slices of memory."""

    def __init__(self, loops: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.loops, self.kinds = loops, BACK
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.key, self.query, self.value = (nn.Parameter(torch.randn(len(WIDTHS), 8, 8)) for _ in "kqv")
        self.relation = nn.Parameter(torch.randn(len(BACK), 2))

    def by_type(self, x: Any, sizes: list[int], weight: Any) -> Any:
        if not self.loops:
            return torch.cat([part @ w for part, w in zip(x.split(sizes), weight, strict=True)])
        out, start = x.new_empty(x.size(0), 8), 0
        for number, size in enumerate(sizes):
            out[start : start + size] = x[start : start + size] @ weight[number]
            start += size
        return out

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        names, sizes, starts, total = list(x_dict), [], {}, 0
        for name, x in x_dict.items():
            starts[name] = total
            sizes.append(x.size(0))
            total += x.size(0)
        x = torch.cat([x_dict[name] for name in names])
        edge_index = torch.cat(
            [edge_index_dict[k] + torch.tensor([[starts[k[0]]], [starts[k[2]]]]) for k in self.kinds], dim=1
        )
        kind = torch.cat([torch.full((edge_index_dict[k].size(1),), n) for n, k in enumerate(self.kinds)])
        src, dst = edge_index
        key, query, value = (self.by_type(x, sizes, w).view(-1, 2, 4) for w in (self.key, self.query, self.value))
        logits = (query[dst] * key[src]).sum(-1) / math.sqrt(4) + self.relation[kind]
        share = softmax(logits, dst, num_nodes=total)
        out = scatter(value[src] * share.unsqueeze(-1), dst, 0, total, "sum").view(-1, 8)
        out = torch.cat([out, x], dim=-1).relu()
        return dict(zip(names, out.split(sizes), strict=True))


@pytest.mark.parametrize("loops", [False, True], ids=["split and cat", "loop"])
def test_users_own_transformer(loops: bool) -> None:
    assert_same(ByHand(loops), BACK_GRAPHS, metadata=BACK_METADATA)


class Reduced(nn.Module):
    """Messages of all edge types, reduced at once."""

    def __init__(self, reduce: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.reduce = reduce
        self.encode = HeteroDictLinear(dict(WIDTHS), 4)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        starts, total = starts_of(x_dict)
        x = torch.cat(list(x_dict.values()), dim=0)
        indices = []
        for (source, _, target), edge_index in edge_index_dict.items():
            edge_index = edge_index.clone()
            edge_index[0] += starts[source]
            edge_index[1] = edge_index[1] + starts[target]
            indices.append(edge_index)
        src, dst = torch.cat(indices, dim=1)
        out = scatter(x.index_select(0, src), dst, 0, total, self.reduce) - x
        ends = [*starts.values(), total]
        return {name: out[ends[n] : ends[n + 1]] for n, name in enumerate(starts)}


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "mul"])
def test_reductions_over_all_relations(reduce: str) -> None:
    assert_same(Reduced(reduce), {key: GRAPHS[key] for key in ("random", "no authors", "no edges")}, metadata=METADATA)


class Typed(nn.Module):
    """HeteroLinear where its types are not in order."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.linear = HeteroLinear(8, 6, 3)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        x = torch.cat(list(x_dict.values()))
        kinds = [torch.full((each.size(0),), (n + 1) % 3) for n, each in enumerate(x_dict.values())]
        out = self.linear(x, torch.cat(kinds))
        return dict(zip(x_dict, out.split([each.size(0) for each in x_dict.values()]), strict=True))


def test_hetero_linear() -> None:
    assert_same(Typed(), BACK_GRAPHS, metadata=BACK_METADATA)


class Homogeneous(nn.Module):
    """A layer that takes the type of each edge as a number, on all types in one tensor."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encode, self.layer = HeteroDictLinear(dict(WIDTHS), 8), layer

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        starts, _ = starts_of(x_dict)
        offsets = {kind: torch.tensor([[starts[kind[0]]], [starts[kind[2]]]]) for kind in BACK}
        edge_index = torch.cat([edge_index_dict[kind] + offsets[kind] for kind in BACK], dim=1)
        kinds = torch.cat([torch.full((edge_index_dict[kind].size(1),), n) for n, kind in enumerate(BACK)])
        out = self.layer(torch.cat(list(x_dict.values())), edge_index, kinds)
        return dict(zip(x_dict, out.split([x.size(0) for x in x_dict.values()]), strict=True))


class OneHot(nn.Module):
    """The type of an edge as a row, taken and written by numbers that are the same for all edges of a type."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.weight = nn.Parameter(torch.randn(len(BACK), 8))

    def forward(self, x: Any, edge_index: Any, kind: Any) -> Any:
        row = x.new_zeros(len(kind), len(BACK)).scatter(1, kind[:, None], 1.0) + one_hot(kind, len(BACK)).to(x.dtype)
        message = x[edge_index[0]] * (row @ self.weight)
        message = message * (x[edge_index[1]] @ self.weight.t()).gather(1, kind[:, None])
        some = (kind == 1) | (kind == 3)
        message[some] = message[some].relu()
        return scatter(message, edge_index[1], 0, len(x), "sum")


HOMOGENEOUS = {
    "attention within a relation": lambda: RGATConv(8, 4, len(BACK), attention_mechanism="within-relation", heads=2),
    "attention across relations": lambda: RGATConv(
        8, 2, len(BACK), attention_mode="multiplicative-self-attention", heads=2, dim=2
    ),
    "a matrix for each relation": lambda: FastRGCNConv(8, 8, len(BACK), num_bases=2),
    "one-hot": OneHot,
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_types_of_edges_as_numbers(name: str) -> None:
    assert_same(Homogeneous(HOMOGENEOUS[name]()), BACK_GRAPHS, metadata=BACK_METADATA)


class Joining(nn.Module):
    def __init__(self, after: Any) -> None:
        super().__init__()
        self.encode, self.after = HeteroDictLinear(dict(WIDTHS), 4), after

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x = torch.cat(list(self.encode(x_dict).values()))
        return self.after(x, next(iter(edge_index_dict.values())))


REFUSED = {
    "one after the other": (lambda x, _: x, r"has the rows of nodes\[paper\], nodes\[author\], nodes\[venue\], one"),
    "sum": (lambda x, _: {"paper": x - x.sum(0)}, "works across the rows of several types.*each type's own tensor"),
    "a slice": (lambda x, _: {"paper": x[:10]}, "some rows of several types by their position; cut the tensor where"),
    "no offset": (
        lambda x, e: {"paper": x[e[0]][:5]},
        r"nodes\[author\] by edge_index, where no rows of nodes\[author\]",
    ),
    "another offset": (lambda x, e: {"paper": x[e[0] + 3][:5]}, r"by edge_index, counted from 3 on, where no rows of"),
    "a product": (lambda x, e: {"paper": x * e.sum()}, "is not supported|needs a value per node or edge"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    after, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(Joining(after).eval(), metadata=METADATA, unused=["*"])
