"""Targets of a typed graph: some nodes of some types, with the bits of a run for all. Without Spark."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, explain, infer, prepare, score, verify
from pipeline.cli import app
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.places.marker import MARKER
from pipeline.prepared import PreparedGraph
from pipeline.schema import spelled
from tests.typed_tables import ACCOUNT, CARD, EDGE_FEATURES, FEATURES, GHOST, SHOP, model, tables

pytestmark = pytest.mark.usefixtures("no_session")

SOME = [-50, 6, 300]  # accounts, which are shops too
CARDS = pa.table({"card": ["card é 3", "card é 7", "card é 3"]})


@pytest.fixture(scope="module")
def raw() -> Graph:
    nodes, edges = tables(accounts=600, cards=23, shops=400)
    return Graph(nodes, edges, features=FEATURES, edge_features=EDGE_FEATURES)


@pytest.fixture(scope="module")
def prepared(raw: Graph, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(raw, tmp_path_factory.mktemp("typed") / "g", 3)


@pytest.fixture(scope="module")
def everything(prepared: PreparedGraph, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    output = tmp_path_factory.mktemp("all") / "o"
    score(prepared, model(), output)
    return {type: read(output, type) for type in (ACCOUNT, CARD, SHOP)}


def read(output: Path, type: str) -> pa.Table:
    return pq.read_table(output / spelled(type)).sort_by("id").combine_chunks()


def of(table: pa.Table, ids: Any) -> pa.Table:
    return table.filter(pc.is_in(table["id"], value_set=pa.array(ids))).combine_chunks()


def test_the_rows_of_the_targets_and_of_no_other_type(
    prepared: PreparedGraph, everything: dict[str, pa.Table], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="graphsweep")
    report = score(prepared, model(), tmp_path / "o", targets={ACCOUNT: SOME, CARD: CARDS})
    assert report.rows == 5
    assert {path.name for path in (tmp_path / "o").iterdir() if path.is_dir()} == {spelled(ACCOUNT), spelled(CARD)}
    assert read(tmp_path / "o", ACCOUNT).equals(of(everything[ACCOUNT], SOME))
    assert read(tmp_path / "o", CARD).equals(of(everything[CARD], ["card é 3", "card é 7"]))
    assert "targets: computed are superstep 0: all nodes; superstep 1: " in caplog.text
    last = caplog.text.partition("targets: computed are ")[2].splitlines()[0].rpartition("superstep ")[2]
    assert last.partition(": ")[2].startswith("5 nodes, "), "of the last superstep nothing else is computed"


@pytest.mark.parametrize("blocks", [1, 7])
def test_whatever_the_blocks_and_the_form(raw: Graph, everything: dict[str, pa.Table], blocks: int) -> None:
    found = infer(raw, model(), targets={SHOP: np.array([6, 13])}, settings={"blocks": blocks})
    assert [*found] == [SHOP]
    assert found[SHOP].sort_by("id").combine_chunks().equals(of(everything[SHOP], [6, 13]))


def test_each_type_of_a_lazy_result_has_its_own(prepared: PreparedGraph, everything: dict[str, pa.Table]) -> None:
    found = infer(prepared, model(), targets={ACCOUNT: SOME, SHOP: [6]})
    assert {type: table["id"].to_pylist() for type, table in found.items()} == {ACCOUNT: SOME, SHOP: [6]}
    assert found[ACCOUNT].combine_chunks().equals(of(everything[ACCOUNT], SOME))


def test_where_all_is_computed(prepared: PreparedGraph, everything: dict[str, pa.Table], tmp_path: Path) -> None:
    settings = {"work_dir": str(tmp_path / "w")}
    score(prepared, model(), tmp_path / "o", targets={ACCOUNT: SOME}, settings=settings)
    assert read(tmp_path / "o", ACCOUNT).equals(of(everything[ACCOUNT], SOME))
    both = everything[ACCOUNT]["id"].to_pylist()[:-1]
    score(prepared, model(), tmp_path / "p", targets={ACCOUNT: both})
    assert read(tmp_path / "p", ACCOUNT).equals(of(everything[ACCOUNT], both))


@pytest.mark.parametrize(
    ("targets", "error", "says"),
    [
        (SOME, SettingError, r"this graph has several types of nodes \(account, bank card/1, __shop__, …"),
        (SOME, SettingError, r"as in targets=\{'account': table\}, or --targets account=TABLE"),
        ({"acount": SOME}, SettingError, r"targets names 'acount', for which the model gives nothing"),
        ({GHOST: ["x"]}, SettingError, "targets names 'ghost', for which the model gives nothing"),
        ({}, DataError, "targets: there are no rows, so there is nothing to score"),
        ({ACCOUNT: []}, DataError, "type account: targets: there are no rows"),
        ({ACCOUNT: ["a"]}, DataError, "type account: targets: the ids are of type string, for example 'a', but those"),
        ({CARD: [7]}, DataError, "type bank card/1: targets: the ids are of type bigint, for example 7, but"),
        ({ACCOUNT: [-50, 5]}, DataError, "targets: 1 of 2 ids are not among the graph's nodes of type account"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    prepared: PreparedGraph, targets: Any, error: type[Exception], says: str, tmp_path: Path
) -> None:
    for run in (
        lambda: infer(prepared, model(), targets=targets),
        lambda: score(prepared, model(), tmp_path / "o", targets=targets),
    ):
        with pytest.raises(error, match=says):
            run()
    assert not [*tmp_path.iterdir()]


def test_types_are_those_of_the_targets(prepared: PreparedGraph, tmp_path: Path) -> None:
    score(prepared, model(), tmp_path / "o", targets={ACCOUNT: SOME}, types=[ACCOUNT])
    says = (
        "types names __shop__, and targets account: only nodes of the types of the targets are scored, so leave types"
    )
    with pytest.raises(SettingError, match=says):
        score(prepared, model(), tmp_path / "p", targets={ACCOUNT: SOME}, types=[SHOP])


def test_unknown_ones_are_left_out(prepared: PreparedGraph, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    targets = {ACCOUNT: [5], CARD: CARDS}
    report = score(prepared, model(), tmp_path / "o", targets=targets, ignore_unknown=True)
    assert report.rows == 2
    assert read(tmp_path / "o", ACCOUNT).num_rows == 0
    assert "1 of 1 ids are not among the graph's nodes of type account: 5; they are left out" in caplog.text
    with pytest.raises(DataError, match="targets: none of them is among the graph's nodes; there is nothing to score"):
        score(prepared, model(), tmp_path / "p", targets={ACCOUNT: [5], CARD: ["x"]}, ignore_unknown=True)


def test_the_marker_and_what_reads_it(prepared: PreparedGraph, raw: Graph, tmp_path: Path) -> None:
    def scored(targets: Any, **options: Any) -> Any:
        return score(prepared, model(), tmp_path / "o", targets=targets, if_same="skip", **options)

    scored({ACCOUNT: SOME, CARD: CARDS})
    assert scored({CARD: CARDS, ACCOUNT: SOME[::-1]}).skipped
    with pytest.raises(StorageError, match=r"is not the same \(the model, the targets\)"):
        scored({ACCOUNT: SOME})
    marker = json.loads((tmp_path / "o" / MARKER).read_text())
    assert marker["targets"]["rows"] == 5
    assert {type: each["rows"] for type, each in marker["targets"]["node_types"].items()} == {ACCOUNT: 3, CARD: 2}
    found = verify(raw, model(), tmp_path / "o", sample="all")
    assert found.passed, str(found)
    assert "all 3 ids: each is that of a node, and has one row; the other 597 nodes were no targets" in str(found)
    marker["targets"]["node_types"][CARD] = 7
    (tmp_path / "o" / MARKER).write_text(json.dumps(marker))
    with pytest.raises(StorageError, match="its marker is damaged: targets is "):
        verify(raw, model(), tmp_path / "o")


def test_explain(prepared: PreparedGraph) -> None:
    text = explain(prepared, model(), targets={ACCOUNT: SOME})
    assert "targets  3 of 1,023 nodes are wanted, expected: " in text


def test_on_the_command_line(prepared: PreparedGraph, everything: dict[str, pa.Table], tmp_path: Path) -> None:
    model().save(tmp_path / "m")
    pq.write_table(pa.table({"id": SOME}), tmp_path / "a=b.parquet")
    pq.write_table(CARDS, tmp_path / "cards.parquet")

    def run(command: str, *targets: str) -> Any:
        output = ["--output", str(tmp_path / "o"), "--overwrite"] if command == "infer" else []
        told = [word for each in targets for word in ("--targets", each)]
        return CliRunner().invoke(
            app, [command, "--graph", prepared.path, "--model", str(tmp_path / "m"), *output, *told, "--json"]
        )

    of_cards = f"{CARD}={tmp_path / 'cards.parquet'}"
    done = run("infer", f"{ACCOUNT}={tmp_path / 'a=b.parquet'}", of_cards)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 5
    assert read(tmp_path / "o", ACCOUNT).equals(of(everything[ACCOUNT], SOME))
    assert run("explain", of_cards).exit_code == 0
    for targets, says in (
        ([str(tmp_path / "a=b.parquet")], "this graph has several types of nodes"),
        ([of_cards, of_cards], "--targets names the type 'bank card/1' twice; give it one table"),
        ([of_cards, str(tmp_path / "a=b.parquet")], "TYPE=TABLE is expected, a type of nodes and the table of"),
        ([f"{ACCOUNT}="], "account=: TYPE=TABLE is expected"),
        ([f"{ACCOUNT}={tmp_path / 'none'}"], "none: no such file or directory"),
    ):  # fmt: skip
        done = run("infer", *targets)
        assert done.exit_code == 2, done.output
        assert says in json.loads(done.stdout)["message"], done.stdout
