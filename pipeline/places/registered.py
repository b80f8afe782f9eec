"""Models that MLflow keeps: by a name in its registry, or by the run that logged them.

Comes in: `models:/fraud@prod`, `models:/fraud/3`, `runs:/RUN/model`. Goes out: a directory of this machine that holds
the files. They are data: nothing of them is imported or unpickled, and what is no model of ours is not even fetched.
Knows nothing of what a model is, but for the name of the file that each has.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import GraphsweepError, ModelError, SettingError, first_line
from pipeline.places.scratch import Scratch

log = logging.getLogger("graphsweep")

NEEDED = "MLflow, which is not installed: pip install 'graphsweep[mlflow]'"
DESCRIPTION = "MLmodel"  # what MLflow writes beside the files of every model
ORIGIN = "registered_model_meta"  # and beside those that it fetches: name and version
MOST_LETTERS = 200  # of names of files and flavours in a message
_URI = re.compile(r"(models|runs):(.*)", re.DOTALL)
_NAMES = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN/PATH"


def is_registered(path: str) -> bool:
    """Whether a path names a model that MLflow keeps."""
    return _URI.fullmatch(path) is not None


def fetched(uri: str, program: str) -> str:
    """The directory of a model that MLflow keeps: on this machine, for as long as the process lives.

    Parameters
    ----------
    program
        The file that every model of ours has.

    Raises
    ------
    SettingError
        If MLflow is not installed, or nobody said where it is.
    ModelError
        If it knows no such model, or what it knows is no model of ours.
    """
    scheme, rest = uri.split(":", 1)
    if not rest.startswith("/") or not rest.strip("/"):
        raise ModelError(f"{uri} names no model; write {_NAMES}")
    check_installed(f"{scheme}:/… is kept by")
    where = store_of(uri)
    import mlflow.artifacts

    with _silent(), said_by_mlflow(f"{uri}: MLflow at {where}"):
        files = [str(info.path).rpartition("/")[2] for info in mlflow.artifacts.list_artifacts(artifact_uri=uri)]
    if program not in files:
        raise ModelError(
            f"{uri} is no model of graphsweep: {_instead(uri, files)}; graphsweep.mlflow.log_model logs one"
        )
    scratch = Scratch(None)  # the next run removes what a killed one has left
    atexit.register(scratch.discard)
    with _silent(), said_by_mlflow(f"{uri}: MLflow at {where}"):
        found: str = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch.make())
    log.info("%s%s, from MLflow at %s", uri, _version(found), where)
    return found


def check_installed(who: str) -> None:
    """SettingError unless MLflow can be imported. `who`: what needs it, as the message begins."""
    if importlib.util.find_spec("mlflow") is None:
        raise SettingError(f"{who} {NEEDED}")


def store_of(what: str) -> str:
    """Where MLflow is, as it will be asked.

    SettingError if nobody said so: MLflow would make an empty database in the directory that one is in.
    """
    import mlflow

    with said_by_mlflow(f"{what}: MLflow"):
        uris = [mlflow.get_tracking_uri()]
        if what.startswith("models:"):
            uris.insert(0, mlflow.get_registry_uri())
    for uri in uris:
        file = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else None
        if file is not None and not os.path.exists(file):
            raise SettingError(
                f"{what}: MLflow is to be at {uri}, and there is no such file; set MLFLOW_TRACKING_URI to where it is "
                "(http://…, databricks, sqlite:///FILE)"
            )
    return _without_password(str(uris[0]))


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextmanager
def said_by_mlflow(what: str, kind: type[GraphsweepError] = ModelError) -> Iterator[None]:
    """What MLflow, or a library that it asks, cannot do is a refusal in one line, of this kind."""
    try:
        yield
    except GraphsweepError:
        raise
    except ImportError as error:  # of a database or an object store
        raise SettingError(f"{what}: needs the library {error.name}, which is not installed") from error
    except Exception as error:
        raise kind(f"{what} says: {_without_password(first_line(error)) or type(error).__name__}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without progress bars for two small files."""
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as BARS

    before = BARS.get_raw()
    BARS.set(False)
    try:
        yield
    finally:
        BARS.unset()
        if before is not None:
            BARS.set(before)


def _instead(uri: str, files: list[str]) -> str:
    """What a model is, if it is not ours."""
    if DESCRIPTION in files:
        flavours = sorted(_described(uri))
        return f"its flavours are {', '.join(flavours)[:MOST_LETTERS]}"
    return f"it holds {', '.join(sorted(files))[:MOST_LETTERS] or 'no files'}"


def _described(uri: str) -> dict[str, Any]:
    """The flavours of a model, by its description: text, of which nothing is run."""
    import mlflow.artifacts
    import yaml

    with _silent(), said_by_mlflow(f"{uri}: MLflow"):
        text = mlflow.artifacts.load_text(f"{uri.rstrip('/')}/{DESCRIPTION}")
        told = yaml.safe_load(text)
    flavours = told.get("flavors") if isinstance(told, dict) else None
    return flavours if isinstance(flavours, dict) else {}


def _version(directory: str) -> str:
    """Which one an alias was, for the log."""
    import yaml

    try:
        with open(os.path.join(directory, ORIGIN), encoding="utf-8") as file:
            return f" is version {yaml.safe_load(file)['model_version']}"
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""
