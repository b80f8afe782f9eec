"""OpenLineage: which tables a command reads and writes, told to a catalogue, if its client is there and configured.

Comes in: paths, what came of the command. Goes out: START, then COMPLETE or FAIL, by the client's own configuration
(OPENLINEAGE_URL, openlineage.yml). Is never worth a run: what goes wrong here is a line of --verbose, and a server that
is away is waited for PATIENCE at most, when the run has ended.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import GraphsweepError
from pipeline.places.place import Place

log = logging.getLogger("graphsweep")

PATIENCE = 5.0
"""Seconds for the last events, when the run has ended."""
PRODUCER = "urn:graphsweep"
FILES = (Path("openlineage.yml"), Path.home() / ".openlineage" / "openlineage.yml")


class Lineage:
    """Of one command that runs."""

    def __init__(self, command: str, reads: Mapping[str, str | None], output: str) -> None:
        """`reads`: what it is → a path, or None."""
        self._output = _dataset(output)
        self._inputs = [found for path in reads.values() if path is not None and (found := _dataset(path))]
        name = self._output[1].rstrip("/").rpartition("/")[2] if self._output else "output"
        self._job = f"graphsweep.{command}.{name}"
        self._rows: int | None = None
        self._waiting: queue.SimpleQueue[tuple[str, datetime, str | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, name="lineage", daemon=True)
        self._thread.start()

    def made(self, rows: int | None) -> None:
        """What came of it."""
        self._rows = rows

    def tell(self, state: str, error: str | None = None) -> None:
        """START, COMPLETE or FAIL; returns at once."""
        self._waiting.put((state, datetime.now(timezone.utc), error))

    def close(self) -> None:
        """Waits until all is sent, PATIENCE at most."""
        self._waiting.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            log.debug("lineage: no answer after %.0f s; the last events may be lost", PATIENCE)

    def _send(self) -> None:
        try:
            from openlineage.client import OpenLineageClient
            from openlineage.client.uuid import generate_new_uuid

            client, run = OpenLineageClient(), str(generate_new_uuid())
        except Exception as error:  # of a library that we do not know: a wrong configuration, a version of its own
            log.debug("lineage: %s: %s", type(error).__name__, error)
            return
        while (next := self._waiting.get()) is not None:
            try:
                client.emit(self._event(run, *next))
            except Exception as error:
                log.debug("lineage: %s: %s", type(error).__name__, error)
        try:
            client.close()
        except Exception as error:
            log.debug("lineage: %s: %s", type(error).__name__, error)

    def _event(self, run: str, state: str, at: datetime, error: str | None) -> Any:
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run, output_statistics_output_dataset

        failed = {"errorMessage": error_message_run.ErrorMessageRunFacet(error, "python")} if error else {}
        written = {}
        if self._rows is not None and state == "COMPLETE":
            facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=self._rows)
            written = {"outputStatistics": facet}
        outputs = [OutputDataset(*self._output, outputFacets=written)] if self._output else []
        return RunEvent(
            eventType=RunState[state],
            eventTime=at.isoformat(),
            run=Run(run, facets=failed),
            job=Job(os.environ.get("OPENLINEAGE_NAMESPACE", "default"), self._job),
            producer=PRODUCER,
            inputs=[InputDataset(*each) for each in self._inputs],
            outputs=outputs,
        )


@contextmanager
def lineage(command: str, reads: Mapping[str, str | None], output: str) -> Iterator[Lineage | None]:
    """Tells of what runs within: None where there is no client, or nobody has configured it."""
    if not _is_configured():
        yield None
        return
    told = Lineage(command, reads, output)
    told.tell("START")
    try:
        yield told
        told.tell("COMPLETE")
    except BaseException as error:
        told.tell("FAIL", str(error) or type(error).__name__)
        raise
    finally:
        told.close()


def _is_configured() -> bool:
    """Without a configuration the client would write events to its log."""
    if not any(name.startswith("OPENLINEAGE") for name in os.environ) and not any(file.is_file() for file in FILES):
        return False
    try:
        return find_spec("openlineage.client") is not None
    except ModuleNotFoundError:
        return False


def _dataset(path: str) -> tuple[str, str] | None:
    """(namespace, name) as OpenLineage has them: of a disk ("file", path), of a bucket ("s3://bucket", key). None of a
    path that is none: the command will say so."""
    try:
        place = Place.of(path)
    except GraphsweepError:
        return None
    if place.is_local:
        return "file", place.path
    return f"{place.scheme}://{place.authority}", place.path if place.scheme == "hdfs" else place.path.lstrip("/")
