"""The competitor that people use today: cut every seed's neighbourhood with Spark, run PyG on each.

Comes in: the tables of a graph, PyG's weights, how many seeds a neighbourhood is shared by, how many seeds are scored.
Goes out: (id, output) of these seeds. Knows nothing of graphsweep.

All neighbours over two layers, none sampled, so that the numbers are exact: the edges into the seeds and into their
neighbours, once per batch of seeds, and the features of all nodes at these edges. Spark's joins find both; a group per
batch goes to PyG in a worker, and the seeds' rows are written. The published form is a batch of ONE seed; larger
batches share what their seeds have in common.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.rivals.spark import lists

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def run(spark: SparkSession, graph: Path, weights: Path, output: Path, batch: int, seeds: int) -> None:
    """Runs a job: the outputs of `seeds` nodes, chosen at random (always the same ones), `batch` at a time."""
    edges, nodes = neighbourhoods(spark, graph, sample(graph, batch, seeds))

    def score(edges: pa.Table, nodes: pa.Table) -> pa.Table:
        return forward(str(weights), edges, nodes)

    groups = edges.groupBy("batch").cogroup(nodes.groupBy("batch"))
    scored = groups.applyInArrow(score, "id long, output array<float>")
    scored.write.mode("overwrite").parquet(str(output))
    edges.unpersist()


def sample(graph: Path, batch: int, seeds: int) -> pa.Table:
    """(batch, id)"""
    ids = pq.read_table(graph / "nodes.parquet", columns=["id"])["id"].to_numpy()
    chosen = np.random.default_rng(0).permutation(ids)[:seeds]
    return pa.table({"batch": np.arange(len(chosen)) // batch, "id": chosen})


def neighbourhoods(spark: SparkSession, graph: Path, seeds: pa.Table) -> tuple[DataFrame, DataFrame]:
    """Edges (batch, src, dst), kept because both need them, and nodes (batch, id, seed, x) of each batch."""
    from pyspark.sql import functions as F

    all_edges = spark.read.parquet(str(graph / "edges.parquet"))
    features = spark.read.parquet(str(graph / "nodes.parquet"))
    of_seeds = spark.createDataFrame(seeds)
    first = of_seeds.join(all_edges, F.col("id") == F.col("dst"), how="inner")
    first = first.select("batch", F.col("src").alias("id"), F.lit(False).alias("seed"))
    first = first.union(of_seeds.select("batch", "id", F.lit(True)))
    # those whose first layer is needed
    first = first.groupBy("batch", "id").agg(F.max("seed").alias("seed"))
    edges = first.join(all_edges, F.col("id") == F.col("dst"), how="inner").select("batch", "src", "dst").persist()
    second = edges.select("batch", F.col("src").alias("id"), F.lit(False).alias("seed")).union(first)
    nodes = second.groupBy("batch", "id").agg(F.max("seed").alias("seed"))
    # a column of its own: to cogroup, the same one on both sides is ambiguous
    named = F.col("batch").alias("batch")
    return edges, nodes.join(features, "id", how="inner").select(named, "id", "seed", "x")


# ---- in a worker


def forward(weights: str, edges: pa.Table, nodes: pa.Table) -> pa.Table:
    import torch

    nodes = nodes.combine_chunks()
    ids = nodes["id"].to_numpy()
    order = np.argsort(ids)
    ends = [order[np.searchsorted(ids, edges[end].to_numpy(), sorter=order)] for end in ("src", "dst")]
    x = nodes["x"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1).copy()
    with torch.no_grad():
        out = net(weights, x.shape[1])(torch.from_numpy(x), torch.from_numpy(np.stack(ends))).numpy()
    seeds = nodes["seed"].to_numpy()
    return pa.table({"id": ids[seeds], "output": lists(out[seeds])})


@functools.cache
def net(weights: str, features: int) -> Any:
    """Once per worker. A task has one core."""
    import torch
    from safetensors.torch import load_file

    from jobs.bench.pyg import build

    torch.set_num_threads(1)
    made = build(Path(weights).stem, features)
    made.load_state_dict(load_file(weights))
    return made
