"""What can be done before Spark is there: a graph of Parquet files on this machine is prepared while the JVM starts.

Comes in: what the command line was told. Goes out: the prepared graph, if it could be made so. Knows no Spark: for
16.8M edges it takes 8 s, beside a start of 10 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.graph import Graph, PreparedGraph
from pipeline.infer import prepare_for
from pipeline.model import Model
from pipeline.settings import Settings


class Early:
    """The preparation of one graph, in a thread."""

    def __init__(self, read: Callable[[], Graph | None], model: Model, settings: Settings) -> None:
        """`read` makes a graph that needs no Spark, or None."""
        self._work = (read, model, settings)
        self._made: Future[PreparedGraph | None] | None = None
        self.seconds = 0.0
        """That it took."""

    def start(self) -> None:
        """Starts it, and returns at once."""
        pool = ThreadPoolExecutor(1, "early")
        self._made = pool.submit(self._run)
        pool.shutdown(wait=False)

    def result(self) -> PreparedGraph | None:
        """Waits for the graph; None if it was not started, or the tables have to come through Spark.

        Raises
        ------
        DataError
            If the tables cannot be used; ModelError if the model cannot read them.
        """
        return None if self._made is None else self._made.result()

    def _run(self) -> PreparedGraph | None:
        started = time.perf_counter()
        read, model, settings = self._work
        graph = read()
        prepared = None if graph is None else prepare_for(graph, model, settings)
        self.seconds = time.perf_counter() - started
        return prepared
