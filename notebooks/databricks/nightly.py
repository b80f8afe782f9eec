# Databricks notebook source
# MAGIC %md
# MAGIC # Nightly job: publish
# MAGIC
# MAGIC The last task of the job `nightly` (databricks.yml). Before it, `prepare`, `infer` and `verify` ran as wheel
# MAGIC tasks; if scores were wrong, verify has failed, and this does not run: readers keep the table of the night
# MAGIC before.

# COMMAND ----------

import json
from pathlib import Path

from graphsweep import open_graph

dbutils.widgets.text("root", "/Volumes/main/graph/graphsweep")
dbutils.widgets.text("day", "")
dbutils.widgets.text("table", "main.graph.scores")
root, day, table = (dbutils.widgets.get(name) for name in ("root", "day", "table"))
folder = Path(root) / "scores" / day

# COMMAND ----------

# MAGIC %md
# MAGIC The marker says what the scores were made of. They have to be of the graph that is there now.

# COMMAND ----------

marker = json.loads((folder / "_graphsweep.json").read_text())
graph = open_graph(f"{root}/graph")
assert marker["graph"] == graph.fingerprint, f"the scores of {day} are of another graph; run infer again"
print(f"run {marker['run']}: {marker['rows']:,} nodes, model {marker['model'][:12]}")

# COMMAND ----------

# MAGIC %md
# MAGIC The table is replaced in one transaction. Each row says from which run it is.

# COMMAND ----------

from pyspark.sql import functions as F

scores = spark.read.parquet(str(folder))
published = scores.withColumn("day", F.lit(day)).withColumn("run", F.lit(marker["run"]))
published.write.mode("overwrite").option("overwriteSchema", "true").saveAsTable(table)
display(spark.table(table).limit(5))

# COMMAND ----------

dbutils.notebook.exit(json.dumps({"rows": spark.table(table).count(), "run": marker["run"]}))
