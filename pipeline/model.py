"""A model: a program, its learned weights, and the columns that it reads; in memory and as a directory on disk.

Comes in: a formula, a PyG module, or a saved directory. Goes out: a Model whose parts are known to fit each other.
Knows nothing of Spark, and of torch only that pipeline.pyg exists.

On disk a model is `model.json` (the program and what it reads) and `weights.safetensors`: data, never code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.fs as fs
import safetensors.numpy
from safetensors import SafetensorError

from pipeline import shown
from pipeline.blocks.ranges import Ranges
from pipeline.errors import ModelError, StorageError, nearest, shortened, unwritable
from pipeline.formula.about import About, some
from pipeline.formula.checked import checked_columns, checked_weights, lanes_of
from pipeline.formula.classes import Classes, checked_classes
from pipeline.formula.graph_types import check_types
from pipeline.formula.joined import joined
from pipeline.formula.program import Program, input_name
from pipeline.formula.saved import FORMAT, PROGRAM_FILE, WEIGHTS_FILE, read_saved
from pipeline.formula.spaces import Nodes
from pipeline.formula.trace import Formula, Inputs, trace
from pipeline.places.contents import is_model, owned_files
from pipeline.places.filesystem import Opened, opened
from pipeline.places.given import check_flags, path_of
from pipeline.places.marker import MODEL, read_marker
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.registered import fetched, is_registered
from pipeline.places.staging import followed, refuse_taken, staged
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema
from pipeline.shown import counted
from pipeline.tables.categories import check_categories
from pipeline.tables.training import Trained, check_names, far_outside, moved, places_of, remembered, with_names

log = logging.getLogger("graphsweep")

FILES = (PROGRAM_FILE, WEIGHTS_FILE)
PYG_OPTIONS = ("seed", "metadata", "like")  # that go through to the import
PYG_ARGUMENTS = ("inputs", "features", "unused", "outputs", "training", "weights", "classes", *PYG_OPTIONS)
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
    ):
        """ModelError if weights are missing, unexpected, of another shape or not finite, or if columns, or names of
        classes, do not fit."""
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
        """
        from pipeline.pyg import imported

        unknown = [name for name in options if name not in PYG_OPTIONS]
        if unknown:
            raise ModelError(f"from_pyg has no argument {unknown[0]!r}; {nearest(unknown[0], PYG_ARGUMENTS)}")
        found = imported(net, inputs=inputs, features=features, unused=unused, outputs=outputs, **options)
        about = About(weights, found.unread, found.left_out, found.notes)
        for note in found.notes:
            log.warning("%s", note)
        several = {column: Trained(names) for column, names in found.made_of.items()}
        model = Model(found.program, found.weights, found.columns, found.origin, about, several, classes)
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
        return Model(self.program, self.weights, self.columns, self.origin, self.about, training, self.classes)

    def bound_to(self, columns: Mapping[str, Any]) -> Model:
        """The same model for a graph that holds the columns of an input by themselves: the input is put together from
        them. Itself for any other graph.

        `columns`: which columns of the tables the graph's values are made of, as a manifest says it.
        """
        found = places_of(self.training, columns)
        read = {input_name(column): self.columns[input_name(column)] for column in self.program.inputs}
        renamed = {name: found[column][0] for name, column in read.items() if len(found.get(column, ())) == 1}
        parts = {name: found[column] for name, column in read.items() if len(found.get(column, ())) > 1}
        if not renamed and not parts:
            return self
        program, lanes = joined(self.program, {name: len(each) for name, each in parts.items()})
        several = dict(zip(lanes, (each for name in parts for each in parts[name]), strict=True))
        chosen = {name: column for name, column in read.items() if name not in parts}
        training = moved(self.training, found)
        columns = {**chosen, **renamed, **several}
        return Model(program, self.weights, columns, self.origin, self.about, training, self.classes)

    # ---- what it reads and gives

    @property
    def inputs(self) -> dict[str, int]:
        """Table column → float32 lanes of a row: {"nodes.x": 64, "edges.weight": 1}."""
        return {self.columns[input_name(column)]: lanes_of(column.shape) for column in self.program.inputs}

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
        digest = hashlib.sha256(_canonical({"program": self.program.to_json(), "columns": self.columns, **told}))
        self._add_weights(digest)
        return digest.hexdigest()

    @cached_property
    def _sum(self) -> str:
        """Of the weights alone: a bit that a disk has changed is seen."""
        digest = hashlib.sha256()
        self._add_weights(digest)
        return digest.hexdigest()

    def _add_weights(self, digest: Any) -> None:
        for name, array in sorted(self.weights.items()):
            digest.update(_canonical([name, list(array.shape)]))
            digest.update(array.tobytes())

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
        named = [f"classes of {name}: {some(names)}" for name, names in self.classes.items()]
        return [*self.about.lines, *named, *self._of_training]

    @property
    def _of_training(self) -> list[str]:
        """A line for each input whose columns in training are known."""
        return [
            f"trained on {column}: {', '.join(trained.names)}"
            for column, trained in self.training.items()
            if trained.names
        ]

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
        if self.reads_reversed and not any(edge_type.is_reversed for edge_type in schema.edges):
            raise ModelError(
                "the model reduces at the source of edges, and this graph was prepared without its edges against their "
                "direction; prepare it with reverse=True"
            )
        check_types(self.program, schema)
        for column in self.program.inputs:
            name = self.columns[input_name(column)]
            space = column.space
            present = schema.nodes[space.type] if isinstance(space, Nodes) else schema.edges[space.type]
            table, _, wanted = name.rpartition(".")
            lanes = lanes_of(column.shape)
            known = ", ".join(f"{table}.{key} ({width})" for key, width in sorted(present.items()))
            if wanted not in present:
                raise ModelError(
                    f"the model reads {name} (width {lanes}), which the graph does not have; "
                    f"{table} of this graph: {known or 'no columns'}{self._remedy(name, lanes, space.type, present)}"
                )
            if present[wanted] not in (lanes, 0):
                raise ModelError(f"the model expects {name} of width {lanes}; the graph has width {present[wanted]}")
        check_categories(self.program, self.columns, ranges or {})

    def _remedy(self, column: str, lanes: int, kind: str | EdgeType, present: Mapping[str, int]) -> str:
        """How the graph would have a column that it lacks."""
        table, _, name = column.rpartition(".")
        option = "features" if table.startswith("nodes") else "edge_features"
        names = self.training[column].names if column in self.training else None
        fitting = [key for key, width in present.items() if width == lanes and f"{table}.{key}" not in self.inputs]
        if names is None and len(fitting) == 1:
            names = (fitting[0],)
        if names is None:
            return ""
        made: Any = {name: names[0] if len(names) == 1 else list(names)}
        if kind not in (NODE, EDGE, EDGE.reversed):
            made = {kind if isinstance(kind, str) else (kind.source, kind.relation, kind.target): made}
        guessed = f"if {names[0]} is meant, " if column not in self.training else ""
        return f"; {guessed}prepare it with {option}={made!r}"

    def far_outside(self, ranges: Ranges) -> list[str]:
        """A line for each column of a graph whose numbers lie far outside of those in training, where that is known."""
        return far_outside(self.training, ranges)

    # ---- on disk

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Writes the model's directory: whole, or not at all.

        StorageError if `path` exists; `overwrite` replaces a saved model, and nothing else.
        """
        check_flags(overwrite=overwrite)
        place, here = _on_disk(path)
        with staged(place, here, partial(_saved_files, place), overwrite) as staging:
            directory = Path(staging.opened.path)
            try:
                (directory / PROGRAM_FILE).write_text(json.dumps(self._to_json(), indent=1) + "\n", encoding="utf-8")
                safetensors.numpy.save_file(dict(self.weights), directory / WEIGHTS_FILE)
                # safetensors lets nobody else read its files, whatever the user's umask says
                (directory / WEIGHTS_FILE).chmod((directory / PROGRAM_FILE).stat().st_mode)
            except SafetensorError as error:
                raise StorageError(f"{place}: cannot be written: {error}") from error
            except OSError as error:
                raise unwritable(str(place), error) from error
            files = [{"name": name, "bytes": (directory / name).stat().st_size} for name in FILES]
            told = {"files": files, "model": self.fingerprint, "weights": self._sum, "versions": _versions()}
            staging.publish(MODEL, told)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Model:
        """Reads a model's directory, or what MLflow keeps as `models:/NAME@ALIAS`, `models:/NAME/VERSION` or
        `runs:/RUN/PATH`.

        StorageError if it cannot be read, ModelError if it is not a model of ours, SettingError if MLflow is not there.
        """
        text = path_of("the path of a model", path)
        directory = fetched(text, PROGRAM_FILE) if is_registered(text) else _on_disk(text)[1].path
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
        model = Model(program, saved.weights, columns, saved.origin, about, training, classes)
        marker = read_marker(Opened(fs.LocalFileSystem(), os.path.abspath(directory)))
        if marker is not None and marker["kind"] == MODEL and marker.get("weights", model._sum) != model._sum:
            raise ModelError(
                f"{directory}/{WEIGHTS_FILE} is damaged, or was changed: its numbers are not those that were saved; "
                "export the model again"
            )
        return model

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
            "versions": _versions(),
            "about": self.about.to_json(),
            "training": {column: trained.to_json() for column, trained in self.training.items()},
            "program": self.program.to_json(),
        }


def _widths(columns: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({lanes})" for name, lanes in columns.items()) or "no columns"


def _canonical(item: Any) -> bytes:
    return json.dumps(item, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _versions() -> dict[str, str]:
    found = {}
    for package in ("graphsweep", "numpy", "torch", "torch_geometric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # torch need not be there; graphsweep may run from its sources
            continue
    return found


def refuse_to_save(
    path: str | os.PathLike[str], overwrite: bool, read: Mapping[str, str | os.PathLike[str] | None]
) -> None:
    """What `save` would refuse, before anything is done; and a SettingError for a path that is, holds or lies in
    something that was read: in words → where."""
    place, here = _on_disk(path)
    refuse_overlap(place, {what: Place.of(file) for what, file in read.items() if file is not None})
    for what, file in read.items():
        if file is not None and not os.path.isfile(file):
            raise StorageError(f"{what} {file} {'is not a file' if os.path.exists(file) else 'does not exist'}")
    refuse_taken(place, followed(here), partial(_saved_files, place), overwrite)


def _on_disk(path: str | os.PathLike[str]) -> tuple[Place, Opened]:
    place = Place.of(path_of("the path of a model", path))
    here = opened(place) if place.is_local else None
    if here is None:
        raise StorageError(f"{place}: models lie on disks of this machine; give a path without {place.scheme}:")
    return place, here


def _saved_files(place: Place, here: Opened) -> list[str]:
    return owned_files(place, here, MODEL, _without_marker)


def _without_marker(here: Opened) -> dict[str, int | None] | None:
    """The files of a model that a version without markers saved."""
    file = Path(here.path) / PROGRAM_FILE
    try:
        return dict.fromkeys(FILES) if file.is_file() and is_model(file.read_text(encoding="utf-8")) else None
    except (OSError, UnicodeDecodeError):
        return None
