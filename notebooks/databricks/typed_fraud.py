# Databricks notebook source
# MAGIC %md
# MAGIC # A typed graph: rings of fraudsters
# MAGIC
# MAGIC A made-up bank: accounts, cards, devices and merchants, each a table. The model says of every account how
# MAGIC likely it is that it belongs to a ring.

# COMMAND ----------

import shutil
import sys
from pathlib import Path

from graphsweep import Graph, Model, prepare, score, verify

dbutils.widgets.text("volume", "/Volumes/main/graph/graphsweep")
folder = Path(dbutils.widgets.get("volume")) / "payments"
shutil.copytree("../../data/payments/model", folder / "model", dirs_exist_ok=True)
sys.path.insert(0, "../../data/payments")
import generate

if not (folder / "tables").exists():
    generate.write(folder / "tables")

# COMMAND ----------

# MAGIC %md
# MAGIC A table for each type of nodes, and for each type of edges: (account, pays, account). Ids are per type.

# COMMAND ----------

nodes = {name: spark.read.parquet(f"{folder}/tables/nodes/{name}") for name in generate.NODES}
edges = {kind: spark.read.parquet(f"{folder}/tables/edges/{'__'.join(kind)}") for kind in generate.EDGES}
display(nodes["account"].limit(5))
display(edges["account", "pays", "account"].limit(5))

# COMMAND ----------

raw = Graph(
    nodes,
    edges,
    features={
        "account": ["age", "balance", "business"],
        "card": {"x": "limit"},
        "merchant": ["ticket", "online"],
        "device": None,
    },
    edge_features={("account", "pays", "account"): "amount"},
)
graph = prepare(raw, f"{folder}/graph", overwrite=True)
print(graph)

# COMMAND ----------

# MAGIC %md
# MAGIC `score` writes a table for each type that the model has outputs for. All of them appear at once.

# COMMAND ----------

model = Model.load(folder / "model")
print(score(graph, model, folder / "scores", overwrite=True))

# COMMAND ----------

scores = spark.read.parquet(f"{folder}/scores/account")
suspects = nodes["account"].join(scores, on="id").orderBy("probability", ascending=False)
display(suspects.select("id", "age", "balance", "probability", "fraud").limit(10))

# COMMAND ----------

checked = verify(raw, model, folder / "scores", sample=50)
print(checked)
assert checked.passed
