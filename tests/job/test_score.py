"""Jobs given by paths, in this process: what they refuse before they ask for a session, and when they ask for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from pipeline import Settings
from pipeline.errors import GraphsweepError
from pipeline.job.prepare import prepare_paths
from pipeline.job.raw_tables import RawTables, columns_for
from pipeline.job.score import score_paths
from pipeline.job.sessions import Sessions
from pipeline.job.verify import verify_paths
from pipeline.result.wish import Wish
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkAskedFor(Exception):
    """Instead of a session."""


def ask(small: bool, meanwhile: Callable[[], None] | None) -> AbstractContextManager[SparkSession]:
    raise SparkAskedFor(f"small: {small}")


ALONE = Sessions(lambda: True, ask)
WITH_SPARK = Sessions(lambda: False, ask)


def asked_too_early() -> bool:
    raise AssertionError("who refuses has no need to know whether there may be Spark")


@pytest.fixture
def at(tmp_path: Path, no_session: None) -> Path:
    """Raw tables and a model."""
    graph = whole("mixed")
    pq.write_table(graph.nodes(), tmp_path / "nodes.parquet")
    pq.write_table(graph.edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    return tmp_path


def raw(at: Path) -> RawTables:
    return RawTables(str(at / "nodes.parquet"), str(at / "edges.parquet"))


def test_a_graph_is_prepared_scored_and_verified_without_a_session(at: Path) -> None:
    graph, model, output = str(at / "graph"), str(at / "model"), str(at / "scores")
    made = prepare_paths(raw(at), graph, {"edge_features": ["weight"]}, Settings(blocks=3), ALONE)
    assert str(made).endswith(f" in 3 blocks; written to {graph}")
    again = prepare_paths(
        raw(at), graph, {"edge_features": ["weight"]}, Settings(blocks=3), ALONE, overwrite=False, if_same="skip"
    )
    assert str(again).endswith(f"; already there, in {graph}")
    wish = Wish(output, if_same="skip")
    scored = score_paths(graph, {}, model, wish, Settings(), ALONE)
    assert not scored.report.spark
    assert str(scored).startswith(f"scored   {len(whole('mixed').ids):,} nodes in ")
    assert str(scored).endswith(f"written  {output} (parquet)")
    assert str(score_paths(graph, {}, model, wish, Settings(), ALONE)).startswith("skipped  ")
    assert verify_paths(graph, {}, model, output, None, None, ALONE, sample="all").passed


def test_what_may_not_be_done_alone_asks_for_spark(at: Path) -> None:
    """Small tables: the JVM has little to do. And what this machine has prepared does not stay."""
    for sessions, settings in ((WITH_SPARK, Settings()), (ALONE, Settings(tier="distributed"))):
        with pytest.raises(SparkAskedFor, match="small: True"):
            score_paths(raw(at), {}, str(at / "model"), Wish(str(at / "scores")), settings, sessions)
    assert sorted(path.name for path in at.iterdir()) == ["edges.parquet", "model", "nodes.parquet"]
    with pytest.raises(SparkAskedFor, match="small: True"):
        prepare_paths(raw(at), str(at / "graph"), {}, Settings(), WITH_SPARK)
    graph = str(at / "graph")
    prepare_paths(raw(at), graph, {}, Settings(), ALONE)
    score_paths(graph, {}, str(at / "model"), Wish(str(at / "scores")), Settings(), ALONE)
    with pytest.raises(SparkAskedFor, match="small: False"):
        verify_paths(graph, {}, str(at / "model"), str(at / "scores"), None, None, WITH_SPARK)


def test_refusals_come_before_spark(at: Path) -> None:
    """Where Spark may not be needed, all of them; where paths may be elsewhere, those that need no path."""
    (at / "taken").mkdir()
    (at / "taken" / "of_somebody.txt").touch()
    model = str(at / "no_model")  # which would be the next to be refused
    for output, message in ((at / "taken", "taken: exists already; give another path"), (at, "holds")):
        with pytest.raises(GraphsweepError, match=message):
            score_paths(raw(at), {}, model, Wish(str(output)), Settings(), ALONE)
    for output in (at / "taken", at):
        with pytest.raises(GraphsweepError):
            prepare_paths(raw(at), str(output), {}, Settings(), Sessions(asked_too_early, ask))
    with pytest.raises(GraphsweepError, match="if_same is 'jump'; accepted: skip"):
        prepare_paths(raw(at), str(at / "graph"), {}, Settings(), Sessions(asked_too_early, ask), if_same="jump")
    with pytest.raises(GraphsweepError, match="--edges is empty; is a variable unset"):
        RawTables(str(at / "nodes.parquet"), " ")


def test_columns_are_those_that_the_model_reads() -> None:
    model = build("gcn_weighted")
    assert columns_for(model, {}) == {"features": {"x": "x"}, "edge_features": {"weight": "weight"}}
    given = {"features": ["a", "b"], "edge_features": ["w"], "id": "key"}
    assert columns_for(model, given) == {"features": {"x": ["a", "b"]}, "edge_features": ["w"], "id": "key"}
    assert columns_for(model, {"features": {"y": ["a"]}})["features"] == {"y": ["a"]}
    assert columns_for(model, {"edge_features": []})["edge_features"] == {"weight": "weight"}
