"""Who is told when a task of Airflow has failed for good: whoever reads the webhook in the Variable graphsweep_alert.

Comes in: Airflow's context of a task. Goes out: one message. Without the Variable the log is all.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Variable
from graphsweep_steps import post

log = logging.getLogger(__name__)


def alert(context: Any) -> None:
    """on_failure_callback: after the last retry, or at once if verify has found wrong scores."""
    task, run = context["task_instance"], context["dag_run"]
    text = f"{task.dag_id}.{task.task_id} failed in {run.run_id}: {context.get('exception')}"
    log.error("%s", text)
    url = Variable.get("graphsweep_alert", default=None)
    if url:
        post(url, text)
