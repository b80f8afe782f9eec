"""verify of DataFrames: what is asked of Spark gives the rows, and so the words, that files give.

Which tests of tests/test_verify.py are played once more on a session: those that ask something else of Spark.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from pipeline.graph import Graph
from pipeline.verify import verify
from pipeline.verifying import run
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.semi_join import edge_rows, node_rows
from pipeline.verifying.sources import local_scores
from tests import test_verify as of_files
from tests.test_verify import Kept, model, scores, tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLAYED: dict[str, Callable[[Kept], None]] = {
    "features further than edges": lambda kept: of_files.test_right_scores_pass(kept, "gcn"),
    "siblings": lambda kept: of_files.test_right_scores_pass(kept, "both"),
    "undirected": lambda kept: of_files.test_undirected_edges_in_both_directions(kept, "both"),
    "text ids": of_files.test_text_ids_and_features_in_several_columns,
    "dangling edges": lambda kept: of_files.test_dangling_edges_are_dropped_if_the_graph_says_so(kept, "both"),
    "dangling edges, all nodes": of_files.test_dangling_edges_and_all_nodes,
    "all nodes, undirected": lambda kept: of_files.test_all_nodes_at_once(kept, "gcn", True),
    "too many edges": of_files.test_neighbourhoods_beyond_the_limit_are_left_out_and_told,
    "a wrong score": lambda kept: of_files.test_a_wrong_score_fails_and_is_named(kept, of_files.wrong_number),
    "a lost edge": lambda kept: of_files.test_a_lost_edge_fails(kept, "both"),
    "lost and repeated rows": of_files.test_lost_and_repeated_rows_fail,
    "one row for another": of_files.test_one_row_for_another_fails_whatever_the_sample,
    "an empty graph": lambda kept: of_files.test_an_empty_graph_passes(kept, 5),
    "an empty graph, all nodes": lambda kept: of_files.test_an_empty_graph_passes(kept, "all"),
    "other scores": of_files.test_scores_of_something_else_are_refused,
    "rows of edges": of_files.test_rows_of_edges,
}


@pytest.mark.parametrize("what", PLAYED)
def test_the_same_of_dataframes(spark: SparkSession, tmp_path: Path, what: str) -> None:
    PLAYED[what](Kept(tmp_path, spark))


def test_groups(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each collected for itself."""
    of_files.test_groups_give_the_same(Kept(tmp_path, spark), "against", 1, monkeypatch)


def test_the_whole_graph(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of both tables, where groups would be more."""
    kept, net = Kept(tmp_path, spark), model("both")
    monkeypatch.setattr(run, "GROUP_BYTES", 90 * run._bytes_per_edge(net.program))
    graph = kept.graph(*tables(), edge_features="weight")
    found = verify(graph, net, kept.scores(scores(net)), sample=of_files.NODES - 5)
    assert (found.covered, found.whole, found.passed) == (True, True, True), str(found)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("seed", [0, 7, -1, 2**40])
def test_the_sample_is_the_same_from_files(spark: SparkSession, tmp_path: Path, seed: int, text: bool) -> None:
    """Whatever the parts of a DataFrame."""
    given = scores(model("sage"), text=text)
    frame, files = spark.createDataFrame(given).repartition(3), local_scores(Kept(tmp_path).scores(given))
    both = [sample_rows(table, ["output"], text, 9, seed) for table in (frame, files)]
    assert both[0].to_pylist() == both[1].to_pylist()


@pytest.mark.parametrize(
    ("text", "undirected", "by_both_ends"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, False)],  # each pair of two of them
)
def test_semi_joins_give_the_same_rows(
    spark: SparkSession, tmp_path: Path, text: bool, undirected: bool, by_both_ends: bool
) -> None:
    """Keys and values of edges and nodes, with and without values; how many; and none."""
    nodes, edges = tables(text)
    options = {"edge_features": {"one": "weight", "two": ["weight", "double"]}, "undirected": undirected}
    options["features"] = {"x": "x", "some": ["x0", "x2"]}
    edges = edges.append_column("double", pa.array([weight / 3 for weight in edges["weight"].to_pylist()]))
    graphs: list[Graph] = [Kept(tmp_path, session).graph(nodes, edges, **options) for session in (spark, None)]
    wanted = [*edges["dst"].to_pylist()[:4], nodes["id"][0].as_py(), "unknown" if text else 12345678]
    ids = pa.array(wanted, nodes["id"].type)

    def plain(table: pa.Table) -> tuple[list[str], list[str]]:
        return table.column_names, sorted(map(repr, table.to_pylist()))

    for rows in ([edge_rows(graph, by_both_ends) for graph in graphs], [node_rows(graph) for graph in graphs]):
        for values in (True, False):
            one, other = (each.among(ids, values=values) for each in rows)
            assert plain(one) == plain(other)
            assert 0 < len(one) == len(other)
        one, other = (each.none() for each in rows)
        assert one.schema.names == other.schema.names
        assert len(one) == len(other) == 0
        assert plain(rows[0].counts(ids)) == plain(rows[1].counts(ids))
        assert [len(each.among(ids, limit=1)) for each in rows] == [1, 1]
