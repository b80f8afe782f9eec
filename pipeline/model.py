"""A model: a program, its learned weights, and the columns that it reads; in memory and as a directory on disk.

Comes in: a formula, a PyG module, or a saved directory. Goes out: a Model whose parts are known to fit each other.
Knows nothing of Spark, and of torch only that pipeline.pyg exists.

On disk a model is `model.json` (the program and what it reads), `weights.safetensors`, and of learned rows of nodes a
Parquet file for each type: data, never code.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import shown
from pipeline.blocks.ranges import Ranges
from pipeline.errors import ModelError, StorageError, nearest, shortened
from pipeline.formula.about import About
from pipeline.formula.checked import checked_columns, checked_rows, checked_weights, lanes_of
from pipeline.formula.classes import Classes, checked_classes, lines_of_classes
from pipeline.formula.joined import joined
from pipeline.formula.node_rows import NodeRows, lines_of_rows, sum_of
from pipeline.formula.program import Program, input_name
from pipeline.formula.saved import FORMAT, PROGRAM_FILE, ROWS_FILE, read_saved, told_of
from pipeline.formula.spaces import Nodes
from pipeline.formula.trace import Formula, Inputs, trace
from pipeline.formula.written import FILES, add_weights, canonical, check_unchanged, write_saved
from pipeline.places.brought import brought
from pipeline.places.given import check_flags, path_of
from pipeline.places.marker import MARKER
from pipeline.places.place import Place
from pipeline.places.registered import fetched, is_registered
from pipeline.schema import GraphSchema
from pipeline.shown import counted
from pipeline.tables.categories import check_categories
from pipeline.tables.fitting import check_columns
from pipeline.tables.node_ids import ids_by_type
from pipeline.tables.training import (
    Trained,
    check_names,
    far_outside,
    lines_of_training,
    moved,
    places_of,
    remembered,
    with_names,
)

log = logging.getLogger("graphsweep")

PYG_OPTIONS = ("seed", "metadata", "like")  # that go through to the import
PYG_ARGUMENTS = (
    "inputs", "features", "unused", "outputs", "training", "weights", "classes", "node_ids", *PYG_OPTIONS
)  # fmt: skip
MOST_LINES = 7  # about a model, when it is printed


class Model:
    """A program with its weights, ready to be planned and run.

    `columns` says where the program's inputs come from: program input → table column, `{"edges.edge_weight":
    "edges.weight"}`; inputs that it leaves out are read from the column of their own name.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, npt.ArrayLike],
        columns: Mapping[str, str] | None = None,
        origin: str = "formula",
        about: About | None = None,
        training: Mapping[str, Trained] | None = None,
        classes: Any = None,
        node_rows: Mapping[str, NodeRows] | None = None,
    ):
        """ModelError if weights are missing, unexpected, of another shape or not finite, or if columns, names of
        classes, or learned rows of nodes, do not fit."""
        self.program = program
        self.weights = checked_weights(program, weights)
        self.columns = checked_columns(program, columns or {})
        self.origin = origin
        """Where the model came from, for people: "formula", or the class of the module that was imported."""
        self.about = about or About()
        self.training = dict(training or {})
        """Table column → its columns' names and ranges in training, as far as they were told."""
        self.classes: Classes = checked_classes(program, classes)
        """Output → the names of its classes, in the order of its numbers, as far as they were told."""
        self.node_rows = checked_rows(program, self.columns, node_rows or {})
        """Node type → its learned rows, which the model holds itself, by the ids of the nodes."""

    # ---- where a model comes from

    @staticmethod
    def from_formula(
        formula: Formula,
        weights: Mapping[str, npt.ArrayLike],
        inputs: Inputs,
        columns: Mapping[str, str] | None = None,
        *,
        classes: Any = None,
        **options: Any,
    ) -> Model:
        """A model written as formulas.

        Parameters
        ----------
        formula
            `formula(g, x, w, …)`, see pipeline.formula.trace.
        weights
            Name → array.
        inputs
            Columns and the shape of their rows: `{"nodes.x": 64, "edges.weight": ()}`; for a graph with types, by type:
            `{"account": {"x": 64}, "shop": {}, ("account", "pays", "shop"): {"amount": ()}}`.
        columns
            Where a column has another name in the tables: `{"edges.weight": "edges.amount"}`, and
            `{"nodes[account].x": "nodes[account].features"}`.
        classes
            Names of the classes, as for `from_pyg`.
        options
            Go through to the formula.
        """
        if not isinstance(weights, Mapping):
            raise ModelError(f"weights is {shortened(weights)}; name → array is expected, {{}} if there are none")
        arrays = {name: np.asarray(array) for name, array in weights.items()}
        program = trace(formula, inputs, {name: array.shape for name, array in arrays.items()}, **options)
        origin = f"formula {getattr(formula, '__name__', 'unnamed')}"
        return Model(program, arrays, columns, origin, classes=classes)

    @staticmethod
    def from_pyg(
        net: Any,
        inputs: Mapping[str, str | Sequence[str | None] | float | None] | None = None,
        features: Any = None,
        *,
        unused: Sequence[str] = (),
        outputs: Sequence[str] | Mapping[str, str] = (),
        training: Any = None,
        weights: str = "as the module held them",
        classes: Any = None,
        node_ids: Any = None,
        **options: Any,
    ) -> Model:
        """The model that a PyTorch Geometric module computes. Needs torch.

        Parameters
        ----------
        inputs, features, unused, outputs
            See pipeline.pyg.import_module: which argument of forward is which column, widths, weights that may go
            unread, what the outputs are called, and which are wanted.
        training
            The columns of x in training, see `trained_on`.
        weights
            Where they come from, for people.
        classes
            Names of the classes that an output has a number for each of, in their order: `["legit", "fraud"]`. Of
            several outputs: output → names; of several types of nodes also type → names. Results then have a column of
            labels: the name of the largest number.
        node_ids
            Of a module that learned a row for each node (LightGCN, RGCN on entities, LINKX): the ids of these nodes, in
            the order of the rows; of several types node type → ids. A list, an array, a table with a column id, or its
            path. Every weight with a row for each id is taken for such rows, or those that inputs names:
            `{"embedding.weight": "node_ids"}`, by type `{"users.weight": {"user": "node_ids"}}`; an argument that is
            "node_ids" gets the number of the node's row. The rows go with the model, and `infer` finds them by id: the
            order of tables plays no part.
        """
        from pipeline.pyg import imported
        from pipeline.pyg.node_ids import with_node_ids

        unknown = [name for name in options if name not in PYG_OPTIONS]
        if unknown:
            raise ModelError(f"from_pyg has no argument {unknown[0]!r}; {nearest(unknown[0], PYG_ARGUMENTS)}")
        told = with_node_ids(net, inputs, features, ids_by_type(node_ids))
        found = imported(net, inputs=told.inputs, features=told.features, unused=unused, outputs=outputs, **options)
        about = About(weights, found.unread, found.left_out, found.notes)
        for note in found.notes:
            log.warning("%s", note)
        several = {column: Trained(names) for column, names in found.made_of.items()}
        rows = told.rows_of(found.columns)
        model = Model(found.program, found.weights, found.columns, found.origin, about, several, classes, rows)
        return model if training is None else model.trained_on(training)

    def trained_on(self, training: Any) -> Model:
        """The same model, which remembers what its columns held in training.

        `infer` then refuses features whose columns have other names or another order, and warns where numbers lie far
        outside.

        Parameters
        ----------
        training
            Of the features of the nodes: the names of their columns in order; or a table of just these columns (pandas,
            Arrow, or a path of Parquet or CSV), which tells ranges too; or an array; or name → (smallest, largest). Or
            input → one of these: `{"x": nodes[["age", "amount"]], "edge_attr": ["distance"]}`.
        """
        arguments = {name.rpartition(".")[2]: column for name, column in self.columns.items()}
        told = with_names(self.training, remembered(self.inputs, arguments, training))
        training = {**self.training, **told}
        return self._with(training=training)

    def _with(self, **changed: Any) -> Model:
        """The same, but for what is changed."""
        parts = ("program", "weights", "columns", "origin", "about", "training", "classes", "node_rows")
        return Model(**{name: getattr(self, name) for name in parts} | changed)

    def only(self, program: Program) -> Model:
        """The model of a program that is a part of this one's."""
        columns = {name: self.columns[name] for name in map(input_name, program.inputs)}
        weights = {name: self.weights[name] for name in program.weights}
        classes = {name: names for name, names in self.classes.items() if name in program.outputs}
        return self._with(program=program, weights=weights, columns=columns, classes=classes)

    def bound_to(self, columns: Mapping[str, Any]) -> Model:
        """The same model for a graph that holds the columns of an input by themselves: the input is put together from
        them. Itself for any other graph.

        `columns`: which columns of the tables the graph's values are made of, as a manifest says it.
        """
        found = places_of(self.training, columns)
        read = {name: column for name, column in self.columns.items() if column not in self._own_columns}
        renamed = {name: found[column][0] for name, column in read.items() if len(found.get(column, ())) == 1}
        parts = {name: found[column] for name, column in read.items() if len(found.get(column, ())) > 1}
        if not renamed and not parts:
            return self
        program, lanes = joined(self.program, {name: len(each) for name, each in parts.items()})
        several = dict(zip(lanes, (each for name in parts for each in parts[name]), strict=True))
        chosen = {name: column for name, column in self.columns.items() if name not in parts}
        training = moved(self.training, found)
        return self._with(program=program, columns={**chosen, **renamed, **several}, training=training)

    # ---- what it reads and gives

    @property
    def inputs(self) -> dict[str, int]:
        """Table column → float32 lanes of a row: {"nodes.x": 64, "edges.weight": 1}."""
        found = {self.columns[input_name(column)]: lanes_of(column.shape) for column in self.program.inputs}
        return {column: lanes for column, lanes in found.items() if column not in self._own_columns}

    @cached_property
    def _own_columns(self) -> frozenset[str]:
        """Columns that are no table's: the model has their rows."""
        return frozenset(f"{Nodes(type)}.{name}" for type, rows in self.node_rows.items() for name in rows.columns)

    @property
    def reads_reversed(self) -> bool:
        """Whether it reduces at the source of edges somewhere: then a graph needs its edges against their direction."""
        return any(edge_type.is_reversed for edge_type in self.program.edge_types)

    @property
    def outputs(self) -> dict[str, int]:
        """Output → float32 lanes of a row."""
        return {name: value.width for name, value in self.program.outputs.items()}

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same program, columns, classes and weights, wherever they came from."""
        told = {"classes": self.classes} if self.classes else {}
        digest = hashlib.sha256(canonical({"program": self.program.to_json(), "columns": self.columns, **told}))
        add_weights(digest, self.weights)
        if self.node_rows:
            digest.update(sum_of(self.node_rows).encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        """What it reads and gives, in a few lines; `program` is printed by itself."""
        left = len(self.notes) - MOST_LINES
        more = [f"… and {left} more lines: model.about, model.training"] if left > 0 else []
        lines = [self._summary, *self.notes[:MOST_LINES], *more]
        return "\n".join([*lines, f"{counted(len(self.program.values), 'value')}; print(model.program) shows them"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return shown.html(
            f"Model from {self.origin}",
            {
                "reads": _widths(self.inputs),
                "outputs": _widths(self.outputs),
                "weights": f"{len(self.weights):,} of {self.parameters:,} numbers",
                **{f"about {at}": line for at, line in enumerate(self.notes[:MOST_LINES], 1)},
                "program": counted(len(self.program.values), "value"),
            },
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What it is, for programs: keys that stay."""
        return {
            "model": self.fingerprint,
            "origin": self.origin,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "classes": {name: [*names] for name, names in self.classes.items()},
            "weights": len(self.weights),
            "parameters": self.parameters,
            "about": self.about.lines,
        }

    @property
    def parameters(self) -> int:
        """Numbers in all weights."""
        return sum(array.size for array in self.weights.values())

    @property
    def _summary(self) -> str:
        return (
            f"model from {self.origin}: reads {_widths(self.inputs)}; gives {_widths(self.outputs)}; "
            f"{counted(len(self.weights), 'weight')} of {counted(self.parameters, 'number')}"
        )

    @property
    def notes(self) -> list[str]:
        """Sentences about it, its classes, and what it remembers of its training."""
        of_rows = lines_of_rows(self.node_rows)
        return [*self.about.lines, *lines_of_classes(self.classes), *of_rows, *lines_of_training(self.training)]

    def check_against(
        self, schema: GraphSchema, ranges: Ranges | None = None, columns: Mapping[str, Any] | None = None
    ) -> None:
        """ModelError unless a graph of this schema has every column that the model reads, in its width.

        A width of 0 is one that no row tells, because there is none. `ranges`: what the columns hold, where that is
        known; the model's tables must have a row for each category. `columns`: which columns of the tables the values
        are made of, as a manifest says it; they must be those of training, in their order, where that is known.
        """
        check_names(self.training, columns or {})
        bound = self.bound_to(columns or {})
        if bound is not self:
            bound.check_against(schema, ranges, columns)
            return
        check_columns(self.program, self.columns, self.training, schema, self._own_columns)
        check_categories(self.program, self.columns, ranges or {})

    def far_outside(self, ranges: Ranges) -> list[str]:
        """A line for each column of a graph whose numbers lie far outside of those in training, where that is known."""
        return far_outside(self.training, ranges)

    # ---- on disk

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Writes the model's directory: whole, or not at all.

        StorageError if `path` exists; `overwrite` replaces a saved model, and nothing else.
        """
        check_flags(overwrite=overwrite)
        write_saved(path, self._to_json(), self.weights, self.fingerprint, overwrite, self.node_rows)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Model:
        """Reads a model's directory, on a disk or in an object store, or what MLflow keeps as `models:/NAME@ALIAS`,
        `models:/NAME/VERSION` or `runs:/RUN/PATH`. It is data: nothing of it is run.

        StorageError if it cannot be read, ModelError if it is not a model of ours, SettingError if MLflow is not there.
        """
        text = path_of("the path of a model", path)
        if is_registered(text):
            return _read(fetched(text, PROGRAM_FILE))
        place = Place.of(text)
        if place.is_local:
            return _read(place.path)
        directory = brought(place, lambda name: name in (*FILES, MARKER) or bool(ROWS_FILE.fullmatch(name)))
        try:
            return _read(directory)
        except (ModelError, StorageError) as error:
            raise type(error)(str(error).replace(directory, str(place))) from None

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "origin": self.origin,
            "inputs": {
                input_name(column): {"column": self.columns[input_name(column)], "shape": list(column.shape)}
                for column in self.program.inputs
            },
            "outputs": {name: {"width": width} for name, width in self.outputs.items()},
            "classes": {name: [*names] for name, names in self.classes.items()},
            "about": self.about.to_json(),
            "training": {column: trained.to_json() for column, trained in self.training.items()},
            "program": self.program.to_json(),
            **({"node_rows": told_of(self.node_rows)} if self.node_rows else {}),
        }


def _read(directory: str) -> Model:
    """The model in a directory of this machine."""
    saved = read_saved(directory)
    program, columns = saved.program, saved.columns
    try:
        about = About() if saved.about is None else About.from_json(saved.about)
        lanes = {columns[input_name(column)]: lanes_of(column.shape) for column in program.inputs}
        training = {key: Trained.from_json(told, lanes[key]) for key, told in saved.training.items()}
        classes = {key: saved.classes[key] for key in program.outputs if key in saved.classes}
        if len(classes) != len(saved.classes):
            raise ValueError(f"classes are named of {shortened([*saved.classes])}")
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{directory}/{PROGRAM_FILE} is not well formed: {shortened(error, 500)}") from None
    model = Model(program, saved.weights, columns, saved.origin, about, training, classes, saved.node_rows)
    check_unchanged(directory, model.weights, model.node_rows)
    return model


def _widths(columns: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({lanes})" for name, lanes in columns.items()) or "no columns"
