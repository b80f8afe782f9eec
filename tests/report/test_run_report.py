"""--report: one page that asks for nothing from anywhere, whose facts are those of --json, whatever the run was."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer, prepare, score, verify
from pipeline.errors import GraphsweepError, SettingError
from pipeline.formula import exp, lane_sum, log
from pipeline.places.place import Place
from pipeline.report import libraries
from pipeline.report.run_report import KEYS
from pipeline.report.score_facts import score_facts
from tests import typed_tables
from tests.formulas import build
from tests.report.pages import Page
from tests.run.test_edge_rows import model_of as edge_model
from tests.whole import whole


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "g", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli.app, list(command))
    assert done.exit_code == code, done.output
    return done


def told(*command: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*command, "--json", code=code).stdout)
    return found


def everything(at: Path) -> set[str]:
    return {str(path.relative_to(at)) for path in at.rglob("*") if not path.name.startswith(".")}


def scored(at: Path, formula: Any, x: npt.NDArray[np.float32], ids: Any = None, **options: Any) -> dict[str, Any]:
    """The facts of a page about a formula of the features alone."""
    nodes = pa.table({"id": np.arange(len(x)) if ids is None else ids, "x": pa.array(list(x), pa.list_(pa.float32()))})
    edges = pa.table({"src": nodes["id"].slice(0, 0), "dst": nodes["id"].slice(0, 0)})
    model = Model.from_formula(formula, {}, {"nodes.x": x.shape[1]})
    graph = prepare(Graph(nodes, edges), at / f"graph-{len(x)}-{x.shape[1]}", options.pop("blocks", 2))
    model.save(at / "own", overwrite=(at / "own").exists())
    more = [text for name, value in options.items() for text in (f"--{name}", value)]
    return told(
        "infer", "--graph", graph.path, "--model", "own", "--output", "own-scores", "--report", "own.html", *more
    )


# ---- what it says


def test_a_run_and_its_facts(at: Path) -> None:
    found = told("infer", "--graph", "g", "--model", "model", "--output", "o", "--classify", "--report", "run.html")
    facts = found["report"]
    assert facts.keys() == set(KEYS)
    assert (facts["path"], facts["graph_path"], facts["model_path"]) == ("run.html", "g", "model")
    explained = told("explain", "--graph", "g", "--model", "model")
    for part in ("graph", "model", "forecast"):
        of_part = facts[part].keys() - {"reason"}  # which says how much memory is free
        assert {key: facts[part][key] for key in of_part} == {key: explained[key] for key in of_part}
    assert sum(facts["blocks"]["edges"]) == 1500
    assert facts["versions"]["python"]
    assert facts["settings"]["wire"] == "float32"
    page = Page(at / "run.html")
    page.assert_self_contained()
    for words in (
        "200 nodes scored", "1,500 edges", found["run"], facts["graph"]["fingerprint"], facts["model"]["model"],
        "200 rows of 5 columns of numbers. No number is NaN or infinite.", "output[3]", "3 blocks; the heaviest has",
        "the predicted class", "graphsweep verify --graph g --model model --output o",
    ):  # fmt: skip
        assert words in page.text, words
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 1 + 1 + 5 + 1 + 1  # supersteps, classes, columns, blocks, degrees
    assert all(image["alt"] for image in images)


def test_degrees_and_numbers_are_those_of_the_tables(at: Path) -> None:
    facts = told("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "run.html")["report"]
    graph = whole("mixed")
    degrees = np.bincount(graph.dst, minlength=len(graph.ids))
    (of,) = facts["degrees"]["edge_types"].values()
    assert (of["nodes_read"], of["edges_read"], of["largest"]) == (200, 1500, degrees.max())
    expected = [int(((degrees >= bar["from"]) & (degrees <= bar["to"])).sum()) for bar in of["bars"]]
    assert [bar["nodes"] for bar in of["bars"]] == expected
    assert sum(expected) == 200
    values = np.stack(pq.read_table(at / "o")["output"].to_pylist()).astype(np.float32)
    table = facts["scores"]["tables"]["node"]
    assert [of["counts"] for of in table["classes"]] == [np.bincount(values.argmax(axis=1), minlength=4).tolist()]
    for lane, column in enumerate(table["distributions"]):
        assert (column["least"], column["largest"]) == (values[:, lane].min(), values[:, lane].max())
        assert column["mean"] == pytest.approx(values[:, lane].astype(np.float64).mean())
        assert sum(column["bars"]["counts"]) + column["bars"]["below"] + column["bars"]["above"] == 200


def test_the_same_result_has_the_same_page(at: Path) -> None:
    def page(name: str) -> list[str]:
        run("infer", "--graph", "g", "--model", "model", "--output", name, "--report", f"{name}.html")
        return re.findall(r'src="data:[^"]*"', (at / f"{name}.html").read_text())[1:]  # the first is of seconds

    assert page("one") == page("two")


def test_csv_scores_have_the_same_facts(at: Path) -> None:
    def tables(format: str) -> Any:
        command = ["infer", "--graph", "g", "--model", "model", "--output", format, "--format", format, "--classify"]
        return told(*command, "--report", f"{format}.html")["report"]["scores"]["tables"]

    assert tables("csv") == tables("parquet")


def test_the_column_of_ids_is_no_column_of_numbers(at: Path) -> None:
    nodes = whole("mixed").nodes().rename_columns(["number", "x"])
    prepare(Graph(nodes, whole("mixed").edges(), id="number"), at / "other", 2)
    command = ["infer", "--graph", "other", "--model", "model", "--output", "o", "--report", "run.html"]
    table = told(*command)["report"]["scores"]["tables"]["node"]
    assert (table["rows"], table["columns"]) == (200, 4)
    assert [column["name"] for column in table["distributions"]] == [f"output[{lane}]" for lane in range(4)]


def test_without_numbers_to_draw(at: Path) -> None:
    x = np.array([[-1, 1], [np.e, 1], [1, 200], [1, 1]], np.float32)
    facts = scored(at, lambda g, x: {"logits": log(x), "huge": exp(x)}, x)["report"]["scores"]["tables"]["node"]
    assert (facts["nan"], facts["infinite"], facts["columns"]) == (1, 1, 4)
    (of,) = facts["classes"]
    assert of == {"output": "logits", "names": None, "asked_for": False, "counts": [2, 1], "rows_with_nan": 1}
    page = Page(at / "own.html")
    page.assert_self_contained()
    for words in (
        "2 numbers are NaN or infinite",
        "1 numbers are NaN, 1 infinite.",
        "1 row holds NaN, and is left out.",
    ):
        assert words in page.text


def test_nothing_but_nan(at: Path) -> None:
    facts = scored(at, lambda g, x: log(x), -np.ones((5, 3), np.float32))["report"]["scores"]["tables"]["node"]
    assert (facts["nan"], facts["distributions"][0]["bars"], facts["distributions"][0]["mean"]) == (15, None, None)
    assert Page(at / "own.html").text.count("no finite number") == 3


def test_a_thousand_columns_are_not_all_drawn(at: Path) -> None:
    x = np.random.default_rng(0).standard_normal((300, 1001)).astype(np.float32)
    x[7, 1000] = -1e-3
    facts = scored(at, lambda g, x: log(x * x - 1e-6), x)["report"]["scores"]["tables"]["node"]
    squares = x * x - np.float32(1e-6)
    assert (facts["columns"], facts["columns_shown"], len(facts["distributions"])) == (1001, 24, 24)
    assert facts["nan"] == int((squares < 0).sum()) > 0
    assert facts["classes"] == []
    page = Page(at / "own.html")
    assert "The first 24 of 1,001 columns are shown; NaN and infinite numbers are counted in all." in page.text
    assert len(page.html) < 1_000_000


def test_a_number_for_each_node(at: Path) -> None:
    facts = scored(at, lambda g, x: lane_sum(x), np.full((1, 1), 2.5, np.float32))["report"]["scores"]["tables"]["node"]
    (column,) = facts["distributions"]
    assert (column["name"], column["least"], column["median"], column["largest"]) == ("output", 2.5, 2.5, 2.5)


def test_a_graph_of_several_types(at: Path) -> None:
    nodes, edges = typed_tables.tables()
    graph = Graph(nodes, edges, features=typed_tables.FEATURES, edge_features=typed_tables.EDGE_FEATURES)
    prepare(graph, at / "typed", 2)
    typed_tables.model().save(at / "of-types")
    found = told("infer", "--graph", "typed", "--model", "of-types", "--output", "o", "--report", "run.html")
    assert found["report"]["scores"]["tables"].keys() == {typed_tables.ACCOUNT, typed_tables.CARD, typed_tables.SHOP}
    for type, of in found["report"]["scores"]["tables"].items():
        assert of["rows"] == of["rows_read"] == len(nodes[type])
    page = Page(at / "run.html")
    page.assert_self_contained()
    headings = re.findall(r"<h3>(.*?)</h3>", page.html)
    assert {typed_tables.ACCOUNT, typed_tables.CARD, typed_tables.SHOP} <= set(headings)


def test_targets(at: Path) -> None:
    pq.write_table(whole("mixed").nodes().select(["id"]).slice(0, 7), at / "some.parquet")
    command = ["infer", "--graph", "g", "--model", "model", "--output", "o", "--targets", "some.parquet"]
    found = told(*command, "--report", "run.html")
    assert found["report"]["targets"] == found["report"]["scores"]["tables"]["node"]["rows"] == 7
    assert "Of some nodes 7 are wanted" in Page(at / "run.html").text


def test_raw_tables_prepare_and_verify(at: Path) -> None:
    raw = ["--nodes", "nodes.parquet", "--edges", "edges.parquet"]
    found = told("infer", *raw, "--model", "model", "--output", "o", "--report", "run.html")
    assert found["report"]["tables"] == {"nodes": "nodes.parquet", "edges": "edges.parquet"}
    assert found["report"]["degrees"]["blocks_read"] == found["report"]["graph"]["blocks"]
    verify = "graphsweep verify --nodes nodes.parquet --edges edges.parquet --model model --output"
    assert verify in Page(at / "run.html").text, "there is no prepared graph to be named"
    made = told("prepare", *raw, "--output", "made", "--report", "made.html")
    assert made["report"]["graph"] == {key: made[key] for key in made["report"]["graph"]}
    page = Page(at / "made.html")
    page.assert_self_contained()
    assert "200 nodes" in page.text
    good = told("verify", "--graph", "made", "--model", "model", "--output", "o", "--report", "good.html")
    assert good["report"]["scores_path"] == "o"
    assert "PASS: the scores are those of the model" in Page(at / "good.html").text
    pq.write_table(pq.read_table(at / "o").slice(1), at / "fewer.parquet")
    bad = ["verify", "--graph", "made", "--model", "model", "--output", "fewer.parquet", "--report", "bad.html"]
    told(*bad, code=3)
    page = Page(at / "bad.html")
    page.assert_self_contained()
    assert "FAIL: the scores are not those of the model" in page.text
    assert "missing ids 1" in page.text


def test_in_python(at: Path) -> None:
    score("g", "model", at / "o", report=at / "run.html")
    page = Page(at / "run.html")
    page.assert_self_contained()
    assert "200 nodes scored" in page.text


# ---- what it must never do


def test_no_word_of_a_user_is_html(at: Path) -> None:
    evil = "<script>alert(1)</script>\"'&amp;{{ f }}"
    nodes = {evil: pa.table({"id": [evil, "b"], "x": [[1.0], [2.0]]}), "b<i>": pa.table({"id": ["c"], "x": [[1.0]]})}
    edges = {(evil, evil, "b<i>"): pa.table({"src": [evil], "dst": ["c"]})}
    graph = prepare(Graph(nodes, edges, features={evil: "x", "b<i>": "x"}), at / "g<b>", 1)

    def formula(g: Any, x: Mapping[str, Any]) -> Any:
        (relation,) = g.values()
        return {evil: {"o<u>": x[evil]}, "b<i>": {"p&p": relation.sum(relation.src(x[evil]))}}

    Model.from_formula(formula, {}, {evil: {"x": 1}, "b<i>": {"x": 1}, (evil, evil, "b<i>"): {}}).save(at / "m<s>")
    found = told(
        "infer", "--graph", graph.path, "--model", "m<s>", "--output", "o'<img src=x>", "--report", "p<a>.html"
    )
    page = Page(at / "p<a>.html")
    page.assert_self_contained()
    tags = {tag for tag, _ in page.elements}
    assert not {"script", "i", "u", "s", "a"} & tags
    assert not [attributes for tag, attributes in page.elements if tag == "img" and attributes["src"] == "x"]
    for words in (evil, "o<u>[0]", "p&p[0]", "m<s>", "o'<img src=x>"):
        assert " ".join(words.split()) in page.text, words
    assert found["report"]["path"] == "p<a>.html"


def test_without_its_libraries_nothing_is_started(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "jinja2" else object())
    before = everything(at)
    done = run("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "run.html", code=2)
    assert done.stderr.splitlines()[-1] == (
        "graphsweep: a report is made with Jinja2 and matplotlib, and Jinja2 is not installed; install "
        "graphsweep[report], as in: pip install 'graphsweep[report]'. Nothing was started"
    )
    assert everything(at) == before
    with pytest.raises(SettingError, match=r"graphsweep\[report\]"):
        score("g", "model", at / "o", report=at / "run.html")
    assert everything(at) == before


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("o/run.html", "the report lies in the output (o)"),
        ("o", "the report lies in the output (o)"),
        ("g/run.html", "the report lies in the prepared graph"),
        ("model/run.html", "the report lies in the model (model)"),
        ("w/run.html", "the report lies in the work directory (w)"),
        ("nodes.parquet", "is a file; a report is a file whose name ends in .html, or goes into a folder"),
        ("mine.html", "exists already, and is no report of graphsweep"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_work(at: Path, report: str, message: str) -> None:
    (at / "mine.html").write_text("mine")
    before = everything(at)
    command = ["infer", "--graph", "g", "--model", "model", "--output", "o", "--work-dir", "w", "--report", report]
    assert message in run(*command, code=2).stderr
    assert everything(at) == before
    with pytest.raises((SettingError, OSError), match=re.escape(message)):
        score("g", "model", "o", settings={"work_dir": "w"}, report=report)
    assert everything(at) == before


def test_a_run_that_fails_leaves_no_page(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["pipeline.computing"], "run_in_process", fail)
    before = everything(at)
    run("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "new/run.html", code=130)
    assert everything(at) == before


def test_a_repeated_run_keeps_the_page_of_the_first(at: Path) -> None:
    command = [
        "infer",
        "--graph",
        "g",
        "--model",
        "model",
        "--output",
        "o",
        "--if-same",
        "skip",
        "--report",
        "run.html",
    ]
    first = told(*command)
    page = (at / "run.html").read_text()
    again = told(*command)
    assert (again["skipped"], again["run"]) == (True, first["run"])
    assert again["report"]["scores"] == first["report"]["scores"]
    assert (at / "run.html").read_text() == page
    told(*command[:-1], "other.html")
    other = Page(at / "other.html")
    other.assert_self_contained()
    assert "already there" in other.text
    assert first["run"] in other.text


def test_scores_that_this_machine_cannot_read(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.report.score_facts.opened", lambda place: None)
    found = told("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "run.html")
    assert found["report"]["scores"] == {"not_available": "the scores are where Spark alone reaches", "tables": {}}
    assert "Not available: the scores are where Spark alone reaches" in Page(at / "run.html").text


def test_a_disk_that_fills_up_is_told_and_the_scores_stay(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(path: str, *mode: str, **options: Any) -> Any:
        tried.append(path)
        if len(tried) > 1:  # the first only tries whether the place can be written
            raise OSError(28, "No space left on device")
        return open(path, *mode, **options)

    monkeypatch.setattr("pipeline.report.page_file.open", full, raising=False)
    done = run("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "run.html", code=2)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("graphsweep: run.html: cannot be written: No space left on device (")
    assert said.endswith(" are free in " + str(at) + "). The scores are whole and in place; only the report is missing")
    assert len(pq.read_table(at / "o")) == 200


def test_a_large_result_is_read_in_part(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.report.score_facts.MOST_NUMBERS", 300)
    monkeypatch.setattr("pipeline.report.graph_facts.MOST_EDGES", 600)
    facts = told("infer", "--graph", "g", "--model", "model", "--output", "o", "--report", "run.html")["report"]
    table = facts["scores"]["tables"]["node"]
    assert 0 < table["rows_read"] < table["rows"] == 200
    assert (facts["degrees"]["blocks_read"], facts["blocks"]["count"]) == (1, 3)
    page = Page(at / "run.html")
    assert f"what follows is of {table['rows_read']} rows, in some of the files" in page.text
    assert "(of 1 of 3 blocks)" in page.text


def test_scores_of_edges_have_no_distribution_of_ids(tmp_path: Path) -> None:
    table = whole("loops only")  # ids of text
    graph = prepare(Graph(table.nodes(), table.edges(), edge_features=["weight", "attr"]), tmp_path / "g", 3)
    score(graph, edge_model("classified"), tmp_path / "o", classify=True)
    (facts,) = score_facts(Place.of(str(tmp_path / "o")))["tables"].values()
    assert facts["rows"] == 3
    assert [each["name"] for each in facts["distributions"]] == ["output[0]", "output[1]", "probability"]


# ---- from Python


def test_prepare_and_verify_from_python_leave_the_page_of_the_command(at: Path) -> None:
    """The same facts as of the command, but for times; of tables in memory no paths."""
    nodes, edges = whole("mixed").nodes(), whole("mixed").edges()
    raw = ["--nodes", "nodes.parquet", "--edges", "edges.parquet"]
    options = ["--edge-features", "weight,attr", "--blocks", "3"]
    command = told("prepare", *raw, *options, "--output", "by-command", "--report", "command.html")["report"]
    graph = Graph("nodes.parquet", "edges.parquet", edge_features=["weight", "attr"])
    made = prepare(graph, "by-python", 3, report="python.html")
    page = Page(at / "python.html")
    page.assert_self_contained()
    for words in ("A graph is prepared", "200 nodes", "1,500 edges", made.fingerprint, "by-python"):
        assert words in page.text, words
    assert Page(at / "command.html").text.count("nodes.parquet") == page.text.count("nodes.parquet") > 0
    assert command["tables"] == {"nodes": "nodes.parquet", "edges": "edges.parquet"}
    again = prepare(graph, "by-python", 3, if_same="skip", report="pages")
    assert again.fingerprint == made.fingerprint
    (left,) = (at / "pages").glob("prepare-*.html")
    assert "Was it there already" in Page(left).text

    score("by-python", "model", "o")
    found = verify("by-python", "model", "o", report="verify.html")
    page = Page(at / "verify.html")
    page.assert_self_contained()
    assert found.passed
    for words in ("PASS", "Nodes compared 100", "Scores o", "Graph by-python", "Model model"):
        assert words in page.text, words
    in_memory = Graph(nodes, edges, edge_features=["weight", "attr"])
    model = build("sage")
    wrong = infer(in_memory, model).to_pandas()
    wrong["output"] = wrong["output"].map(lambda row: row + 1)
    assert not verify(in_memory, model, wrong, report="wrong.html").passed
    text = Page(at / "wrong.html").text
    assert "FAIL" in text
    assert "Scores –" in text


@pytest.mark.parametrize("report", ["nodes.parquet", "g2/r.html", "model/page.html", "o/r.html"])
def test_a_page_that_may_not_be_written_is_refused_before_work(at: Path, report: str) -> None:
    graph = Graph("nodes.parquet", "edges.parquet")
    prepare(graph, "g2")
    score("g2", "model", "o")
    before = everything(at)
    with pytest.raises(GraphsweepError):
        verify("g2", "model", "o", report=report)
    if report == "nodes.parquet":
        with pytest.raises(GraphsweepError):
            prepare(graph, "other", report=report)
    with pytest.raises(SettingError, match="the output"):
        prepare(graph, "other", report="other/r.html")
    assert everything(at) == before
