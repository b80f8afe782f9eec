# Databricks notebook source
# MAGIC %md
# MAGIC # Reading explain
# MAGIC
# MAGIC What will a run do, how long will it take, and how much memory does it want? `explain` says so before
# MAGIC anything runs. It reads the description of a prepared graph, not the graph.

# COMMAND ----------

import shutil
from pathlib import Path

from graphsweep import Graph, Model, Settings, explain, prepare

dbutils.widgets.text("volume", "/Volumes/main/graph/graphsweep")
folder = Path(dbutils.widgets.get("volume")) / "explained"
shutil.copytree("../../data/flights", folder, dirs_exist_ok=True)
nodes, edges = spark.read.parquet(f"{folder}/nodes.parquet"), spark.read.parquet(f"{folder}/edges.parquet")
model = Model.load(folder / "model")

# COMMAND ----------

# MAGIC %md
# MAGIC Four blocks, to see what moves between them. A real graph gets as many as its size asks for.

# COMMAND ----------

raw = Graph(nodes, edges, features="x", edge_features="distance")
graph = prepare(raw, f"{folder}/graph", blocks=4, overwrite=True)
explanation = explain(graph, model)
print(explanation)

# COMMAND ----------

# MAGIC %md
# MAGIC * **tier**: `fused`, if the whole run fits one task; then nothing goes through Spark's shuffle. Else
# MAGIC   `distributed`, a stage for each superstep, and the reason is said.
# MAGIC * **supersteps**: between two of them blocks send rows to each other. Shipped bytes are what crosses, kept
# MAGIC   bytes what waits.
# MAGIC * **memory** of the largest block: what a task needs. On serverless a Python worker has 1 GB: prepare with
# MAGIC   more `blocks`.
# MAGIC
# MAGIC The same graph, if it had to be distributed:

# COMMAND ----------

print(explain(graph, model, Settings(tier="distributed")))

# COMMAND ----------

# MAGIC %md
# MAGIC Half of the bytes for some precision: `wire`. `verify` says what it costs.

# COMMAND ----------

print(explain(graph, model, {"tier": "distributed", "wire": "float16"}))
