"""Where the tasks of a session run, whether they are as this process is, and what they see: asked of the tasks
themselves, by one small job, before any work.

Comes in: a session, and the places that tasks are going to read or to make. Goes out: a `Handshake`, which does not
change and is handed on, so that a run asks once:

    shake = handshake(spark, [Probe(tables), Probe(graph, made=True)])
    shake.local                        tasks run on this machine, for certain; nothing was asked
    shake.tasks                        tasks that run at once
    shake.task_memory                  bytes that one of them may use
    shake.task_cores                   cores of one of them
    shake.sees(path)                   every task sees there what this process sees
    shake.writes(path)                 and can make it, so that this process sees it
    shake.require_seen(path, ...)      StorageError unless it is so, which names the machines
    shake.require_written(path, ...)   the same

Machines that have another graphsweep, another Python, or lack a library, are an error here. A session that is certainly
local is asked once which Python its workers run, and nothing else: its tasks are this machine's. Executors that join
later are not asked.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError
from pipeline.spark import witness
from pipeline.spark.agreement import MOST_HOSTS, agree, agree_here, refused, refused_here
from pipeline.spark.probe import Probe, is_left, look, prepared, rooted
from pipeline.spark.resources import (
    LOCAL_SHARE,
    given_memory,
    has_local_master,
    is_local,
    local_memory,
    local_tasks,
    task_cores,
)
from pipeline.spark.session import setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Handshake", "Probe", "handshake"]

log = logging.getLogger("graphsweep")

MOST_ROUNDS = 3
"""Of questions, while executors are still joining."""

_trusted: set[str] = set()
"""Of local sessions whose workers are known to run this Python, what Spark calls the application: a session has several
objects in Python."""

Hosts = Mapping[str, Sequence[str]]
"""Path, as `rooted` spells it → machines."""


@dataclass(frozen=True)
class Handshake:
    """What is known of a session's tasks."""

    local: bool
    """They run on this machine, for certain, and see what it sees."""
    tasks: int
    """That run at once."""
    task_memory: int
    """Bytes that the Python worker of one task may use; of a local one, all tasks together."""
    task_cores: int
    blind: Hosts = field(default_factory=dict)
    """Place that was asked about → machines whose tasks do not see there what this process sees."""
    barred: Hosts = field(default_factory=dict)
    """The same for directories to write into → machines that do not see it, or cannot write there."""

    def sees(self, path: str) -> bool:
        """Whether all tasks see at a path, which was asked about, or is in a directory that was, what is here."""
        return self.local or not self._hosts(self.blind, path)

    def writes(self, path: str) -> bool:
        """Whether all tasks can make a path so that this process sees it."""
        return self.local or not self._hosts(self.barred, path)

    def require_seen(self, path: str, remedy: str) -> None:
        """StorageError, naming machines, unless all tasks see at a path what is here."""
        if not self.sees(path):
            raise StorageError(f"{path}: {_on(self._hosts(self.blind, path))} do not see what is here; {remedy}")

    def require_written(self, path: str, remedy: str) -> None:
        """The same, unless all tasks can make it so that this process sees it."""
        if not self.writes(path):
            raise StorageError(
                f"{path}: {_on(self._hosts(self.barred, path))} do not share its directory with this process, or may "
                f"not write there; {remedy}"
            )

    def _hosts(self, of: Hosts, path: str) -> Sequence[str]:
        inner = rooted(path)
        if inner in of:
            return of[inner]
        above = [probed for probed in of if inner.startswith(f"{probed.rstrip('/')}/")]
        assert above, f"nobody was asked about {path}"
        return of[max(above, key=len)]


def _on(hosts: Sequence[str]) -> str:
    named = ", ".join(hosts[:MOST_HOSTS]) + (", …" if len(hosts) > MOST_HOSTS else "")
    return f"the tasks on host{'' if len(hosts) == 1 else 's'} {named}"


def handshake(spark: SparkSession | None, places: Iterable[Probe] = ()) -> Handshake:
    """Runs a job, unless there is no session; of one that is certainly local only the first time.

    Raises
    ------
    ClusterError
        If tasks would not run what this process runs, or lack something for it.
    StorageError
        If this process cannot write to a place that is to be made.
    """
    if spark is None or is_local(spark):
        if spark is not None:
            _check_workers(spark)
        return Handshake(True, local_tasks(spark), local_memory(), task_cores(spark))
    places, token = list(places), uuid.uuid4().hex
    with prepared(places, token) as asked:
        question = {"hash": package_hash(), "token": token, "places": asked}
        answers = _ask(spark, question)
        for line in agree(_here(), answers):
            log.warning("%s", line)
        blind, barred = _seen(places, asked, answers, token)
    tasks = _at_once(answers)
    log.info("%d tasks at once on %d host%s", tasks.total(), len(tasks), "" if len(tasks) == 1 else "s")
    memory = _memory(None if has_local_master(spark) else given_memory(spark), answers)
    return Handshake(False, tasks.total(), memory, task_cores(spark), blind, barred)


@functools.cache
def package_hash() -> str | None:
    """Of all sources of this graphsweep."""
    found: str | None = witness.package()["hash"]
    return found


def _here() -> dict[str, Any]:
    """What this process has. The hash is that of the sources that tasks are asked about: they may have been replaced
    since, by an update in a notebook that goes on."""
    return {**witness.facts(), "hash": package_hash()}


def trust_workers(spark: SparkSession) -> None:
    """Says that the workers of a local session run this Python: they are not asked. For who has started the session."""
    _trusted.add(setting(spark, "spark.app.id") or "")


def _check_workers(spark: SparkSession) -> None:
    """ClusterError unless the workers of a local session find this graphsweep, with the Python of this process. Runs a
    job of one task, once; the run's own tasks find its worker started."""
    if (setting(spark, "spark.app.id") or "") in _trusted:
        return
    question: dict[str, Any] = {"hash": package_hash(), "token": "", "places": []}
    try:
        (row,) = spark.range(0, 1, 1, 1).mapInArrow(_witness(question), "answer string").collect()
    except Exception as error:
        known = refused_here(error)
        if known is None:
            raise
        raise known from error
    agree_here(_here(), json.loads(row.answer))
    trust_workers(spark)


# ---- the job


def _witness(question: dict[str, Any]) -> functools.partial[Any]:
    """The body of a task, which goes to it by value: there may be no graphsweep."""
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(witness)  # type: ignore[no-untyped-call]
    return functools.partial(witness.answer, question=question)


def _ask(spark: SparkSession, question: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs a job: the answers of as many tasks as run at once. Once more if executors have joined meanwhile, as they do
    when a session has just started; a cluster that goes on growing is not waited for."""
    work = _witness(question)
    answers: list[dict[str, Any]] = []
    try:
        for _ in range(MOST_ROUNDS):
            rows = spark.range(0, 1000).mapInArrow(work, "answer string").collect()
            answers = [json.loads(row.answer) for row in rows]
            if _partitions_now(spark) <= len(answers):
                break
    except Exception as error:
        known = refused(error)
        if known is None:
            raise
        raise known from error
    return answers


def _partitions_now(spark: SparkSession) -> int:
    """Into how many tasks Spark cuts such a job: the cores that it has at present. 0 if it does not say. No job."""
    plan = spark.sql("explain select * from range(0, 1000)").collect()[0][0]
    found = re.search(r"splits=(\d+)", plan)
    return int(found[1]) if found else 0


# ---- what the answers say


def _seen(
    places: Sequence[Probe], asked: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]], token: str
) -> tuple[Hosts, Hosts]:
    """Probe, and what was probed for it → machines that do not see it; machines that cannot write there."""
    blind: dict[str, tuple[str, ...]] = {}
    barred: dict[str, tuple[str, ...]] = {}
    for number, (place, one) in enumerate(zip(places, asked, strict=True)):
        wanted = token if place.made else look(place.path)
        said = [(answer["host"], answer["seen"][number]) for answer in answers]
        unseen = {host for host, seen in said if wanted is None or seen["seen"] != wanted}
        at = rooted(place.path)
        blind[at] = tuple(sorted(unseen))
        if place.made:
            lost = {host for host, seen in said if not is_left(one["path"], seen.get("left"), token)}
            blind.setdefault(one["path"], blind[at])
            barred[at] = barred[one["path"]] = tuple(sorted(unseen | lost))
    return blind, barred


def _at_once(answers: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Machine → tasks that run there at once: a Python worker takes one after the other (spark.task.cpus, or
    spark.default.parallelism, can make more of them than there are workers)."""
    return Counter(host for host, _ in {(answer["host"], answer["pid"]) for answer in answers})


def _memory(given: int | None, answers: Sequence[Mapping[str, Any]]) -> int:
    """What the settings give a task, or less if a machine or a container has less for the tasks on it."""
    tasks = _at_once(answers)
    found = [] if given is None else [given]
    for answer in answers:
        shared, own = answer["memory"]
        found.append(int(LOCAL_SHARE * shared) // tasks[answer["host"]])
        if own is not None:
            found.append(own)
    return min(found)
