"""Runs DAGs in an Airflow, which has an environment of its own: a program for that Python. Knows nothing of ours.

Comes in: a folder of DAGs, and a JSON list of runs: DAG, day, parameters. Goes out: a JSON list on the last line: state
of the run, of its tasks, and how often each was tried.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from airflow.dag_processing.dagbag import DagBag


def main(folder: str, runs: str) -> None:
    sys.path.insert(0, folder)  # as Airflow's own processes do
    bag = DagBag(folder)
    found = []
    for name, day, given in json.loads(runs):
        dag = bag.dags[name]
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        date = datetime.fromisoformat(day).replace(tzinfo=timezone.utc)
        run = dag.test(logical_date=date, run_conf=given)
        tasks = {task.task_id: [str(task.state), task.try_number] for task in run.get_task_instances()}
        found.append({"state": str(run.state), "tasks": tasks})
    sys.stdout.write(json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags), "runs": found}) + "\n")


main(*sys.argv[1:])
