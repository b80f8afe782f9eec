"""What the outputs of a module are called: a tensor has no name, and its author may give one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch_geometric.nn import SAGEConv, to_hetero
from typer.testing import CliRunner

from pipeline import Model, cli
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.pyg.typed_forward import named_by_type
from pipeline.pyg.types import Types

X = np.random.default_rng(1).normal(size=(6, 3))
SRC, DST = np.array([0, 1, 2, 3, 4]), np.array([1, 2, 3, 4, 5])


class Both(NamedTuple):
    logits: Any
    hidden: Any


class Net(torch.nn.Module):
    """Two values of a node, given back in some way."""

    def __init__(self, back: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.back = SAGEConv(3, 4), SAGEConv(4, 2), back
        self.eval()

    def forward(self, x: Any, edge_index: Any) -> Any:
        hidden = self.first(x, edge_index)
        return self.back(self.second(hidden, edge_index), hidden)


def alone(logits: Any, hidden: Any) -> Any:
    return logits


def pair(logits: Any, hidden: Any) -> Any:
    return logits, hidden


def mapping(logits: Any, hidden: Any) -> Any:
    return {"logits": logits, "hidden": hidden}


CASES: list[tuple[Callable[[Any, Any], Any], Any, dict[str, str]]] = [
    (alone, (), {"output": "logits"}),
    (alone, ["score"], {"score": "logits"}),
    (alone, "score", {"score": "logits"}),
    (alone, ["output"], {"output": "logits"}),
    (alone, {"score": "output"}, {"score": "logits"}),
    (pair, (), {"output_0": "logits", "output_1": "hidden"}),
    (pair, ["a", "b"], {"a": "logits", "b": "hidden"}),
    (pair, ["output_1"], {"output_1": "hidden"}),
    (pair, {"h": "output_1"}, {"h": "hidden"}),
    (mapping, (), {"logits": "logits", "hidden": "hidden"}),
    (mapping, ["hidden", "logits"], {"hidden": "hidden", "logits": "logits"}),
    (mapping, {"h": "hidden"}, {"h": "hidden"}),
    (Both, ["hidden"], {"hidden": "hidden"}),
]


@pytest.mark.parametrize(("back", "outputs", "expected"), CASES)
def test_names(back: Callable[[Any, Any], Any], outputs: Any, expected: dict[str, str]) -> None:
    """In the order that was asked for: what is classified is the first one."""
    model = Model.from_pyg(Net(back), outputs=outputs)
    assert [*model.outputs] == [*expected]
    with torch.no_grad():
        edges = torch.from_numpy(np.stack([SRC, DST]))
        want = Net(lambda logits, hidden: {"logits": logits, "hidden": hidden}).double()(torch.from_numpy(X), edges)
    found = interpret(model.program, model.weights, GraphArrays.single(SRC, DST, X))
    for name, of in expected.items():
        np.testing.assert_allclose(found[name], want[of].numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("back", "outputs", "message"),
    [
        (alone, ["a", "b"], "outputs names 'a', which forward does not return; known: output"),
        (pair, ["a"], "outputs names 'a', which forward does not return; known: output_0, output_1"),
        (pair, ["a", "output_0"], "outputs names 'a', which forward does not return; known: output_0, output_1"),
        (mapping, ["logit"], "outputs names 'logit', which forward does not return; did you mean 'logits'?"),
        (mapping, {"a": "b"}, "outputs names 'b', which forward does not return; known: hidden, logits"),
        (alone, ["a", "a"], "outputs names 'a' twice"),
        (alone, 7, "outputs is 7; names are expected, or name → what forward calls it"),
        (alone, ["id"], "output 'id': the result has a column of this name already; give another one"),
        (alone, [""], "the name of an output has 0 letters"),
        (pair, ["a", "A"], "outputs 'a' and 'A' differ by case only; give one another name"),
    ],
)
def test_names_that_cannot_be(back: Callable[[Any, Any], Any], outputs: Any, message: str) -> None:
    with pytest.raises(Exception, match=re.escape(message)) as found:
        Model.from_pyg(Net(back), outputs=outputs)
    assert type(found.value).__module__ == "pipeline.errors"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ((), ["account.output", "shop.output"]),
        (["score"], ["account.score", "shop.score"]),
        (["account.output"], ["account.output"]),
        ({"score": "account.output"}, ["account.score"]),
        ({"account.score": "account.output"}, ["account.score"]),
    ],
)
def test_names_in_typed_graphs(outputs: Any, expected: list[str]) -> None:
    metadata = (["account", "shop"], [("account", "at", "shop"), ("shop", "rev_at", "account")])
    net = to_hetero(Net(alone), metadata).eval()
    model = Model.from_pyg(net, metadata=metadata, outputs=outputs)
    assert [*model.outputs] == expected


def test_names_of_a_pair_of_dicts_by_type() -> None:
    """And of one dict whose keys are no types."""
    one, two = torch.ones(2, 1), torch.zeros(2, 1)
    result, types = ({"a": one}, {"a": two, "b": one}), Types(("a", "b"), ())
    wanted = [("logits", ""), ("hidden", "")]
    from pipeline.pyg.outputs import Wanted

    named = [Wanted(*each) for each in wanted]
    assert [*named_by_type(result, types, named)] == ["a.logits", "a.hidden", "b.hidden"]
    assert [*named_by_type({"y": {"a": one}}, types)] == ["a.y"]
    assert [*named_by_type(result, types, [Wanted("h", "output_1")])] == ["a.h", "b.h"]
    with pytest.raises(
        ModelError, match=r"outputs names 'h', which forward does not return; known: a\.output_0, a\.outp"
    ):
        named_by_type(result, types, [Wanted("h")])


def test_the_command_line_names_and_chooses(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairnet.py").write_text(
        "import torch\nfrom torch_geometric.nn import SAGEConv\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = SAGEConv(3, 2)\n"
        "    def forward(self, x, edge_index, scale):\n        h = self.conv(x, edge_index)\n"
        "        return h * scale, h\n"
        "def build():\n    return Net().eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    common = ["export", "pairnet:build", "--input", "scale=2.0", "--untrained"]
    for outputs, expected in (("score=output_0", ["score"]), ("double,once", ["double", "once"])):
        done = CliRunner().invoke(cli.app, [*common, "--outputs", outputs, "--output", outputs])
        assert done.exit_code == 0, done.output
        assert [*Model.load(tmp_path / outputs).outputs] == expected
    model = Model.load(tmp_path / "double,once")
    found = interpret(model.program, model.weights, GraphArrays.single(SRC, DST, X))
    np.testing.assert_allclose(found["double"], 2 * found["once"])
    refused = CliRunner().invoke(cli.app, [*common, "--outputs", "double", "--output", "no"])
    assert refused.exit_code == 2
    assert "outputs names 'double', which forward does not return; known: output_0, output_1" in refused.output
