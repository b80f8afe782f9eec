"""A model as MLflow keeps models: our own directory, with MLflow's description beside our two files.

Comes in: a `Model`. Goes out: a directory with MLmodel, of which MLflow shows what the model reads and gives; or an
entry in its registry. Such a directory is a saved model, too: whatever takes the path of one takes this.

    MLmodel                  flavour `graphsweep`, signature, fingerprint
    requirements.txt         what pip installs to run it
    input_example.json       some rows, if they were given
    model.json, weights.safetensors, _graphsweep.json       the saved model

There is no flavour python_function: its models are code, and they take one table where a graph is two.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, shortened, unwritable
from pipeline.formula.program import input_name
from pipeline.model import Model
from pipeline.places.given import path_of
from pipeline.places.registered import DESCRIPTION, check_installed, said_by_mlflow

if TYPE_CHECKING:
    from mlflow.models import Model as Described
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

FLAVOUR = "graphsweep"
EXAMPLE_ROWS = 5
_EXAMPLE, _REQUIREMENTS = "input_example.json", "requirements.txt"


def save_model(
    model: Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    mlflow_model: Described | None = None,
    input_example: Mapping[str, Any] | None = None,
    pip_requirements: Sequence[str] | None = None,
) -> None:
    """Writes a model as MLflow keeps it: whole, or not at all.

    Parameters
    ----------
    model
        A Model, or the path of a saved one.
    path
        A new directory, or an empty one.
    mlflow_model
        What MLflow knows of it already; it is MLflow that gives this.
    input_example
        Some rows, for people who look at the model: {"nodes": table, "edges": table}, tables of pandas. The first five
        rows of each are kept.
    pip_requirements
        Instead of this version of graphsweep.

    Raises
    ------
    SettingError
        If MLflow is not installed.
    StorageError
        If something is at the path, or it cannot be written.
    """
    check_installed("graphsweep.mlflow needs")
    model = model if isinstance(model, Model) else Model.load(model)
    target = Path(path_of("the path of a model", path))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target}: exists already; give another path")
    example = None if input_example is None else _example(input_example)
    import mlflow.models

    described = mlflow.models.Model() if mlflow_model is None else mlflow_model
    described.add_flavor(FLAVOUR, version=_own_version(), fingerprint=model.fingerprint, origin=model.origin)
    described.signature = signature(model)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise unwritable(str(target), error) from error
    try:
        whole = directory / target.name
        model.save(whole)
        requirements = list(pip_requirements or [_requirement()])
        (whole / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        if example is not None:
            (whole / _EXAMPLE).write_text(example, encoding="utf-8")
            described.saved_input_example_info = {"artifact_path": _EXAMPLE, "type": "json_object"}
        described.save(str(whole / DESCRIPTION))
        whole.replace(target)  # onto an empty directory, too
    except OSError as error:
        raise unwritable(str(target), error) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def log_model(
    model: Model | str | os.PathLike[str],
    name: str = "model",
    registered_model_name: str | None = None,
    input_example: Mapping[str, Any] | None = None,
    pip_requirements: Sequence[str] | None = None,
    **options: Any,
) -> ModelInfo:
    """Logs a model to MLflow, and registers it if it gets a name there.

    Parameters
    ----------
    name
        Of the model in its run.
    registered_model_name
        In the registry: a new version of it, to which an alias can be given: `models:/NAME@ALIAS`.
    input_example, pip_requirements
        As of `save_model`.
    options
        Of MLflow's own `Model.log`: run_id, metadata, tags, params, …

    Raises
    ------
    SettingError
        If MLflow is not installed.
    ModelError
        If MLflow refuses; with its own words.
    """
    check_installed("graphsweep.mlflow needs")
    model = model if isinstance(model, Model) else Model.load(model)
    import mlflow.models

    with said_by_mlflow("MLflow"):
        return mlflow.models.Model.log(
            artifact_path=None,
            name=name,
            flavor=sys.modules[__name__],
            flavor_name=FLAVOUR,
            registered_model_name=registered_model_name,
            model=model,
            input_example=input_example,
            pip_requirements=pip_requirements,
            **options,
        )


def load_model(model_uri: str | os.PathLike[str]) -> Model:
    """The model of `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN/PATH`, or a directory. The same as
    `Model.load`: it reads data, and runs no code that came with the model."""
    return Model.load(model_uri)


def signature(model: Model) -> ModelSignature:
    """What a model reads and gives, as MLflow shows it: columns of tables, with a row for each node or edge."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    number = np.dtype(np.float32)
    shapes = {model.columns[input_name(column)]: column.shape for column in model.program.inputs}
    read = [TensorSpec(number, (-1, *shapes[name]), name) for name in model.inputs]
    given = [TensorSpec(number, (-1, width), name) for name, width in model.outputs.items()]
    return ModelSignature(Schema(read) if read else None, Schema(given))


def _example(tables: Mapping[str, Any]) -> str:
    """Some rows as JSON."""
    if not isinstance(tables, Mapping) or not all(hasattr(table, "to_json") for table in tables.values()):
        raise SettingError(
            f'input_example is {shortened(tables, 100)}; {{"nodes": table, "edges": table}} with tables of pandas is '
            "expected"
        )
    rows = {str(name): json.loads(table.head(EXAMPLE_ROWS).to_json(orient="split")) for name, table in tables.items()}
    for each in rows.values():
        each.pop("index")
    return json.dumps(rows, allow_nan=False)


def _requirement() -> str:
    own = _own_version()
    return FLAVOUR if own is None else f"{FLAVOUR}=={own}"


def _own_version() -> str | None:
    try:
        return version(FLAVOUR)
    except PackageNotFoundError:  # run from its sources
        return None
