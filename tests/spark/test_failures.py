"""The line for people, out of what Spark writes about a Python worker."""

from __future__ import annotations

from pipeline.spark.failures import failed_host, last_error

SPARK = """An error occurred while calling o62.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 0.0 failed 4 times, most recent \
failure: Lost task 1.3 in stage 0.0 (TID 7) (10.0.0.7 executor 3): org.apache.spark.api.python.PythonException: \
Traceback (most recent call last):
  File "/spark/worker.py", line 1, in main
    process()
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/spark/worker.py", line 2, in main
    raise
pyspark.errors.exceptions.base.PySparkRuntimeError: [SOME_ERROR] what a person needs

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
Driver stacktrace:
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""


def test_the_last_line_of_the_last_traceback() -> None:
    assert last_error(SPARK) == "PySparkRuntimeError: [SOME_ERROR] what a person needs"
    assert failed_host(SPARK) == "10.0.0.7"


def test_a_class_without_a_module_or_a_message() -> None:
    assert last_error("Traceback (most recent call last):\n  File 'x'\nMemoryError\n") == "MemoryError"
    assert last_error("Traceback (most recent call last):\n\n  File 'x'\na.b.C: d.e: f") == "C: d.e: f"


def test_no_traceback() -> None:
    assert last_error("[PATH_NOT_FOUND] Path does not exist: file:/x") is None
    assert last_error("Traceback (most recent call last):\n  File 'x'") is None
    assert failed_host("Task failed") is None
