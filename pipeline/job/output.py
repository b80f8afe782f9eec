"""What a job can say of its output before Spark is started: it must not go there, or it is there already.

Comes in: a wish, settings. Goes out: refusals, or a report. Where paths without a scheme lie is known only if there is
a session, or if there is none to be; else this waits, and the library looks itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.schemes import LOCAL
from pipeline.places.through_spark import default_filesystem
from pipeline.prepared import PreparedGraph
from pipeline.report.run_report import reads_of
from pipeline.result.destination import refuse
from pipeline.result.inputs import inputs_of
from pipeline.result.manifest import origin
from pipeline.result.report import Report
from pipeline.result.wish import Wish
from pipeline.run.located import ids_of
from pipeline.run.transport import refuse_work_dir
from pipeline.score import find_same
from pipeline.settings import Settings
from pipeline.spark.session import active_session
from pipeline.tables.identity import identity
from pipeline.tables.targets import Targets, digest_of_all

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Asked:
    """An output that was asked for."""

    def __init__(self, wish: Wish, settings: Settings, default: str | None, spark: SparkSession | None) -> None:
        """`default` is the file system of paths without a scheme; None while it is not known."""
        self._wish, self._settings, self._default, self._spark = wish, settings, default, spark
        self.place = Place.of(wish.output, default or LOCAL)
        self._known = default is not None or not self.place.is_plain
        self.tables: dict[str, Any] | None = None
        """What raw tables are known by that this process reads."""

    @staticmethod
    def of(wish: Wish, settings: Settings, optional: bool) -> Asked:
        """`optional`: whether this machine may do without Spark, and so is where all paths lead."""
        spark = active_session()
        default = default_filesystem(spark) if spark is not None else LOCAL if optional else None
        return Asked(wish, settings, default, spark)

    @property
    def is_reached(self) -> bool:
        """Whether this process opens the place, as far as that is known. Else Spark has to be asked before any work:
        it may have no way there either."""
        return not self._known or opened(self.place) is not None

    def refuse_overlap(self, tables: Mapping[str, str | None], files: Mapping[str, str | None]) -> None:
        """SettingError if the output is, holds or lies in something that is read."""
        if self._known:
            given = inputs_of(settings=self._settings, tables=tables, files=files, default=self._default or LOCAL)
            refuse_overlap(self.place, given)
            refuse_work_dir(self._settings, self.place, given)

    def refuse_overlap_with(self, graph: PreparedGraph) -> None:
        """The same for a prepared graph, and the tables that it was made of."""
        if self._known:
            refuse_overlap(self.place, inputs_of(graph))
            refuse_work_dir(self._settings, self.place, inputs_of(graph))

    def reads(
        self, tables: Mapping[str, str | None], files: Mapping[str, str | None], graph: PreparedGraph | None
    ) -> dict[str, Place]:
        """What is read, and what else is written: a report must not touch it."""
        of_graph = {} if graph is None else inputs_of(graph)
        given = inputs_of(settings=self._settings, tables=tables, files=files, default=self._default or LOCAL)
        return reads_of({**given, **of_graph}, self.place, self._settings)

    def find_same(self, model: Model, graph: Graph | PreparedGraph | None) -> Report | None:
        """The report of the same result, if it is there, and that is enough. What is wrong with targets, and with names
        of columns, is said."""
        wish = self._wish
        if graph is None or not self._known or (wish.targets is not None and not self._reads(wish.targets)):
            return None
        fingerprint = graph.fingerprint if isinstance(graph, PreparedGraph) else None
        if isinstance(graph, Graph):
            self.tables = identity(graph)
        wish.columns.tables(model.program, graph, wish.format, model.classes)
        targets = None if wish.targets is None else digest_of_all(ids_of(wish.targets, graph, self._spark))
        ids = wish.columns.ids(graph)
        wanted = origin(
            model, self._settings, wish.format, wish.classify, ids, fingerprint, self.tables, wish.types, targets
        )
        return find_same(self.place, wish, wanted, self._spark)

    def _reads(self, targets: Targets) -> bool:
        return self._spark is not None or not targets.needs_spark

    def refuse_taken(self) -> None:
        """StorageError if something is there that may not be replaced."""
        if self._known and self._wish.if_same is None:
            refuse(self.place, self._wish.overwrite, self._spark)
