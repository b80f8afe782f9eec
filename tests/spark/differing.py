"""Run by spark-submit: one session after the other on a cluster, each with executors of its own kind, and what the
handshake says of them, and `doctor` where that is asked for. Arguments: a file with {name: settings}, of which "python"
is the executors' Python and "doctor" a folder for `doctor`; and a path that tasks are asked about."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from pyspark.sql import SparkSession

from pipeline.errors import GraphsweepError
from pipeline.job.doctor import diagnose
from pipeline.job.sessions import Sessions
from pipeline.settings import Settings
from pipeline.spark.handshake import Probe, handshake


def main(cases: str, path: str) -> None:
    for name, settings in json.loads(Path(cases).read_text()).items():
        folder = settings.pop("doctor", None)
        os.environ["PYSPARK_PYTHON"] = settings.pop("python", sys.executable)  # read when a session starts
        builder = SparkSession.builder.appName(name)
        for key, value in settings.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        try:
            said = asdict(handshake(spark, [Probe(f"{path}/made", made=True), Probe(cases)]))
        except GraphsweepError as error:
            said = {"error": type(error).__name__, "says": str(error)}
        if folder is not None:
            sessions = Sessions(lambda: False, lambda small, meanwhile, spark=spark: nullcontext(spark))
            said["doctor"] = str(diagnose([folder], Settings(), sessions, there, there))
        sys.stdout.write(f"\nSAID {json.dumps([name, said])}\n")
        sys.stdout.flush()
        spark.stop()


def there() -> None:
    """PySpark and Java."""


if __name__ == "__main__":
    main(*sys.argv[1:])
