"""Turns a PyG module, given by its name, into a model on disk. The only job that needs torch.

Comes in: "package.module:factory", a checkpoint. Goes out: a model, saved. What is in the way of the output is refused
before torch is imported, which takes long.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import ModelError, SettingError
from pipeline.formula.written import on_disk, refuse_to_save
from pipeline.model import Model
from pipeline.places.place import Place, refuse_overlap
from pipeline.tables.node_ids import ids_by_type, paths_by_type
from pipeline.tables.training import TrainingTable

log = logging.getLogger("graphsweep")


def export_module(
    reference: str,
    output: str,
    checkpoint: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    features: int | None = None,
    unused: Sequence[str] = (),
    columns: Sequence[str] = (),
    training: str | None = None,
    untrained: bool = False,
    overwrite: bool = False,
    like: str | None = None,
    outputs: Sequence[str] | Mapping[str, str] = (),
    classes: Any = None,
    node_ids: Sequence[str] = (),
) -> Model:
    """The model, which has been saved. Arguments as those of `Model.from_pyg`; `columns` are those of x in training,
    `training` is the path of the table that they were in, `untrained` says that random weights are meant; `like` is the
    path of the typed graph that the model is for: prepared, or as --graph-spec takes it; `node_ids`: the paths of
    tables, each alone or as TYPE=PATH."""
    refuse_to_save(output, overwrite, {"the checkpoint": checkpoint})
    ids = paths_by_type(node_ids)
    paths = ids if isinstance(ids, Mapping) else {} if ids is None else {"nodes": ids}
    refuse_overlap(on_disk(output)[0], {f"the ids of {type}": Place.of(path) for type, path in paths.items()})
    for library in ("torch", "torch_geometric"):
        if importlib.util.find_spec(library) is None:
            raise _needs(library)
    _find(reference)
    graph = None if like is None else _graph(like)
    try:
        from pipeline.pyg.load import build, source_of
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "torch_geometric"):
            raise
        raise _needs(str(error.name)) from error
    net = build(reference, checkpoint)
    refuse_to_save(output, overwrite, {"the module": _source_of(reference)})
    weights = source_of(reference, net, checkpoint, untrained)
    if checkpoint is None:
        log.warning("weights: %s", weights)
    names = tuple(columns) or None
    model = Model.from_pyg(
        net, inputs=inputs, features=features, unused=unused, outputs=outputs, weights=weights, like=graph,
        classes=classes, node_ids=ids_by_type(ids), training=TrainingTable(training, names) if training else names,
    )  # fmt: skip
    model.save(output, overwrite)
    return model


def _graph(path: str) -> Any:
    """A prepared graph, or the tables that a file or a folder names; they are not read whole."""
    from pipeline.graph import Graph
    from pipeline.job.raw_tables import graph_spec
    from pipeline.prepared import open_graph

    if find_manifest(path) is not None:
        return open_graph(path)
    spec = graph_spec(path, None, None, {})
    assert spec is not None
    graph = Graph.of_files(**spec.arguments())
    if graph is None:
        raise SettingError(f"--like: only Spark reads the tables of {path}; prepare the graph, and give that")
    return graph


def _needs(library: str) -> SettingError:
    return SettingError(f"export needs {library}: pip install 'graphsweep[torch]'")


def _find(reference: str) -> None:
    """ModelError if there is no such module, before torch is imported. Of a package it is not known before."""
    module, _, name = reference.partition(":")
    top = module.partition(".")[0]
    if not top or not name:
        raise ModelError(f"model reference {reference!r}: write package.module:factory")
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        raise ModelError(
            f"model reference {reference!r}: No module named {top!r}; is the directory that holds it on PYTHONPATH?"
        )


def _source_of(reference: str) -> str | None:
    """The file of the user's module, which has been imported."""
    return getattr(sys.modules.get(reference.partition(":")[0]), "__file__", None)
