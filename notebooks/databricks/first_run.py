# Databricks notebook source
# MAGIC %md
# MAGIC # First run
# MAGIC
# MAGIC In which part of the country is an airport? The airline network of the United States, and a model that names
# MAGIC an airport's region from its routes. From tables to a score for every node, and whether they are right.
# MAGIC
# MAGIC Install the wheel on the cluster, or `%pip install /Volumes/…/graphsweep-0.1.0-py3-none-any.whl` first.

# COMMAND ----------

import shutil
from pathlib import Path

from graphsweep import Graph, Model, infer, prepare, verify

dbutils.widgets.text("volume", "/Volumes/main/graph/graphsweep")  # a folder that all workers see
folder = Path(dbutils.widgets.get("volume")) / "flights"
shutil.copytree("../../data/flights", folder, dirs_exist_ok=True)

# COMMAND ----------

# MAGIC %md
# MAGIC Nodes have an id and an array of features, `x`. Edges have `src` and `dst`, and here a distance. Ids stay
# MAGIC what they are.

# COMMAND ----------

nodes = spark.read.parquet(f"{folder}/nodes.parquet")
edges = spark.read.parquet(f"{folder}/edges.parquet")
display(nodes.select("id", "name", "state", "region").limit(5))
display(edges.limit(5))

# COMMAND ----------

# MAGIC %md
# MAGIC The graph is cut into blocks once. The model is data: an exported module of PyTorch Geometric. No torch is
# MAGIC needed.

# COMMAND ----------

raw = Graph(nodes, edges, features="x", edge_features="distance")
graph = prepare(raw, f"{folder}/graph", overwrite=True)
model = Model.load(folder / "model")
print(graph)
print(model)

# COMMAND ----------

scores = infer(graph, model, classify=True)
scores.write.mode("overwrite").parquet(f"{folder}/scores")
display(spark.read.parquet(f"{folder}/scores").orderBy("id").limit(5))

# COMMAND ----------

# MAGIC %md
# MAGIC Some nodes are computed again from the raw tables, in float64 and by another way.

# COMMAND ----------

checked = verify(raw, model, f"{folder}/scores", sample=50)
print(checked)
assert checked.passed
