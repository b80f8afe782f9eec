"""A night's scores without Spark on the worker: prepare → infer → verify → publish, each a call of `graphsweep`.

For graphs that the worker's memory and disk hold. graphsweep lives in an environment of its own, because Airflow's has
other versions of pandas: the Variable graphsweep_command names it, as /opt/graphsweep/bin/graphsweep.
"""

from __future__ import annotations

import json
import subprocess

from airflow.sdk import Variable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from graphsweep_night import NIGHT
from graphsweep_steps import DIFFERS, publish, steps


def run(step: str) -> dict[str, object]:
    """Runs a step; what it says to programs (docs/json.md)."""
    context = get_current_context()
    dag_run = context["dag_run"]
    day = (dag_run.logical_date or dag_run.run_after).strftime("%Y-%m-%d")
    command = Variable.get("graphsweep_command", default="graphsweep")
    process = subprocess.Popen(
        [command, *steps(context["params"], day)[step], "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        said = process.communicate()[0]
    except BaseException:  # the task is told to end: the run ends, too, and what it has begun is removed
        process.terminate()
        process.wait()
        raise
    told = json.loads(said) if said else {"message": "no answer", "outcome": "none"}
    if process.returncode == DIFFERS:
        raise AirflowFailException(f"{step}: the scores are not those of the model; latest leads to the old ones")
    if process.returncode != 0:
        raise AirflowException(f"{step}: {told['outcome']}, exit code {process.returncode}: {told['message']}")
    return {"day": day, **told}


@dag(**NIGHT)
def graphsweep_nightly() -> None:
    @task
    def prepare() -> dict[str, object]:
        return run("prepare")

    @task
    def infer() -> dict[str, object]:
        return run("infer")

    @task
    def verify() -> dict[str, object]:
        return run("verify")

    @task(task_id="publish")
    def publish_scores(verified: dict[str, object]) -> str:
        return publish(get_current_context()["params"]["folder"], str(verified["day"]))

    prepared, scored, verified = prepare(), infer(), verify()
    prepared >> scored >> verified
    publish_scores(verified)


graphsweep_nightly()
