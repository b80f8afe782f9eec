"""Prepared graphs for tests of work directories, on disks and in object stores, other files here have their own; and
chunks for tests of runs that are cut down to some nodes."""

from __future__ import annotations

import pytest

from pipeline.prepared import PreparedGraph
from pipeline.run import branch, needed, node_values, picked
from tests.run.test_tiers import prepared_graph

CHUNK = 8
"""In place of 4,096 rows: blocks of these graphs have some hundred, or 60 nodes of a type."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepared_graph("mixed", tmp_path_factory.mktemp("mixed"), reverse=True)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """In which edges are pushed."""
    return prepared_graph("skewed", tmp_path_factory.mktemp("skewed"), reverse=True)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that small graphs have many of, and supersteps that are cut down however much of them is needed."""
    for module in (node_values, branch, picked):
        monkeypatch.setattr(module, "ROW_CHUNK", CHUNK)
    monkeypatch.setattr(needed, "MOST_NODES", 1.0)
    monkeypatch.setattr(needed, "MOST_EDGES", 1.0)
