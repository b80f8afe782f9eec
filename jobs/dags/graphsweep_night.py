"""What both nightly DAGs tell Airflow: when they run, how often a step is tried, who is told.

Comes in: nothing. Goes out: arguments of Airflow's @dag. What a step does is in graphsweep_steps.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from graphsweep_alert import alert
from graphsweep_steps import PARAMS

NIGHT: dict[str, Any] = {
    "schedule": "@daily",
    "start_date": datetime(2026, 1, 1),
    "catchup": False,
    "max_active_runs": 1,  # one graph, one work directory
    "params": PARAMS,
    "default_args": {"retries": 2, "retry_delay": timedelta(minutes=5), "on_failure_callback": alert},
    "tags": ["graphsweep"],
}
