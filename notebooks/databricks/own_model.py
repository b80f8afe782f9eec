# Databricks notebook source
# MAGIC %md
# MAGIC # Your own model
# MAGIC
# MAGIC A module of PyTorch Geometric, trained here, becomes a directory of data. Only this notebook needs torch;
# MAGIC the job that scores does not. `%pip install torch torch_geometric` first.

# COMMAND ----------

import shutil
from pathlib import Path

import numpy as np
import torch
from torch_geometric.nn import SAGEConv

from graphsweep import Graph, Model, infer, prepare

dbutils.widgets.text("volume", "/Volumes/main/graph/graphsweep")
folder = Path(dbutils.widgets.get("volume")) / "own"
shutil.copytree("../../data/flights", folder, dirs_exist_ok=True)
nodes = spark.read.parquet(f"{folder}/nodes.parquet")
edges = spark.read.parquet(f"{folder}/edges.parquet")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Training, as always
# MAGIC
# MAGIC PyG wants tensors, and nodes that are numbered from 0.

# COMMAND ----------

airports = nodes.orderBy("id").toPandas()
routes = edges.toPandas()
number = {id: row for row, id in enumerate(airports["id"])}
x = torch.tensor(np.stack(airports["x"]), dtype=torch.float32)
edge_index = torch.tensor(np.stack([routes["src"].map(number), routes["dst"].map(number)]))
regions = sorted(airports["region"].dropna().unique())
target = torch.tensor(airports["region"].map(regions.index, na_action="ignore").fillna(0).astype(int).to_numpy())
train = torch.tensor((airports["split"] == "train").to_numpy())

# COMMAND ----------


class Regions(torch.nn.Module):
    """Two layers that take means of neighbours."""

    def __init__(self, width, classes):
        super().__init__()
        self.first, self.second = SAGEConv(width, 16), SAGEConv(16, classes)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


torch.manual_seed(0)
net = Regions(x.shape[1], len(regions))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(60):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(x, edge_index)[train], target[train])
    loss.backward()
    optimizer.step()
net.eval()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Export
# MAGIC
# MAGIC The module is run once and recorded, and has to give the same numbers on other graphs.
# MAGIC `graphsweep.mlflow.log_model(model)` logs it to MLflow instead; then `infer(graph, "models:/regions@prod")`.

# COMMAND ----------

model = Model.from_pyg(net)
model.save(folder / "trained", overwrite=True)
print(model)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Every node, by its own id
# MAGIC
# MAGIC The same numbers as PyG's.

# COMMAND ----------

graph = prepare(Graph(nodes, edges), f"{folder}/graph", overwrite=True)
scores = infer(graph, folder / "trained", classify=True).toPandas().sort_values("id")
with torch.no_grad():
    of_pyg = net(x, edge_index).numpy()
difference = np.abs(np.stack(scores["output"]) - of_pyg).max()
print(f"largest difference from PyG: {difference:.1e}")
assert difference < 1e-4 * np.abs(of_pyg).max()
display(scores.head())
