"""The functions that tasks run, as Spark is given them.

Comes in: a function for mapInArrow. Goes out: one that does the same, in a worker whose garbage collector leaves alone
what was imported. Knows nothing of what the function does.

PySpark's daemon collects garbage after every task (`gc.collect()` in pyspark/daemon.py), and a collection looks at
every object of the process: 55 ms with Numba and PyArrow imported, where a task over few rows computes for 1 ms. The
workers of 36 tests of prepare took 35.9 core-seconds; 5.2 since modules are left alone.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pyarrow as pa

Function = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

_modules = 0  # of this process, when they were last left alone


def task_function(work: Function) -> Function:
    """`work`, for `DataFrame.mapInArrow`."""
    return partial(_run, work)


def _run(work: Function, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    global _modules
    if len(sys.modules) != _modules:  # no data is there yet, and `work` came with the modules that it needs
        _modules = len(sys.modules)
        gc.freeze()
    yield from work(batches)
