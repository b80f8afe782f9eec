"""`graphsweep export`: a PyG module becomes a model."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline.command.answers import answer
from pipeline.command.columns import (
    class_names,
    column_names,
    input_column,
    output_names,
)
from pipeline.command.messages import messages
from pipeline.command.options import (
    Json,
    LogFormat,
    Overwrite,
    Quiet,
    Verbose,
    option,
)


def export_command(
    reference: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="What makes the PyG module.")],
    output: Annotated[str, option("--output", "PATH", "Where the model goes.")],
    checkpoint: Annotated[str | None, option("--checkpoint", "FILE", "Weights: .safetensors, or a state dict.")] = None,
    input: Annotated[
        list[str] | None,
        option(
            "--input",
            "NAME=COLUMN",
            "Argument of forward and its column: edge_weight=edges.weight, or none, or a number; "
            "edge_attr=edges.a+edges.b; adj_t=edge_index+edges.weight.",
        ),
    ] = None,
    outputs: Annotated[
        str | None,
        option(
            "--outputs",
            "NAME[,NAME…]",
            "What the outputs are called, in their order, like logits; of a dict: those that are wanted; "
            "logits=output_0: both.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        option(
            "--classes",
            "NAME,NAME,…|FILE",
            "Names of the classes that the output has a number for each of, in their order; or a file with one a line. "
            "Scores then have a column label. Of several outputs: OUTPUT=NAME,NAME, once for each.",
        ),
    ] = None,
    node_ids: Annotated[
        list[str] | None,
        option(
            "--node-ids",
            "[TYPE=]TABLE",
            "Of a module with a learned row for each node: the ids of these nodes (a column id), in the order of the "
            "rows, which go with the model. --input NAME=node_ids names a weight. Of several types: once for each.",
        ),
    ] = None,
    features: Annotated[int | None, option("--features", "WIDTH", "Width of x; else it is found by trying.")] = None,
    unused: Annotated[
        list[str] | None, option("--unused", "PATTERN", "Weights that may go unread, such as 'decoder.*'.")
    ] = None,
    columns: Annotated[
        str | None, option("--columns", "COL[,COL…]", "Columns of x in training, in order: infer checks them.")
    ] = None,
    training: Annotated[
        str | None,
        option("--training", "TABLE", "Node table of training, for its ranges: infer warns of numbers far outside."),
    ] = None,
    untrained: Annotated[bool, option("--untrained", None, "The weights are random, and that is meant.")] = False,
    like: Annotated[
        str | None,
        option("--like", "GRAPH", "The typed graph that the model is for: prepared, or as --graph-spec takes it."),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a trained PyTorch Geometric module into a model. The only command that needs torch."""
    with messages("export", quiet, verbose, json, log_format):
        from pipeline.job.export import export_module

        inputs = dict(input_column(text) for text in input or [])
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's own module
        model = export_module(
            reference, output, checkpoint, inputs, features, unused or (), column_names(columns or ""), training,
            untrained, overwrite, like, output_names(outputs), class_names(classes) if classes else None,
            node_ids or (),
        )  # fmt: skip
        first, _, _ = str(model).partition("\n")
        about = "".join(f"{line}\n" for line in model.notes)
        text = f"{first}\n{about}checked against the module on other graphs; written to {output}"
        answer("export", text, {"output": output, **model.facts}, json)
