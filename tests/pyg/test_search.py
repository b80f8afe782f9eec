"""The search for widths: what it asks, when it ends, and which failure it reports."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch_geometric.nn import SAGEConv

from pipeline.errors import ModelError
from pipeline.pyg import import_module, search
from tests.pyg.graphs import Does


class Several(nn.Module):
    """As many inputs as BotRGCN and more, each with a width of its own."""

    def __init__(self, count, failure=None):
        super().__init__()
        self.lins = nn.ModuleList(nn.Linear(16 + number, 8) for number in range(count))
        self.conv, self.failure = SAGEConv(8, 4), failure

    def forward(self, a, b, c, d, e, f, edge_index):
        h = sum(lin(x) for lin, x in zip(self.lins, (a, b, c, d, e, f), strict=False))
        if self.failure is not None:
            raise self.failure
        return self.conv(h, edge_index)


INPUTS = {name: f"nodes.{name}" for name in "abcdef"}


def failed(net, **options):
    with pytest.raises(ModelError) as caught:
        import_module(net.eval(), **options)
    return str(caught.value)


def test_many_inputs_are_asked_for_their_widths():
    trials = []
    run = search.with_found_widths

    def counted(found, told, forward):
        return run(found, told, lambda candidate: (trials.append(candidate), forward(candidate))[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "with_found_widths", counted)
        program, _, _ = import_module(Several(6).eval(), inputs=INPUTS)
    assert {str(column): column.shape for column in program.inputs} == {
        f"nodes.{name}": (16 + number,) for number, name in enumerate("abcdef")
    }
    assert len(trials) == 7  # one for each width, one that runs


@pytest.mark.parametrize(
    "failure",
    [ImportError("'SparseTensor' requires 'torch-sparse'"), AttributeError("no attribute 'cfg'"), KeyError("k")],
)
def test_a_failure_of_another_kind_is_said_as_it_is(failure):
    said = failed(Several(6, failure), inputs=INPUTS)
    widths = {name: (16 + number,) for number, name in enumerate("abcdef")}
    assert said == (
        f"forward of Several failed on an example graph with rows of {widths}: {type(failure).__name__}: {failure}"
    )
    one = failed(One(failure))
    assert one == (
        f"forward of One failed on an example graph with rows of {{'x': (8,)}}: {type(failure).__name__}: {failure}"
    )


class One(nn.Module):
    def __init__(self, failure):
        super().__init__()
        self.lin, self.failure = nn.Linear(8, 5), failure

    def forward(self, x, edge_index):
        self.lin(x)
        raise self.failure


def test_the_trial_that_came_furthest_is_reported():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 5), nn.Linear(6, 2)

        def forward(self, x, edge_index):
            return self.second(self.first(x))

    said = failed(Narrow())
    assert said.startswith("no width was found that fits x of Narrow; give features={'x': WIDTH} (the trial that came ")
    assert "rows of {'x': (8,)}" in said  # the others fail at the first map
    assert re.search(r"shapes cannot be multiplied \(\d+x5 and 6x2\)", said)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x, e: self.lin(x.view(1, 3, -1, 8).mean(1)),
        lambda self, x, e: self.conv(x.permute(0, 3, 1, 2)),
        lambda self, x, e: self.conv(x),
        lambda self, x, e: torch.stack([self.lin(x[:, :, step]) for step in range(x.size(2))]).mean(0),
        lambda self, x, e: torch.einsum("bntf,of->bnto", x, self.lin.weight),
        lambda self, x, e: torch.bmm(x, self.lin.weight.t()[None]),
        lambda self, x, e: [self.lin(each) for _, _, _, each in [x.shape]],
    ],
)
def test_nodes_that_are_not_the_first_axis(forward):
    """Models of traffic take (batch, steps, nodes, numbers) in many orders."""
    net = Does(forward, lin=nn.Linear(8, 4), conv=nn.Conv2d(8, 4, (1, 1)))
    assert failed(net).startswith(
        "forward of Does stops at the axes of a tensor, whatever the width of x; nodes are the first axis of x: if a "
        "row has several axes, give its shape, features={'x': (STEPS, WIDTH)}; if forward has another first axis, as "
        "in (batch, nodes, …), import a module whose forward(x, edge_index) puts the nodes where this one has them, "
        "and first again in what it returns (forward of Does failed on an example graph with rows of {'x': "
    )


def test_a_width_of_an_unrelated_weight_is_not_taken():
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, x, edge_index):
            return x * self.scale.sum()

    said = failed(Scales())
    assert said == "several widths fit x of Scales; give features={'x': WIDTH}"
    program, _, _ = import_module(Scales().eval(), features=7)
    assert {str(column): column.shape for column in program.inputs} == {"nodes.x": (7,)}


def test_it_ends(monkeypatch):
    class Hidden(Several):  # no operation meets the widths one by one
        def forward(self, a, b, c, d, e, f, edge_index):
            if [each.size(-1) for each in (a, b, c, d, e, f)] != [16, 17, 18, 19, 20, 21]:
                raise ValueError("sizes of rows")
            return super().forward(a, b, c, d, e, f, edge_index)

    ticks = iter(range(10_000))
    monkeypatch.setattr(search.time, "thread_time", lambda: next(ticks) / 10)
    said = failed(Hidden(6), inputs=INPUTS)
    assert said == (
        "5 seconds of trying found no width that fits a and b and c and d and e and f of Hidden; give features={'a': "
        "WIDTH, 'b': WIDTH, 'c': WIDTH, 'd': WIDTH, 'e': WIDTH, 'f': WIDTH} (the trial that came furthest failed: "
        "forward of Hidden failed on an example graph with rows of {'a': (4097,), 'b': (8193,), 'c': (12289,), 'd': "
        "(16385,), 'e': (20481,), 'f': (24577,)}: ValueError: sizes of rows)"
    )
    assert next(ticks) < 100


class TwoFit(nn.Module):
    """Rows of 4 and of 8 numbers fit, and no others."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 8))

    def forward(self, x, edge_index):
        return x @ (self.weight if x.size(-1) == 4 else self.weight.t())


@pytest.mark.parametrize("trials", range(1, 9))
def test_a_slow_machine_takes_no_width_that_a_fast_one_would_ask_for(monkeypatch, trials):
    """The time is over in the middle of widths that are alike, of which one has been found to fit."""
    assert failed(TwoFit()) == "several widths fit x of TwoFit; give features={'x': WIDTH}"
    ticks = iter(range(10_000))
    monkeypatch.setattr(search.time, "thread_time", lambda: next(ticks) * search.SECONDS / trials)
    said = failed(TwoFit())
    assert "give features={'x': WIDTH}" in said
    assert said.startswith(
        (
            "5 seconds of trying found no width that fits x of TwoFit",
            "5 seconds of trying found not all that may fit x of TwoFit",
            "several widths fit x of TwoFit",
        )
    )


def test_the_time_may_be_over_when_all_that_are_alike_were_tried(monkeypatch):
    class OneFits(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(16, 4)

        def forward(self, x, edge_index):
            return self.lin(x)

    found = set()
    for trials in range(1, 40):
        ticks = iter(range(10_000))
        monkeypatch.setattr(search.time, "thread_time", lambda ticks=ticks, trials=trials: next(ticks) * 5.0 / trials)
        try:
            program, _, _ = import_module(OneFits().eval())
        except ModelError as error:
            found.add("asked" if "give features={'x': WIDTH}" in str(error) else str(error))
        else:
            found.add(program.inputs[0].shape)
    assert found == {"asked", (16,)}
