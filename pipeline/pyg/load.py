"""A module by name, with its trained weights: what the command line's `export` imports.

Comes in: "package.module:factory" and perhaps a checkpoint. Goes out: the module, in evaluation mode. The factory is
the user's own code and is run; a checkpoint is data: nothing in it is ever unpickled into objects.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.parameter import is_lazy

from pipeline.errors import ModelError, StorageError, nearest
from pipeline.pyg.forward import some

log = logging.getLogger("graphsweep")

NESTED = ("state_dict", "model_state_dict")  # under which training scripts store it


def build(reference: str, checkpoint: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """The module that a factory (or a class) makes without arguments, with the weights of a checkpoint, in eval mode.

    `checkpoint`: a state dict, as .safetensors or as torch.save wrote it. ModelError where names or shapes differ.
    """
    try:
        net = _factory(reference)()
    except ModelError:
        raise
    except Exception as error:  # of the user's code
        raise ModelError(
            f"{reference}() fails: {type(error).__name__}: {error}; a factory takes no arguments: write a function "
            "that makes the module as it was trained"
        ) from error
    if not isinstance(net, torch.nn.Module):
        raise ModelError(f"{reference} made {type(net).__name__}; a torch.nn.Module is expected")
    if checkpoint is not None:
        _fill(net, read_state(checkpoint), str(checkpoint))
    return net.eval()


def source_of(reference: str, net: torch.nn.Module, checkpoint: str | os.PathLike[str] | None, untrained: bool) -> str:
    """Where the weights of a module that `build` made come from, for people.

    Without a checkpoint the factory is called once more. ModelError if it gives other weights then: they are drawn at
    random. `untrained`: that is meant.
    """
    if checkpoint is not None:
        digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
        return f"checkpoint {Path(checkpoint).name}, SHA-256 {digest}"
    again = build(reference).state_dict()
    state = {name: tensor for name, tensor in net.state_dict().items() if not is_lazy(tensor)}
    random = [
        name
        for name, tensor in state.items()
        if tensor.dtype.is_floating_point and not torch.equal(tensor.nan_to_num(), again[name].nan_to_num())
    ]
    if random and not untrained:
        raise ModelError(
            f"{reference} makes other weights each time that it is called ({some(random)}): they are random, not "
            "trained; give the file of the trained ones, --checkpoint FILE, or say that it is meant: --untrained"
        )
    return f"{'random, ' if random else ''}as {reference} made them, without a checkpoint"


def _factory(reference: str) -> Any:
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise ModelError(f"model reference {reference!r}: write package.module:factory")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"model reference {reference!r}: {error}; is the directory that holds it on PYTHONPATH?"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ModelError(
                f"model reference {reference!r}: {module_name} has no {name!r}; {nearest(part, _public(found))}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise ModelError(f"model reference {reference!r} is {type(found).__name__}; a factory or a class is expected")
    return found


def _public(owner: Any) -> list[str]:
    return [name for name in vars(owner) if not name.startswith("_") and callable(getattr(owner, name))]


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a file; StorageError if it cannot be read, ModelError if it holds something else."""
    file = Path(path)
    if not file.is_file():
        raise StorageError(f"checkpoint {file} {'is not a file' if file.exists() else 'does not exist'}")
    try:
        state: Any = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise ModelError(f"checkpoint {file} cannot be read as safetensors: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot read checkpoint {file}: {error}") from error
    except Exception as error:  # a pickle that is broken can raise anything
        raise ModelError(
            f"checkpoint {file} is not a plain state dict, and objects are not unpickled; save "
            f"net.state_dict(), best as .safetensors ({type(error).__name__})"
        ) from None
    for key in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(item, Tensor) for item in state.values()):
        raise ModelError(f"checkpoint {file} holds no state dict (names and tensors)")
    return dict(state)


def _fill(net: torch.nn.Module, state: Mapping[str, Tensor], checkpoint: str) -> None:
    own = net.state_dict()
    prefix = _prefix(state, own)
    if prefix and {name[len(prefix) :] for name in state} == set(own):  # DDP and Lightning hold the module in another
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
        log.warning("checkpoint %s: all keys start with %r, which was left out", checkpoint, prefix)
        prefix = ""
    shapes = [
        f"{name} is {tuple(state[name].shape)} there, {tuple(own[name].shape)} in the module"
        for name in own
        if name in state and not is_lazy(own[name]) and state[name].shape != own[name].shape
    ]
    problems = [
        f"{what} {some(names)}"
        for what, names in (
            ("missing", sorted(own.keys() - state.keys())),
            ("unexpected", sorted(state.keys() - own.keys())),
            ("of another shape:", shapes),
        )
        if names
    ]
    if prefix:
        problems.append(f"all of its keys start with {prefix!r}, and without it they are still others")
    if problems:
        raise ModelError(f"checkpoint {checkpoint} does not belong to {type(net).__name__}: " + "; ".join(problems))
    net.load_state_dict(state, strict=True)


def _prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands before all keys of a checkpoint, beside those of the module: "module."; empty if nothing does."""
    first = next(iter(own), "")
    ends = [name[: -len(first)] for name in state if first and name.endswith(f".{first}")]
    return next((each for each in ends if all(name.startswith(each) for name in state)), "")
