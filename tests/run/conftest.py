"""Prepared graphs for tests of work directories, on disks and in object stores; other files here have their own."""

from __future__ import annotations

import pytest

from pipeline.prepared import PreparedGraph
from tests.run.test_tiers import prepared_graph


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepared_graph("mixed", tmp_path_factory.mktemp("mixed"), reverse=True)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """In which edges are pushed."""
    return prepared_graph("skewed", tmp_path_factory.mktemp("skewed"), reverse=True)
