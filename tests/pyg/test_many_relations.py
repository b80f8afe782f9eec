"""Modules of many relations: the sizes of their example graphs, and one that is imported and compared with PyG."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import HeteroConv, SAGEConv

from pipeline.formula.spaces import SELF_LOOPS, Edges
from pipeline.pyg.example import GRAPHS, examples
from pipeline.pyg.one_thread import one_thread
from pipeline.pyg.types import Types, types_of
from pipeline.schema import EdgeType
from tests.pyg.test_typed import assert_same, triple
from tests.typed import random_graph

WIDTHS = {"paper": 4, "author": 3}


def relations(count: int, ends: tuple[tuple[str, str], ...]) -> list[tuple[str, str, str]]:
    return [(source, f"r{number}", target) for number in range(count) for source, target in ends]


def types(count: int, *ends: tuple[str, str]) -> Types:
    return types_of((list(WIDTHS), relations(count, ends)))


@pytest.mark.parametrize("many", [
    types(60, ("paper", "paper")),
    types(250, ("paper", "paper")),
    types(40, ("paper", "paper"), ("author", "paper"), ("author", "author")),
], ids=["60", "250", "three pairs"])  # fmt: skip
def test_a_size_tells_what_rows_are_however_many_relations(many: Types) -> None:
    """With 52 relations within one type each graph was once drawn anew without end."""
    widths = {4, 64, 300}
    for graph in list(examples((), widths, types=many))[: len(GRAPHS)]:
        counts = graph.sizes.counts
        assert len(set(counts.values()) | widths) == len(counts) + len(widths)
        for kind in many.edges:
            src, dst = graph.edge_indices[kind].numpy()
            among = kind.source == kind.target
            assert ((src == dst).sum() == counts[Edges(kind, SELF_LOOPS)] > 0) if among else len(src)


class Many(nn.Module):
    def __init__(self, kinds: list[EdgeType]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = HeteroConv({triple(each): SAGEConv((4, 4), 5) for each in kinds})

    def forward(self, x_dict: object, edge_index_dict: object) -> object:
        return self.layer(x_dict, edge_index_dict)


def test_sixty_relations_within_a_type() -> None:
    """Of which two are empty; the others have parallel edges and self-loops."""
    kinds = [EdgeType(*each) for each in relations(60, (("paper", "paper"),))]
    counts = {kind: 0 if number in (3, 40) else 20 + number for number, kind in enumerate(kinds)}
    graph = random_graph({"paper": 50}, counts, {"paper": 4})
    model = assert_same(Many(kinds), {"random": graph}, metadata=(["paper"], list(map(triple, kinds))))
    assert len(model.program.edge_types) == 60


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
