"""What a run did, as a run of MLflow: parameters, metrics, fingerprints, the report.

Comes in: the report of a run, and the marker of its scores. Goes out: a run of MLflow, made when the scores are there.
Whether MLflow can be reached is found out before work starts; if it cannot be afterwards, the scores stay, and the log
says so. Knows nothing of how a run is carried out.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from pipeline.errors import GraphsweepError, SettingError
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.places.registered import check_installed, said_by_mlflow, store_of
from pipeline.result.report import Report

log = logging.getLogger("graphsweep")

ASKED = "--mlflow"
REPORT = "report.json"
MOST_LETTERS = 500  # of a parameter: MLflow's own limit has been this since its beginning


class Tracking:
    """An experiment of MLflow that can be written to."""

    def __init__(self, asked: str = ASKED) -> None:
        """Asks MLflow for the experiment: the active one, or that of MLFLOW_EXPERIMENT_NAME, or the default. `asked`:
        what needs MLflow, for messages.

        SettingError if MLflow is not installed, nobody said where it is, or it does not answer.
        """
        check_installed(f"{asked} needs")
        self._asked, self._where, self._began = asked, store_of(asked), time.time_ns() // 1_000_000
        import mlflow
        from mlflow.tracking.fluent import _get_experiment_id  # what mlflow.start_run asks, too

        with said_by_mlflow(f"{asked}: MLflow at {self._where}", SettingError):
            self._client = mlflow.MlflowClient()
            self._experiment = str(self._client.get_experiment(_get_experiment_id() or "0").experiment_id)

    def log(
        self,
        report: Report,
        asked: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        scores: Place | None = None,
    ) -> str:
        """Logs a run: into the active one of this process, or a new one, which is ended. Its id.

        Parameters
        ----------
        asked
            What was asked for, besides what the marker of the scores says: name → value.
        metrics
            What was measured, besides what the report says.
        scores
            Where the files of the scores are, if they became a table; else where the report says.

        SettingError if MLflow refuses.
        """
        import mlflow
        from mlflow.entities import Metric, Param, RunTag

        marker = _marker(scores or Place.of(report.output))
        now = time.time_ns() // 1_000_000
        params = [Param(name, str(value)[:MOST_LETTERS]) for name, value in _parameters(report, marker, asked or {})]
        numbers = {**_metrics(report), **(metrics or {})}
        each = [Metric(name, value, now, 0) for name, value in numbers.items()]
        for step in report.supersteps:
            found = {"seconds": step.seconds, "shipped_bytes": step.shipped, "kept_bytes": step.kept}
            each += [
                Metric(f"superstep_{name}", float(value), now, step.number)
                for name, value in found.items()
                if value is not None
            ]
        with said_by_mlflow(f"{self._asked}: MLflow at {self._where}", SettingError):
            active = mlflow.active_run()
            run: str = (
                active.info.run_id
                if active is not None
                else self._client.create_run(
                    self._experiment, start_time=self._began, run_name=f"graphsweep {report.run}"
                ).info.run_id
            )
            done = "FAILED"
            try:
                self._client.log_batch(run, each, params, [RunTag("graphsweep.run", report.run)])
                self._client.log_dict(run, {**report.facts, "marker": marker}, REPORT)
                done = "FINISHED"
            finally:
                if active is None:
                    self._client.set_terminated(run, done)
        log.info("logged to MLflow at %s, run %s", self._where, run)
        return run

    def try_to_log(
        self, report: Report, asked: Mapping[str, Any], metrics: Mapping[str, float], scores: Place | None = None
    ) -> str | None:
        """The same for scores that are there, whatever MLflow says now; None if it refuses. A report that says that
        nothing was done is not logged again."""
        if report.skipped:
            return None
        try:
            return self.log(report, asked, metrics, scores)
        except GraphsweepError as error:
            log.warning("the scores are written, but not logged: %s", error)
            return None


def log_report(report: Report, asked: Mapping[str, Any] | None = None) -> str:
    """Logs what `score` did as a run of MLflow: into the active one, or a new one in the active experiment. Its id.

    Parameters
    ----------
    asked
        More parameters: `{"model": "models:/fraud@prod", "day": "2026-11-28"}`.

    Raises
    ------
    SettingError
        If MLflow is not installed, nobody said where it is, or it refuses.
    """
    if not isinstance(report, Report):
        raise SettingError(f"log_report takes what score gives, not {type(report).__name__}")
    return Tracking("log_report").log(report, asked)


def _parameters(report: Report, marker: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What decides about the bits of the scores, and what ran."""
    told: dict[str, Any] = {
        **asked,
        **(marker.get("settings") or {}),
        "output": report.output,
        "tier": report.tier,
        "spark": report.spark,
        "graph_fingerprint": marker.get("graph"),
        "model_fingerprint": marker.get("model"),
        "graphsweep": marker.get("graphsweep"),
    }
    return [(_NOT_ALLOWED.sub(".", name).strip("."), value) for name, value in told.items() if value is not None]


def _metrics(report: Report) -> dict[str, float]:
    import resource

    return {
        "seconds": report.seconds,
        "prepare_seconds": report.prepare_seconds,
        "rows": float(report.rows),
        "driver_peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT),
    }


_NOT_ALLOWED = re.compile(r"[^\w./: -]")  # in names of MLflow: nodes[account] is nodes.account
_UNIT = 1 if sys.platform == "darwin" else 1024  # of what getrusage counts


def _marker(scores: Place) -> dict[str, Any]:
    """What the scores were made of; nothing where only Spark reaches them. Their files are not named one by one."""
    here = opened(scores)
    found = read_marker(here) if here is not None else None
    return {name: value for name, value in (found or {}).items() if name != "files"}
