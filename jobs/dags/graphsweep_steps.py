"""What a nightly job does, for whichever scheduler: the arguments of its steps, what their exit codes mean, publishing.

Comes in: paths, and the day. Goes out: lists of arguments; a link. Knows nothing of Airflow: the DAGs beside it do.

    FOLDER/graph          the prepared graph; cut anew only if the tables have changed
    FOLDER/scores/DAY     the scores of a day
    FOLDER/work/DAY       what a killed run of that day goes on from
    FOLDER/latest         a link to the newest scores that verify has passed
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping

DIFFERS = 3
"""The exit code of verify when scores are not those of the model. A retry would find the same: somebody has to look."""

DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
"""Of an Airflow run: a run that is started by hand has no logical date."""

PARAMS = {
    "nodes": "/data/nodes.parquet",
    "edges": "/data/edges.parquet",
    "features": "x",
    "edge_features": "",
    "model": "/data/model",
    "folder": "/data/scored",
}
"""What has to be known of a graph: where its tables are, which columns the model reads, and where all of it goes."""


def steps(given: Mapping[str, str], day: str) -> dict[str, list[str]]:
    """Step → the arguments of `graphsweep`. A step that is tried again finds what it has done: `--if-same skip`; or
    goes on where it was killed: `--work-dir`.

    The work directory is of one day: what a run of yesterday has left, whose graph is no more, does not stop today's.
    """
    folder = given["folder"]
    graph, scores = f"{folder}/graph", f"{folder}/scores/{day}"
    tables = ["--nodes", given["nodes"], "--edges", given["edges"]]
    columns = ["--features", given["features"], "--edge-features", given["edge_features"]]
    skip = ["--overwrite", "--if-same", "skip"]
    model = ["--graph", graph, "--model", given["model"], "--output", scores]
    return {
        "prepare": ["prepare", *tables, *columns, "--output", graph, *skip],
        "infer": ["infer", *model, "--work-dir", f"{folder}/work/{day}", *skip],
        "verify": ["verify", *model],
    }


def publish(folder: str, day: str) -> str:
    """Turns FOLDER/latest to the scores of a day, in one step: who opens it sees the old ones or the new ones. The new
    target.

    Raises
    ------
    FileNotFoundError
        If there are no scores of this day.
    """
    target, link = os.path.join("scores", day), os.path.join(folder, "latest")
    if not os.path.isdir(os.path.join(folder, target)):
        raise FileNotFoundError(f"{os.path.join(folder, target)}: there are no scores of {day} to publish")
    beside = f"{link}.new"
    if os.path.lexists(beside):  # of a publish that was killed
        os.remove(beside)
    os.symlink(target, beside)
    os.replace(beside, link)
    return target


def post(url: str, text: str) -> None:
    """Tells people: a webhook of Slack, Teams, Mattermost or the like, which takes {"text": …}."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass
