"""Where the page of `explain` goes: refused before anything is read, if it cannot be made or cannot go there.

Comes in: paths. Goes out: a file that is going to be a page.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.prepared import open_graph
from pipeline.report.libraries import require_libraries
from pipeline.report.page_file import PageFile
from pipeline.report.run_report import reads_of
from pipeline.result.inputs import inputs_of
from pipeline.settings import Settings


def page_of_plan(given: str, graph: str, model: str, settings: Settings, files: Mapping[str, str | None]) -> PageFile:
    """SettingError or StorageError as for a report."""
    require_libraries("this page", ("jinja2",))
    reads = inputs_of(open_graph(graph), settings, files={"the model": model, **files})
    return PageFile.asked(given, "explain", reads_of(reads, None, settings), "page")
