"""What a handshake makes of the answers of tasks; tests/spark/test_executors.py has real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import StorageError
from pipeline.places import through_spark
from pipeline.spark import handshake as module
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.probe import look

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_local_session_is_asked_once_which_python_it_runs(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_trusted", set())
    asked = []
    witness = module._witness
    monkeypatch.setattr(module, "_witness", lambda question: asked.append(question) or witness(question))
    assert handshake(spark).local
    assert handshake(spark.newSession()).local, "of the same application"
    assert [question["places"] for question in asked] == [[]]


def test_nothing_is_asked_of_a_local_session_that_is_known(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.trust_workers(spark)
    monkeypatch.setattr(module, "_witness", lambda *_: pytest.fail("a job was run"))
    monkeypatch.setattr(module, "_ask", lambda *_: pytest.fail("a job was run"))
    for session, tasks in ((spark, 2), (None, None)):
        found = handshake(session, [Probe(f"{tmp_path}/x", made=True)])
        assert found.local
        assert tasks is None or found.tasks == tasks
        assert found.sees("/anything")
        assert found.writes("/anything")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ready", [[2], [1], [3, 2], [99] * module.MOST_ROUNDS])
def test_executors_that_join_are_waited_for_and_not_for_ever(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, ready: list[int]
) -> None:
    """`ready`: into how many tasks Spark would cut a job after each round, which is of two here. A list that is too
    short fails, so does one that is too long."""
    left = iter(ready)
    monkeypatch.setattr(module, "_partitions_now", lambda _: next(left))
    assert len(module._ask(spark, {"hash": "none of ours", "token": "x", "places": []})) == 2
    assert list(left) == []


def test_the_default_file_system_is_not_asked_for(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that does not answer."""
    monkeypatch.setattr(through_spark, "default_filesystem", lambda _: pytest.fail("looked up"))
    handshake(spark, [Probe("/x", made=True), Probe("file:///x"), Probe("wasbs://a/x")])


SHARED, OWN, GIVEN = "/net/out", "/own/out", "/net/table"
FOUND = Handshake(
    False, 2, 1, 1,
    blind={SHARED: (), "/net": (), OWN: ("a", "b"), "/own": ("a", "b"), GIVEN: ("c",)},
    barred={SHARED: (), "/net": (), OWN: ("a", "b", "c", "d"), "/own": ("a",)},
)  # fmt: skip


def test_what_is_in_a_directory_that_was_asked_about_is_seen_as_it_is() -> None:
    assert FOUND.sees(SHARED)
    assert FOUND.writes("/net/.out-123/part")
    assert not FOUND.sees("/own/x")
    assert not FOUND.sees(f"{GIVEN}/part"), "the nearest one decides"
    assert FOUND.writes("file:///net/x"), "a scheme of disks is none"
    assert not FOUND.sees("file:/net/../net//table")
    with pytest.raises(AssertionError, match="nobody was asked about /elsewhere"):
        FOUND.sees("/elsewhere")
    with pytest.raises(AssertionError, match="nobody was asked about /network"):
        FOUND.sees("/network")


def test_a_relative_path_is_what_was_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever of the two forms it comes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table").write_text("rows")
    places = [Probe("table"), Probe("out", made=True)]
    asked = [{"path": place.probed, "made": place.made} for place in places]
    seen = [{"seen": look(str(tmp_path / "table"))}, {"seen": None}]
    blind, barred = module._seen(places, asked, [answer("a", 1, 0, None, *seen)], "token")
    found = Handshake(False, 1, 1, 1, blind, barred)
    for table in ("table", f"{tmp_path}/table", f"file:{tmp_path}/table"):
        assert found.sees(table)
    for out in ("out", f"{tmp_path}/out", "./x"):
        assert not found.writes(out)
    with pytest.raises(StorageError, match=r"^out: the tasks on host a do not share its directory"):
        found.require_written("out", "")


def test_what_is_said_of_what_is_not_shared() -> None:
    FOUND.require_seen(SHARED, "")
    FOUND.require_written(SHARED, "")
    with pytest.raises(StorageError) as caught:
        FOUND.require_seen(GIVEN, "do something")
    assert str(caught.value) == "/net/table: the tasks on host c do not see what is here; do something"
    with pytest.raises(StorageError) as caught:
        FOUND.require_written(OWN, "do something")
    assert str(caught.value) == (
        "/own/out: the tasks on hosts a, b, c, … do not share its directory with this process, or may not write there; "
        "do something"
    )


def answer(host: str, pid: int, shared: int = 0, own: int | None = None, *seen: dict[str, Any]) -> dict[str, Any]:
    return {"host": host, "pid": pid, "memory": [shared, own], "seen": list(seen)}


def test_a_worker_that_takes_two_tasks_counts_once() -> None:
    assert module._at_once([answer("a", 1), answer("a", 1), answer("a", 2), answer("b", 1)]) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("given", "answers", "memory"),
    [
        (100, [answer("a", 1, 1000)], 100),
        (1000, [answer("a", 1, 1000)], 600),
        (1000, [answer("a", 1, 1000), answer("a", 2, 1000), answer("b", 1, 9000)], 300),
        (1000, [answer("a", 1, 1000), answer("b", 1, 500)], 300),
        (1000, [answer("a", 1, 9000, 70), answer("b", 1, 9000)], 70),
        (None, [answer("a", 1, 9000)], 5400),
    ],
)
def test_memory_is_what_the_worst_task_has(given: int | None, answers: list[dict[str, Any]], memory: int) -> None:
    assert module._memory(given, answers) == memory


def test_every_task_has_to_see_a_place(tmp_path: Path) -> None:
    """Answers made by hand: b has another table, and c a disk of its own."""
    (tmp_path / "table").write_text("rows")
    places = [Probe(f"{tmp_path}/table"), Probe(f"{tmp_path}/out", made=True)]
    asked = [{"path": place.probed, "made": place.made} for place in places]
    (tmp_path / "left").write_text("token")
    same = {"seen": look(f"{tmp_path}/table")}
    wrote, lost = {"seen": "token", "left": "left"}, {"seen": "token", "left": "elsewhere"}
    answers = [
        answer("a", 1, 0, None, same, wrote),
        answer("b", 1, 0, None, {"seen": "other"}, lost),
        answer("c", 1, 0, None, {"seen": None}, {"seen": None}),
    ]
    table, out = (place.path for place in places)
    blind, barred = module._seen(places, asked, answers, "token")
    assert blind == {table: ("b", "c"), out: ("c",), str(tmp_path): ("c",)}
    assert barred == {out: ("b", "c"), str(tmp_path): ("b", "c")}
    (tmp_path / "table").unlink()
    blind, _ = module._seen(places, asked, answers, "token")
    assert blind[table] == ("a", "b", "c"), "what is not here is not the same anywhere"
