"""A night's scores on a Spark cluster: prepare → infer → verify → publish, the first three by spark-submit.

The Variable graphsweep_jobs names the folder of jobs/prepare.py and its neighbours; the connection spark_default the
cluster. deploy-mode has to be client: in cluster mode YARN does not hand on the exit code by which wrong scores are
known.
"""

from __future__ import annotations

import re
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from graphsweep_night import NIGHT
from graphsweep_steps import DAY, DIFFERS, PARAMS, publish, steps

JOBS = "{{ var.value.get('graphsweep_jobs', '/opt/graphsweep/jobs') }}"
GIVEN = {name: f"{{{{ params.{name} }}}}" for name in PARAMS}


class Submit(SparkSubmitOperator):
    """One step. Wrong scores fail at once, without a retry; whatever else fails is tried again: a killed run goes on
    where it was, and a run that was refused because its killed predecessor is still ending is not refused later."""

    def execute(self, context: Any) -> None:
        try:
            super().execute(context)
        except AirflowException as error:
            if re.search(rf"Error code is: {DIFFERS}\b", str(error)):
                raise AirflowFailException(
                    f"{self.task_id}: the scores are not those of the model; latest leads to the old ones"
                ) from error
            raise


@dag(**NIGHT)
def graphsweep_nightly_spark() -> None:
    prepare, infer, verify = (
        Submit(
            task_id=step,
            name=f"graphsweep {step} {DAY}",
            application=f"{JOBS}/{step}.py",
            application_args=arguments[1:],
            deploy_mode="client",
        )
        for step, arguments in steps(GIVEN, DAY).items()
    )

    @task(task_id="publish")
    def publish_scores(folder: str, day: str) -> str:
        return publish(folder, day)

    prepare >> infer >> verify >> publish_scores(GIVEN["folder"], DAY)


graphsweep_nightly_spark()
