"""A real MLflow, which keeps its runs and its registry in a folder."""

from __future__ import annotations

import pytest


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Where MLflow is: a new store for each test. Files, because a database takes 12 s to be made."""
    where = (tmp_path / "store").as_uri()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")  # there need not be a git
    return where
