"""Far more blocks than a graph is worth: refused before work starts, or warned of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import Graph, prepare
from pipeline.errors import SettingError
from tests.whole import whole


@pytest.mark.parametrize(("blocks", "most"), [(257, 256), (100_000, 256)])
def test_more_blocks_than_are_worth_it_are_refused_and_nothing_is_left(
    tmp_path: Path, blocks: int, most: int, no_session: None
) -> None:
    nodes, edges = whole("mixed").nodes(), whole("mixed").edges()
    with pytest.raises(SettingError) as caught:
        prepare(Graph(nodes, edges), tmp_path / "g", blocks=blocks)
    assert str(caught.value) == (
        f"blocks is {blocks:,}, and the graph has 200 nodes: each block is a task and two files, and at most {most} "
        "are worth it here; 1 is what its size asks for, and is chosen without blocks"
    )
    assert list(tmp_path.iterdir()) == []


def test_many_blocks_of_a_larger_graph_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, no_session: None
) -> None:
    ids = pa.array(range(64 * 300))
    graph = Graph(pa.table({"id": ids, "x": ids.cast(pa.float32())}), pa.table({"src": ids[:9], "dst": ids[1:10]}))
    assert prepare(graph, tmp_path / "g", blocks=260).blocks == 260
    assert "blocks is 260, where the size of the graph asks for 1: each is a task and two files" in caplog.text
