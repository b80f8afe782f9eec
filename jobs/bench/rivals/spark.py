"""The competitor that everybody can write: mean GraphSAGE in plain Spark by `join` and `groupBy`, Parquet to Parquet.

Comes in: the tables of a graph, the weights of PyG's GraphSAGE. Goes out: the table that graphsweep writes. Knows
nothing of graphsweep.

It is what a skilled user would write: matrix products in NumPy, a batch of nodes at a time; a layer that narrows is
projected before its neighbours are summed; what two branches need is kept; adaptive execution is on. How neighbours
are summed is FORMS. FASTEST is a sum per feature, in slices of 64 features where there are more: on a busy
machine of 2 cores the layers 256→256→32 over 2^15 nodes took 10–12 s (18–21 core-seconds), vectors 39–52 s (23), lists
20–30 s (15–18). Lists work least there, but their shuffle carries a row for every edge, and one row holds all of a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Rows = npt.NDArray[np.float32]
FASTEST = "slices"
SLICE = 64  # columns of one aggregation; Spark generates no code for more than 100


@dataclass(frozen=True)
class Layer:
    """lin_l(mean of the neighbours) + lin_r(own), as PyG's SAGEConv has it."""

    left: Rows
    """(out, in)"""
    bias: Rows
    right: Rows
    """(out, in)"""

    @property
    def narrows(self) -> bool:
        return self.left.shape[0] < self.left.shape[1]

    @property
    def width(self) -> int:
        """Of what a node sends."""
        return min(self.left.shape)

    def begin(self, h: Rows) -> tuple[Rows, Rows]:
        """What a node sends, and what it keeps."""
        return (h @ self.left.T, h @ self.right.T + self.bias) if self.narrows else (h, h)

    def finish(self, mean: Rows, kept: Rows) -> Rows:
        return mean + kept if self.narrows else mean @ self.left.T + self.bias + kept @ self.right.T


def layers_of(path: Path) -> list[Layer]:
    from safetensors.numpy import load_file

    state = load_file(path)
    names = sorted({name.rsplit(".", 2)[0] for name in state})
    return [
        Layer(state[f"{name}.lin_l.weight"], state[f"{name}.lin_l.bias"], state[f"{name}.lin_r.weight"])
        for name in names
    ]


def run(spark: SparkSession, graph: Path, weights: Path, output: Path, form: str) -> None:
    """Runs a job: every node's output, written as (id, output array<float>)."""
    from pyspark.sql import functions as F

    layers = layers_of(weights)
    edges = spark.read.parquet(str(graph / "edges.parquet"))
    x = spark.read.parquet(str(graph / "nodes.parquet")).withColumnRenamed("x", "h")
    rows = between(x, None, layers[0]) if layers[0].narrows else x.select("id", F.col("h").alias("sent"), "h")
    rows, kept = rows.withColumnRenamed("h", "kept"), []
    for number, layer in enumerate(layers):
        means = FORMS[form](rows.select(F.col("id").alias("src"), "sent"), edges, layer.width)
        joined = rows.select("id", "kept").join(means, F.col("id") == F.col("dst"), how="left").drop("dst")
        following = layers[number + 1] if number + 1 < len(layers) else None
        rows = between(joined, layer, following)
        if following:
            rows = rows.persist()
            kept.append(rows)
    rows.write.mode("overwrite").parquet(str(output))
    for frame in kept:
        frame.unpersist()


def between(rows: DataFrame, layer: Layer | None, following: Layer | None) -> DataFrame:
    """From the means of one layer to what the next one sends, or to the output."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not len(batch):
                continue
            if layer:
                kept = matrix(batch["kept"])
                h = layer.finish(matrix(batch["mean"], layer.width), kept)
            else:
                h = matrix(batch["h"])
            if following is None:
                values = {"output": h}
            else:
                sent, own = following.begin(np.maximum(h, 0) if layer else h)
                values = {"sent": sent, "kept": own}
            columns = {"id": batch["id"], **{name: lists(value) for name, value in values.items()}}
            yield pa.RecordBatch.from_pydict(columns)

    arrays = "sent array<float>, kept array<float>" if following else "output array<float>"
    return rows.mapInArrow(work, f"id long, {arrays}")


def matrix(column: pa.Array, width: int = -1) -> Rows:
    """(rows, width) float32; a node without neighbours has no mean, and gets zeros."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    if not column.null_count:
        return values.reshape(len(column), width)
    out = np.zeros((len(column), width), np.float32)
    out[column.is_valid().to_numpy(zero_copy_only=False)] = values.reshape(-1, width)
    return out


def lists(values: Rows) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values, np.float32).reshape(-1)))


# ---- means over neighbours: rows (src, sent), edges (src, dst), width of sent → (dst, mean array<float>)


def by_columns(rows: DataFrame, edges: DataFrame, width: int, start: int = 0) -> DataFrame:
    """A sum per feature."""
    from pyspark.sql import functions as F

    lanes = range(start, width)
    flat = rows.select("src", *[F.col("sent")[lane].alias(f"sent_{lane}") for lane in lanes])
    sums = [F.sum(f"sent_{lane}").alias(f"sum_{lane}") for lane in lanes]
    total = edges.join(flat, "src", how="inner").groupBy("dst").agg(*sums, F.count(F.lit(1)).alias("n"))
    mean = F.array(*[(F.col(f"sum_{lane}") / F.col("n")).cast("float") for lane in lanes])
    return total.select("dst", mean.alias("mean"))


def by_slices(rows: DataFrame, edges: DataFrame, width: int) -> DataFrame:
    """The same for SLICE features at a time, so that Spark generates code for each."""
    from pyspark.sql import functions as F

    parts = [
        by_columns(rows, edges, min(start + SLICE, width), start).withColumnRenamed("mean", f"mean_{start}")
        for start in range(0, width, SLICE)
    ]
    names = [f"mean_{start}" for start in range(0, width, SLICE)]
    joined = reduce(lambda left, right: left.join(right, "dst", how="inner"), parts)
    return joined.select("dst", F.concat(*names).alias("mean"))


def by_vectors(rows: DataFrame, edges: DataFrame, width: int) -> DataFrame:
    """Vectors of spark.ml and their own aggregate."""
    from pyspark.ml.functions import array_to_vector, vector_to_array
    from pyspark.ml.stat import Summarizer
    from pyspark.sql import functions as F

    vectors = rows.select("src", array_to_vector("sent").alias("sent"))
    mean = vector_to_array(Summarizer.mean(F.col("sent")), "float32")
    return edges.join(vectors, "src", how="inner").groupBy("dst").agg(mean.alias("mean"))


def by_lists(rows: DataFrame, edges: DataFrame, width: int) -> DataFrame:
    """All of a node's neighbours in one row, summed by NumPy."""
    from pyspark.sql import functions as F

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not len(batch):
                continue
            column = batch["all"]
            counts = np.diff(column.offsets.to_numpy())
            values = column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            sums = np.add.reduceat(values, np.cumsum(counts) - counts, axis=0)
            means = sums / counts[:, None].astype(np.float32)
            yield pa.RecordBatch.from_pydict({"dst": batch["dst"], "mean": lists(means)})

    joined = edges.join(rows, "src", how="inner").groupBy("dst").agg(F.collect_list("sent").alias("all"))
    return joined.mapInArrow(work, "dst long, mean array<float>")


def by_graphframes(rows: DataFrame, edges: DataFrame, width: int) -> DataFrame:
    """aggregateMessages of GraphFrames, a sum per feature. Needs its jar in the session."""
    from graphframes import GraphFrame
    from graphframes.lib import AggregateMessages as AM
    from pyspark.sql import functions as F

    means = [F.avg(AM.msg[lane]).cast("float").alias(f"mean_{lane}") for lane in range(width)]
    graph = GraphFrame(rows.withColumnRenamed("src", "id"), edges)
    total = graph.aggregateMessages(means, sendToDst=AM.src["sent"])
    names = [f"mean_{lane}" for lane in range(width)]
    return total.select(F.col("id").alias("dst"), F.array(*names).alias("mean"))


FORMS: Mapping[str, Callable[..., Any]] = {
    "columns": by_columns,
    "slices": by_slices,
    "vectors": by_vectors,
    "lists": by_lists,
    "graphframes": by_graphframes,
}
