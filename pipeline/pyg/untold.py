"""What is said of an argument of forward that nobody has told: what it is, by its name, and what to give.

Comes in: the argument's name and its parameter. Goes out: a ModelError.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch

from pipeline.errors import ModelError
from pipeline.pyg.asked import is_matrix
from pipeline.pyg.edge_sets import TABLES, several

BATCHES = ("batch", "batch_index", "batch_idx", "batch_vec")
SAMPLED = ("adjs", "sampled_adjs")
PAIRS = ("edge_label_index", "edge_label", "edge_pairs", "node_pairs", "pairs", "target_edge", "target_edges", "links")


class AsksBatch(ModelError):
    """Forward takes a batch, which nobody told."""


def untold(
    name: str, named: Mapping[str, inspect.Parameter], net: torch.nn.Module, tables: Sequence[str] = TABLES
) -> ModelError:
    """Why forward cannot be called without this argument. `tables`: what it may be a column of."""
    if name in BATCHES:
        return AsksBatch(
            f"forward takes {name!r}, the number of each node's graph; graphsweep takes all nodes for one graph: if "
            f"that is right, give inputs={{{name!r}: None}}"
        )
    if name in SAMPLED:
        layers = max([2, *(len(each) for each in net.modules() if isinstance(each, torch.nn.ModuleList))])
        return ModelError(
            f"forward takes {name!r}: if these are the sampled edges of each layer, all edges stand in their place, "
            f"once for each layer: inputs={{{name!r}: {['edge_index'] * layers}}}"
        )
    if name in PAIRS or name.endswith("label_index"):
        return ModelError(
            f"forward takes {name!r}: pairs of nodes to score (a link decoder); there is no table of pairs: if they "
            f"are the edges themselves, give inputs={{{name!r}: 'edge_index'}}, and the result has a row per edge; "
            "else import the encoder, the part that gives a row per node, and score pairs of its rows"
        )
    if matrix_like(named, name):
        return ModelError(f"forward takes {name!r}: if it is the graph, {matrix_forms(name)}")
    edge_sets = [each for each in named if "edge_index" in each]
    if name in edge_sets and len(edge_sets) > 1:
        return ModelError(several(edge_sets))
    first, *others = tables
    columns = " or ".join(f"'{each}.COLUMN'" for each in others)
    return ModelError(
        f"forward takes {name!r}: say where it comes from, inputs={{{name!r}: '{first}.COLUMN'}} or {columns}"
        + (" (or 'edge_index')" if tables == TABLES else "")
        + "; a number that is the same for every graph, as it is"
    )


def matrix_like(named: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Whether a parameter looks like a matrix: by its name, or its type."""
    annotation = str(named[name].annotation) if name in named else ""
    return is_matrix(name) or ("SparseTensor" in annotation and "Union" not in annotation)


def matrix_forms(name: str) -> str:
    """How a matrix is given, for messages."""
    return (
        f"say what its values are: inputs={{{name!r}: ('edge_index', 'edges.COLUMN')}}, or "
        f"inputs={{{name!r}: ('edge_index', 'gcn_norm')}} if PyG's gcn_norm made it before training, or "
        f"inputs={{{name!r}: ('edge_index', None)}} if all of them are 1"
    )
