"""explain --html: a drawing of the plan, its exchanges, what became of each rewrite; the same facts for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, prepare
from pipeline.formula import exp
from pipeline.lowering.rewritten import Rewritten
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.prepared import PreparedGraph
from pipeline.report import libraries
from pipeline.report.diagram import MOST, drawing
from tests import typed_tables
from tests.formulas import FORMULAS, build
from tests.report.pages import Page
from tests.whole import whole


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    build("sage").save(tmp_path / "model")
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "g", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli.app, ["explain", *command])
    assert done.exit_code == code, done.output
    return done


def told(*command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*command, "--json").stdout)
    return found


def test_the_page_and_its_facts(at: Path) -> None:
    plain = told("--graph", "g", "--model", "model")
    found = told("--graph", "g", "--model", "model", "--html", "plan.html")
    assert found.keys() - plain.keys() == {"html", "exchanges", "rewrites"}
    assert found["html"] == "plan.html"
    for step in plain["supersteps"]:
        here = [each for each in found["exchanges"] if each["after_superstep"] == step["number"]]
        sent = sum(each["bytes"] for each in here if each["kind"] in ("pull", "push"))
        kept = sum(each["bytes"] for each in here if each["kind"] == "keep")
        assert (sent, kept) == (step["shipped_bytes"], step["kept_bytes"])
    page = Page(at / "plan.html")
    page.assert_self_contained()
    boxes = [attributes for tag, attributes in page.elements if tag == "rect"]
    assert len(boxes) == len(plain["supersteps"]) == 3
    assert len([tag for tag, _ in page.elements if tag == "line"]) == len(found["exchanges"])
    for words in ("superstep 2", "200 nodes", "edges: sum", "reads x", "writes the outputs", "linear before sum"):
        assert words in page.text, words


def test_rewrites_that_were_taken_and_refused() -> None:
    def facts(name: str) -> dict[tuple[str, str], dict[str, Any]]:
        seen = Rewritten()
        plan = Plan.of(build(name), seen=seen)
        assert str(plan.program) == str(Plan.of(build(name)).program)  # who watches changes nothing
        return {(fact["rewrite"], fact["outcome"]): fact for fact in seen.facts}

    taken = facts("sage")["linear_before_sum", "taken"]
    assert (taken["times"], taken["why"]) == (1, "columns sent by a node: 12 before, 10 after")
    assert "matmul(sum(e * src(x)) + y, W) → sum(e * src(matmul(x, W)))" in taken["meaning"]
    outcomes = {outcome for name in FORMULAS for _, outcome in facts(name)}
    assert outcomes == {"always", "taken", "refused"}


def test_what_is_refused_says_what_it_would_have_cost() -> None:
    def both(g: Any, x: Any) -> Any:  # computed at the nodes, two values of three columns each would be sent
        return g.max(g.src(x) * 2.0) + g.max(exp(g.src(x)))

    seen = Rewritten()
    Plan.of(Model.from_formula(both, {}, {"nodes.x": 3}), seen=seen)
    (refused,) = [fact for fact in seen.facts if fact["outcome"] == "refused"]
    assert (refused["rewrite"], refused["why"]) == ("push_to_ends", "columns sent by a node: 3 before, 6 after")


def test_no_word_of_a_user_is_html(at: Path) -> None:
    evil = "<script>alert(1)</script>\"'&amp;"
    nodes = {evil: pa.table({"id": ["a", "b"], "x<b>": [1.0, 2.0]})}
    edges = {(evil, evil, evil): pa.table({"src": ["a"], "dst": ["b"]})}
    prepare(Graph(nodes, edges, features={evil: {"x": "x<b>"}}), at / "g<b>", 1)

    def formula(g: Any, x: Any) -> Any:
        (relation,) = g.values()
        return {evil: {"o<u>": relation.sum(relation.src(x[evil]))}}

    Model.from_formula(formula, {}, {evil: {"x": 1}, (evil, evil, evil): {}}).save(at / "m<s>")
    run("--graph", "g<b>", "--model", "m<s>", "--html", "p<a>.html")
    page = Page(at / "p<a>.html")
    page.assert_self_contained()
    assert not {"script", "b<", "u", "s", "a"} & {tag for tag, _ in page.elements}
    assert "o<u>" in page.text
    assert "<script>" in page.text


def test_a_graph_of_several_types(at: Path) -> None:
    nodes, edges = typed_tables.tables()
    graph = Graph(nodes, edges, features=typed_tables.FEATURES, edge_features=typed_tables.EDGE_FEATURES)
    prepare(graph, at / "typed", 2)
    typed_tables.model().save(at / "of-types")
    found = told("--graph", "typed", "--model", "of-types", "--html", "plan.html")
    assert {each["edges"] for each in found["exchanges"] if each["kind"] == "pull"} >= {str(typed_tables.SELLS)}
    Page(at / "plan.html").assert_self_contained()


def test_many_exchanges_are_not_all_drawn(at: Path) -> None:
    kinds = [("a", f"r{number}", "a") for number in range(MOST + 5)]
    one = pa.table({"id": [1, 2], "x": [1.0, 2.0]})
    edges = {kind: pa.table({"src": [1], "dst": [2]}) for kind in kinds}
    graph: PreparedGraph = prepare(Graph({"a": one}, edges, features={"a": ["x"]}), at / "many", 1)

    def formula(g: Any, x: Any) -> Any:
        return {"a": {"o": sum((r.max(r.src(x["a"])) for r in g.values()), start=x["a"])}}

    plan = Plan.of(Model.from_formula(formula, {}, {"a": {"x": 1}, **{kind: {} for kind in kinds}}))
    drawn = drawing(plan, Counts.of(graph.manifest), ["1 s"] * len(plan.steps))
    assert len(drawn["arrows"]) == MOST + 1
    assert re.fullmatch(r"and \d+ more: .*", drawn["arrows"][-1].label.words)
    assert all(box.y + box.height <= drawn["height"] for box in drawn["boxes"])


def test_one_superstep_sends_nothing(at: Path) -> None:
    build("no_edges").save(at / "alone")
    found = told("--graph", "g", "--model", "alone", "--html", "plan.html")
    assert found["exchanges"] == []
    assert "None: one superstep does everything." in Page(at / "plan.html").text


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("g/plan.html", "g/plan.html: the page lies in the prepared graph"),
        ("model/plan.html", "model/plan.html: the page lies in the model (model)"),
        (
            "mine.html",
            "mine.html: exists already, and is no page of graphsweep; give another path",
        ),
    ],
)
def test_a_page_that_cannot_be_is_refused(at: Path, html: str, message: str) -> None:
    (at / "mine.html").write_text("mine")
    assert message in run("--graph", "g", "--model", "model", "--html", html, code=2).stderr
    assert (at / "mine.html").read_text() == "mine"


def test_it_takes_jinja2_alone(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    said = run("--graph", "g", "--model", "model", "--html", "plan.html", code=2).stderr
    assert said == (
        "graphsweep: this page is made with Jinja2, and Jinja2 is not installed; install graphsweep[report], as in: "
        "pip install 'graphsweep[report]'. Nothing was started\n"
    )
    assert not (at / "plan.html").exists()
