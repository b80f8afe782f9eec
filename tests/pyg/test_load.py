"""A module by name, and its checkpoint: what is loaded, what is refused."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch_geometric.nn import GCNConv

from pipeline.errors import ModelError, StorageError
from pipeline.pyg.load import build

HERE = "tests.pyg.test_load"
NOT_CALLABLE = 3


def small():
    return GCNConv(4, 2)


def text():
    return "no module"


class Holder:
    make = staticmethod(small)


def test_a_factory():
    net = build(f"{HERE}:small")
    assert isinstance(net, GCNConv)
    assert not net.training
    assert isinstance(build(f"{HERE}:Holder.make"), GCNConv)


@pytest.mark.parametrize("ending", ["safetensors", "pt", "nested.pt"])
def test_a_checkpoint(tmp_path, ending):
    state = small().state_dict()
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state} if ending == "nested.pt" else state, path)
    loaded = build(f"{HERE}:small", path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("prefix", ["module.", "model.", "net._orig_mod."])
def test_a_checkpoint_of_a_module_that_is_held_in_another(tmp_path, prefix, caplog):
    """As DistributedDataParallel, Lightning and torch.compile save it."""
    state, path = small().state_dict(), tmp_path / "weights.safetensors"
    save_file({prefix + name: tensor for name, tensor in state.items()}, path)
    loaded = build(f"{HERE}:small", path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert caplog.messages == [f"checkpoint {path}: all keys start with {prefix!r}, which was left out"]
    others = {f"{prefix}{name}": tensor for name, tensor in {**state, "more": torch.zeros(1)}.items()}
    save_file(others, path)
    words = f"unexpected {prefix}bias, {prefix}lin.weight, {prefix}more; all of its keys start with {prefix!r}, and "
    with pytest.raises(ModelError, match=re.escape(words)):
        build(f"{HERE}:small", path)


def test_of_many_keys_a_few_are_told(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({f"layers.{number}": torch.zeros(1) for number in range(900)}, path)
    with pytest.raises(ModelError, match=r"unexpected layers\.0, (layers\.\d+, ){3}layers\.\d+ and 895 more$"):
        build(f"{HERE}:small", path)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_colon", "model reference 'no_colon': write package.module:factory"),
        (
            "absent_package.models:make",
            "No module named 'absent_package'; is the directory that holds it on PYTHONPATH?",
        ),
        (f"{HERE}:smal", "has no 'smal'; did you mean 'small'?"),
        (f"{HERE}:NOT_CALLABLE", "is int; a factory or a class is expected"),
        (f"{HERE}:text", "made str; a torch.nn.Module is expected"),
    ],
)
def test_a_reference_that_is_none(reference, message):
    with pytest.raises(ModelError, match=re.escape(message)):
        build(reference)


def test_names_and_shapes_are_those_of_the_module(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"bias": torch.zeros(9), "extra": torch.zeros(1)}, path)
    with pytest.raises(ModelError) as caught:
        build(f"{HERE}:small", path)
    assert str(caught.value) == (
        f"checkpoint {path} does not belong to GCNConv: missing lin.weight; unexpected extra; "
        "of another shape: bias is (9,) there, (2,) in the module"
    )


class Trap:
    """Unpickling it would call print."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_objects_are_never_unpickled(tmp_path, capsys):
    path = tmp_path / "trap.pt"
    torch.save({"bias": Trap()}, path)
    with pytest.raises(ModelError, match="is not a plain state dict, and objects are not unpickled"):
        build(f"{HERE}:small", path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="objects are not unpickled"):
        build(f"{HERE}:small", path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{"a": 3}, [1, 2]])
def test_no_state_dict(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds no state dict"):
        build(f"{HERE}:small", path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        build(f"{HERE}:small", tmp_path / "nowhere.pt")
    with pytest.raises(StorageError, match="is not a file"):
        build(f"{HERE}:small", tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        build(f"{HERE}:small", tmp_path / "broken.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(ModelError, match="is not a plain state dict"):
        build(f"{HERE}:small", tmp_path / "broken.pt")
