"""Models and runs in MLflow.

    import graphsweep.mlflow

    graphsweep.mlflow.log_model(model, "model", registered_model_name="fraud")
    model = graphsweep.mlflow.load_model("models:/fraud@prod")
    graphsweep.mlflow.log_report(score(graph, model, "scores"))

Needs `pip install 'graphsweep[mlflow]'`; importing this needs nothing.
"""

from __future__ import annotations

from pipeline.mlflow.flavour import FLAVOUR, load_model, log_model, save_model
from pipeline.mlflow.tracking import log_report

__all__ = ["FLAVOUR", "load_model", "log_model", "log_report", "save_model"]
