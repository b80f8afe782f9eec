"""A run of a model over four nodes in this process: what has to be compiled is compiled while tables are read, or Spark
starts.

Comes in: a model. Goes out: nothing but machine code in the user's cache, which this process and the workers load. Of
the first run on a new machine, 6 s are compilation, and Spark's start leaves a core idle for as long. Knows no Spark.
"""

from __future__ import annotations

import logging
import threading

import numpy as np
import pyarrow as pa

from pipeline.model import Model

log = logging.getLogger("graphsweep")


class WarmUp:
    """The run of one model, in a thread."""

    def __init__(self, model: Model) -> None:
        self._thread = threading.Thread(target=_warm_up, args=(model,), name="warm up", daemon=True)

    def start(self) -> None:
        """Starts it, the first time, and returns at once."""
        if self._thread.ident is None:
            self._thread.start()

    def wait(self) -> None:
        """Until it has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join()


def _warm_up(model: Model) -> None:
    try:
        # imported here: Numba alone takes half a second, in which the caller can start Spark
        from pipeline.plan.plan import Plan
        from pipeline.preparing.in_memory import blocks_from_tables
        from pipeline.run.fused import run_fused

        model = Model(model.program, model.weights, model.columns)  # learned rows are columns of the nodes here
        widths: dict[str, dict[str, int]] = {"nodes": {}, "edges": {}}
        for column, width in model.inputs.items():
            table, _, name = column.rpartition(".")
            widths[table][name] = width
        # ids are text because then integers are hashed too; node d has no edge, and c a self-loop
        nodes = {"id": pa.array(["a", "b", "c", "d"]), **_ones(widths["nodes"], 4)}
        edges = {"src": pa.array(["a", "b", "c"]), "dst": pa.array(["b", "a", "c"]), **_ones(widths["edges"], 3)}
        features = {name: name for name in widths["nodes"]}
        blocks = blocks_from_tables(
            pa.table(nodes), pa.table(edges), 1, features, list(widths["edges"]), reverse=model.reads_reversed
        )
        run_fused(Plan.of(model), blocks)
    except Exception:  # it is about speed only: whatever is wrong, the run itself will say so
        log.debug("the warm-up failed", exc_info=True)


def _ones(widths: dict[str, int], rows: int) -> dict[str, pa.Array]:
    return {name: pa.array(list(np.ones((rows, width), np.float32))) for name, width in widths.items()}
