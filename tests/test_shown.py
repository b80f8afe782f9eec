"""Objects as a prompt and a notebook show them: one to ten readable lines, and a table without anything to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import Graph, Model, prepare, score, shown, verify
from tests import typed_tables
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")


def graph(**options: Any) -> Graph:
    return Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"], **options)


def typed() -> Graph:
    nodes, edges = typed_tables.tables()
    return Graph(nodes, edges, features=typed_tables.FEATURES, edge_features=typed_tables.EDGE_FEATURES)


def every(at: Path) -> dict[str, Any]:
    prepared = prepare(graph(), at / "graph", blocks=3)
    return {
        "graph": graph(undirected=True),
        "typed": typed(),
        "prepared": prepared,
        "prepared typed": prepare(typed(), at / "typed"),
        "model": build("gat"),
        "typed model": typed_tables.model(),
        "report": score(prepared, build("sage"), at / "scores"),
        "skipped": score(prepared, build("sage"), at / "scores", if_same="skip"),
        "verification": verify(graph(), build("sage"), at / "scores"),
    }


def test_everything_is_shown_in_few_lines_and_no_addresses(tmp_path: Path) -> None:
    for name, item in every(tmp_path).items():
        assert repr(item) == str(item), name
        lines = repr(item).splitlines()
        assert 1 <= len(lines) <= 10, (name, repr(item))
        assert all(0 < len(line) <= 500 for line in lines), name
        assert "object at 0x" not in repr(item), name


def test_what_is_said(tmp_path: Path) -> None:
    assert repr(graph(undirected=True)) == (
        "Graph of tables, not prepared\n"
        "  nodes       in memory; 200 rows, id: id; features: x\n"
        "  edges       in memory; 1,500 rows, src, dst: src, dst; features: weight, attr\n"
        "  undirected  each edge is there in both directions"
    )
    prepared = prepare(graph(), tmp_path / "graph", blocks=3)
    assert repr(prepared).splitlines()[:7] == [
        "PreparedGraph",
        f"  path         {tmp_path / 'graph'}",
        "  nodes        200",
        "  edges        1,500",
        "  columns      nodes.x (6), edges.weight (1), edges.attr (3)",
        "  ids          bigint",
        "  blocks       3",
    ]
    model = build("sage")
    assert str(model) == (
        "model from formula sage: reads nodes.x (6); gives output (4); 6 weights of 130 numbers\n"
        f"{len(model.program.values)} values; print(model.program) shows them"
    )


def test_notebooks_show_a_table_in_which_names_of_the_user_are_texts(tmp_path: Path) -> None:
    made = every(tmp_path)
    for name in ("graph", "typed", "prepared", "prepared typed", "model", "typed model", "report", "skipped"):
        page = made[name]._repr_html_()
        assert page.startswith("<div><b>"), name
        assert page.count("<tr>") == page.count("</tr>") >= 2, name
    hostile = Model(made["model"].program, made["model"].weights, origin="<script>alert(1)</script>")
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


def test_long_facts_are_cut_and_many_are_counted() -> None:
    assert shown.some(map(str, range(1006))) == "0, 1, 2, 3 and 1,002 more"
    assert shown.text("T", {"a": "x" * 300}) == f"T\n  a  {'x' * shown.LONGEST}…"
