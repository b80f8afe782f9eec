"""A result with a row per edge of some types of a typed graph: every way of running gives the same bits, and NumPy's
numbers in float64; verify passes them, and sees what is wrong with them.

The witness knows the tables as lists only. A row is found by the ids of its ends and by the edge's own columns.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, explain, infer, prepare, score, verify
from pipeline.errors import DataError, ModelError, SettingError
from pipeline.formula import concat, dot, linear, relu
from pipeline.planning import planned_for
from pipeline.prepared import PreparedGraph
from pipeline.result.by_type import giving
from pipeline.schema import EdgeType
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from pipeline.verifying.report import TypedVerification
from tests.bits import WAYS
from tests.stages import run_stages
from tests.typed_tables import (
    ACCOUNT,
    CARD,
    EDGE_FEATURES,
    FEATURES,
    OWNS,
    PAYS,
    SELLS,
    SHOP,
    tables,
)

pytestmark = pytest.mark.usefixtures("no_session")

NODES, EDGES = tables()
Triple = tuple[str, str, str]
TYPES: tuple[EdgeType, ...] = (PAYS, OWNS, SELLS)
OWN = {PAYS: "amount", SELLS: "price", OWNS: None}
"""Type → its column in the graph."""
SHAPES = {"h.weight": (4, 3), "out.weight": (2, 9), "card.weight": (4, 2)}


def triple(kind: EdgeType) -> Triple:
    return kind.source, kind.relation, kind.target


PAYS_KEY, OWNS_KEY, SELLS_KEY = map(triple, TYPES)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.uniform(-0.6, 0.6, shape).astype(np.float32) for name, shape in SHAPES.items()}


def formula(g: Any, x: Any, w: Any) -> Any:
    """Scores of payments from both ends and the payment itself; of who owns what, whose ids are numbers at one end and
    texts at the other; and of sales, of which no node is read."""
    pays, owns, sells = g[PAYS_KEY], g[OWNS_KEY], g[SELLS_KEY]
    h = relu(linear(x[ACCOUNT], w.h) + pays.sum(pays.src(linear(x[ACCOUNT], w.h)) * pays.edge("amount").reshape(1)))
    card = linear(x[CARD], w.card) + owns.mean(owns.src(h))
    amount = pays.edge("amount").reshape(1)
    return {
        PAYS_KEY: {"score": linear(concat([pays.src(h), pays.dst(h), amount]), w.out), "amounts": pays.edge("amount")},
        OWNS_KEY: dot(owns.src(h), owns.dst(card)),
        SELLS_KEY: sells.edge("price").reshape(1) * 2.0,
    }


def model() -> Model:
    nodes: Any = {ACCOUNT: {"x": 3}, CARD: {"x": 2}, SHOP: {}}
    edges: Any = {PAYS_KEY: {"amount": ()}, OWNS_KEY: {}, SELLS_KEY: {"price": ()}}
    return Model.from_formula(formula, weights(), {**nodes, **edges})


def numpys() -> dict[EdgeType, dict[tuple[Any, ...], list[dict[str, np.ndarray]]]]:
    """Type → (src, dst, own column) → the outputs of each edge of that key."""
    w = {name: array.astype(np.float64) for name, array in weights().items()}
    at = {kind: {id: row for row, id in enumerate(NODES[kind]["id"].to_pylist())} for kind in (ACCOUNT, CARD, SHOP)}
    ends = {
        kind: [
            np.array([at[end][id] for id in EDGES[kind][name].to_pylist()], int)
            for end, name in ((kind.source, "src"), (kind.target, "dst"))
        ]
        for kind in TYPES
    }
    x = np.array(NODES[ACCOUNT]["x"].to_pylist(), np.float64)
    held = np.stack([NODES[CARD][name].to_numpy().astype(np.float64) for name in ("limit", "used")], axis=1)
    amount, price = (EDGES[kind]["amount"].to_numpy().astype(np.float64) for kind in (PAYS, SELLS))
    one = x @ w["h.weight"].T
    total = np.zeros_like(one)
    src, dst = ends[PAYS]
    np.add.at(total, dst, one[src] * amount[:, None])
    h = np.maximum(one + total, 0)
    total, (owner, card) = np.zeros((len(held), 4)), ends[OWNS]
    np.add.at(total, card, h[owner])
    cards = held @ w["card.weight"].T + total / np.maximum(np.bincount(card, minlength=len(held)), 1)[:, None]
    values = {
        PAYS: {"score": np.concatenate([h[src], h[dst], amount[:, None]], 1) @ w["out.weight"].T, "amounts": amount},
        OWNS: {"output": (h[owner] * cards[card]).sum(1)},
        SELLS: {"output": 2 * price[:, None]},
    }
    found: dict[EdgeType, dict[tuple[Any, ...], list[dict[str, np.ndarray]]]] = {}
    for kind, outputs in values.items():
        own = EDGES[kind]["amount"].to_pylist() if OWN[kind] else [None] * len(EDGES[kind])
        keys = zip(EDGES[kind]["src"].to_pylist(), EDGES[kind]["dst"].to_pylist(), own, strict=True)
        found[kind] = {}
        for row, key in enumerate(keys):
            found[kind].setdefault(key, []).append({name: array[row] for name, array in outputs.items()})
    return found


EXACT = numpys()


def assert_numbers(kind: EdgeType, table: pa.Table) -> None:
    """A row for each edge of the table; edges that are the same in ends and column have the same numbers."""
    own = OWN[kind]
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["src"], row["dst"], row[own] if own else None), []).append(row)
    assert {key: len(each) for key, each in rows.items()} == {key: len(each) for key, each in EXACT[kind].items()}
    for key, each in EXACT[kind].items():
        for row in rows[key]:
            for name, exact in each[0].items():
                np.testing.assert_allclose(row[name], exact, rtol=2e-5, atol=2e-5)
    numbers: dict[tuple[Any, ...], list[int]] = {}
    for row in table.to_pylist():
        numbers.setdefault((row["src"], row["dst"]), []).append(row["parallel"])
    assert all(sorted(of) == list(range(len(of))) for of in numbers.values())


def bits(table: pa.Table) -> list[str]:
    """The rows, in an order of their own; text is enough: equal float32 numbers are written alike."""
    return sorted(map(repr, table.to_pylist()))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], PreparedGraph]:
    made: dict[int, PreparedGraph] = {}

    def of(blocks: int) -> PreparedGraph:
        if blocks not in made:
            raw = Graph(NODES, EDGES, features=FEATURES, edge_features=EDGE_FEATURES)
            made[blocks] = prepare(raw, tmp_path_factory.mktemp("graph") / "g", blocks)
        return made[blocks]

    return of


Graphs = Callable[[int], PreparedGraph]


WHOLE: dict[Triple, pa.Table] = {}


@pytest.fixture
def whole(graphs: Graphs, no_session: None) -> dict[Triple, pa.Table]:
    """The rows that three blocks give, computed once."""
    if not WHOLE:
        WHOLE.update(infer(graphs(3), model()))
    return WHOLE


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_the_numbers_of_numpy(graphs: Graphs, blocks: int) -> None:
    found = infer(graphs(blocks), model())
    assert [*found] == [PAYS_KEY, OWNS_KEY, SELLS_KEY]
    for kind in TYPES:
        assert_numbers(kind, found[triple(kind)])
    assert found[OWNS_KEY].schema.field("src").type == pa.int64()
    assert found[OWNS_KEY].schema.field("dst").type == pa.string()
    assert found[PAYS_KEY].column_names == ["src", "dst", "parallel", "amount", "score", "amounts"]


@pytest.mark.parametrize(("tier", "read"), WAYS)
def test_the_same_bits_in_every_tier(graphs: Graphs, whole: Any, tier: str, read: str) -> None:
    settings = Settings(tier=tier, read=read)
    for kind in TYPES:
        planned = planned_for(graphs(3), giving(model(), [kind]), settings, handshake(None))
        found = whole[triple(kind)]
        assert bits(run_stages(planned, settings).result.select(found.column_names)) == bits(found)


def test_all_types_are_written_in_one_run(graphs: Graphs, whole: Any, tmp_path: Path) -> None:
    report = score(graphs(3), model(), tmp_path / "o")
    assert (report.rows, report.facts["rows_of"]) == (620, "edges")
    marker = json.loads((tmp_path / "o" / "_graphsweep.json").read_text())
    assert {name: of["rows"] for name, of in marker["edge_types"].items()} == {
        str(PAYS): 400, str(OWNS): 70, str(SELLS): 150
    }  # fmt: skip
    for kind in TYPES:
        assert bits(pq.read_table(tmp_path / "o" / str(kind))) == bits(whole[triple(kind)])
    assert score(graphs(3), model(), tmp_path / "o", if_same="skip").skipped


@pytest.mark.parametrize("how", ["files", "spilled"])
def test_the_same_bits_through_files_and_from_a_spilling_run(
    graphs: Graphs, whole: Any, tmp_path: Path, how: str
) -> None:
    settings: Any = {"work_dir": str(tmp_path / "work")}
    if how == "spilled":
        settings = {"tier": "fused", "task_memory": "1m", "scratch": str(tmp_path / "spill")}
    score(graphs(3), model(), tmp_path / "o", settings=settings)
    for kind in TYPES:
        assert bits(pq.read_table(tmp_path / "o" / str(kind))) == bits(whole[triple(kind)])


def test_one_type_is_computed_alone(graphs: Graphs, tmp_path: Path) -> None:
    assert [*infer(graphs(3), model(), types=[OWNS_KEY])] == [OWNS_KEY]
    score(graphs(3), model(), tmp_path / "o", types=[str(SELLS)])
    assert sorted(path.name for path in (tmp_path / "o").iterdir() if path.is_dir()) == [str(SELLS)]
    with pytest.raises(ModelError, match="types names 'account__pay__account', for which the model gives nothing; did"):
        infer(graphs(3), model(), types=[("account", "pay", "account")])


def test_a_model_is_kept_and_named_classes_label_edges(graphs: Graphs, tmp_path: Path) -> None:
    named = Model(model().program, weights(), classes={PAYS_KEY: {"score": ["legit", "fraud"]}})
    named.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").fingerprint == named.fingerprint
    table = infer(graphs(3), tmp_path / "m", types=[PAYS_KEY], classify=True)[PAYS_KEY]
    want = [["legit", "fraud"][int(np.argmax(row))] for row in table["score"].to_pylist()]
    assert table["score_label"].to_pylist() == want
    assert table["predicted"].to_pylist() == [["legit", "fraud"].index(name) for name in want]


def test_explain_counts_the_ids_of_their_sources(graphs: Graphs) -> None:
    text = explain(graphs(3), giving(model(), [OWNS]))
    assert "ids     of the sources of edges × " in text
    assert f"outputs of edges {OWNS}.output = %" in text


def test_edges_against_their_direction_are_rows_of_the_edges(graphs: Graphs) -> None:
    """A reversed view of an edge type gives rows of the edges as they are."""

    def against(g: Any, x: Any) -> Any:
        return g[OWNS_KEY].reversed().src(x[CARD])

    nodes: Any = {ACCOUNT: {"x": 3}, CARD: {"x": 2}, OWNS_KEY: {}}
    table = infer(graphs(3), Model.from_formula(against, {}, nodes))[OWNS_KEY]
    held = {row["id"]: (row["limit"], row["used"]) for row in NODES[CARD].to_pylist()}
    assert [tuple(row) for row in table["output"].to_pylist()] == [held[id] for id in table["dst"].to_pylist()]


# ---- verify


@pytest.fixture(scope="module")
def right(graphs: Graphs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("scores") / "o"
    score(graphs(3), model(), at, classify=True)
    return at


@pytest.fixture
def scored(right: Path, tmp_path: Path) -> Path:
    """Scores that a test may change."""
    return Path(shutil.copytree(right, tmp_path / "o"))


def checked(scores: Any, **options: Any) -> TypedVerification:
    raw = Graph(NODES, EDGES, features=FEATURES, edge_features=EDGE_FEATURES)
    found = verify(raw, model(), scores, **options)
    assert isinstance(found, TypedVerification)
    return found


@pytest.mark.parametrize("sample", [10, "all"])
def test_right_scores_pass(right: Path, whole: Any, sample: int | str) -> None:
    for scores in (right, whole):
        found = checked(scores, sample=sample)
        assert found.passed, found
        assert [*found.types] == [str(kind) for kind in TYPES]
        assert [each.rows for each in found.types.values()] == [400, 70, 150]
    assert f"edges of type {OWNS}\nrecomputed " in str(found)
    compared = found.types[str(OWNS)].compared_edges
    assert compared == 70 if sample == "all" else 0 < compared < 70


def test_scores_without_arrays_pass(graphs: Graphs, tmp_path: Path) -> None:
    score(graphs(3), model(), tmp_path / "o", format="csv")
    head = (tmp_path / "o" / str(PAYS) / "part-00000.csv").read_text().splitlines()[0]
    assert head == '"src","dst","parallel","amount","score_0","score_1","amounts"'
    assert checked(tmp_path / "o", sample="all").passed


def put(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def a_number(rows: list[dict[str, Any]]) -> None:
    rows[0]["score"] = [rows[0]["score"][0] * (1 + 1e-4) + 1e-4, rows[0]["score"][1]]


def another_target(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["src"] != row["dst"])
    row["src"], row["dst"] = row["dst"], row["src"]


def another_column(rows: list[dict[str, Any]]) -> None:
    rows[1]["amount"] += 1


@pytest.mark.parametrize("fault", [a_number, another_target, another_column])
@pytest.mark.parametrize("sample", [1000, "all"])
def test_faults_are_seen(scored: Path, fault: Any, sample: int | str) -> None:
    put(min((scored / str(PAYS)).glob("*.parquet")), fault)
    found = checked(scored, sample=sample)
    assert [name for name, each in found.types.items() if not each.passed] == [str(PAYS)]
    assert str(found).endswith("all types: FAIL")


def test_scores_of_other_types() -> None:
    with pytest.raises(DataError, match="scores of type 'account__x__account', for which the model gives nothing"):
        checked({(ACCOUNT, "x", ACCOUNT): pa.table({"src": [1]})})
    with pytest.raises(DataError, match=r"an edge type is \('a', 'b'\); three texts that are not empty are expected"):
        checked({("a", "b"): pa.table({"src": [1]})})


# ---- what is refused


def test_targets_are_nodes(graphs: Graphs) -> None:
    with pytest.raises(SettingError, match="targets are ids of nodes, and the result of this model has a row per edge"):
        infer(graphs(3), model(), targets={ACCOUNT: [-50]})


def test_a_column_of_the_edges_called_as_one_of_the_result() -> None:
    edges = {PAYS: EDGES[PAYS].rename_columns(["src", "dst", "Output"])}

    def of_pays(g: Any, x: Any) -> Any:
        return g[PAYS_KEY].src(x[ACCOUNT])

    nodes: Any = {ACCOUNT: {"x": 3}, PAYS_KEY: {}}
    with pytest.raises(SettingError, match=f"the result of '{PAYS}' would have two columns 'output', which differs fr"):
        infer(
            Graph({ACCOUNT: NODES[ACCOUNT]}, edges, edge_features={PAYS: ["Output"]}),
            Model.from_formula(of_pays, {}, nodes),
        )
