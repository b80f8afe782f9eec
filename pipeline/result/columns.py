"""What the columns of a result are called, decided and checked before any work.

Comes in: a model's outputs, a graph's ids, what the user asks for. Goes out: an `OutputTable` for each type, of
whose columns no two have one name. Knows nothing of how rows are computed, and opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import SettingError
from pipeline.formula.attributes import check_name
from pipeline.formula.program import PARALLEL, Program
from pipeline.places.given import check_flags
from pipeline.result.flat import lanes_of
from pipeline.result.output import MILLISECONDS, PREDICTED, PROBABILITY, SUPERSTEP, OutputTable
from pipeline.result.written import CSV, PARQUET
from pipeline.schema import DST, EDGE, NODE, SRC, AnyType

if TYPE_CHECKING:
    from pipeline.graph import Graph
    from pipeline.prepared import PreparedGraph

IDS = "the ids"
ENDS, OWN = "the ids of the edges' ends", "a column of the edges"
CLASS, SHARE = "the class that classify adds", "the probability that classify adds"
NAMES = "the labels that the model's classes make of the output "
CLOCK = "a column that is kept for the run itself"


@dataclass(frozen=True)
class Columns:
    """What is asked of a result's columns, beside the outputs of the model. SettingError for a name that no column can
    have."""

    classify: bool = False
    """Whether the predicted class and its probability are added."""
    output_id: str | None = None
    """What the ids are called; None: as in the node table."""

    def __post_init__(self) -> None:
        check_flags(classify=self.classify)
        if self.output_id is None:
            return
        try:
            check_name("the column of ids", self.output_id)
        except ValueError as error:
            raise SettingError(f"output_id=: {error}") from None

    def ids(self, graph: Graph | PreparedGraph) -> dict[str, str]:
        """Node type → what the column of its ids is called."""
        return {type: self.output_id or name for type, name in graph.id_names.items()}

    def tables(
        self,
        program: Program,
        graph: Graph | PreparedGraph,
        format: str = PARQUET,
        classes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> tuple[OutputTable, ...]:
        """A table for each type that the program has outputs for. `classes`: of the model.

        Raises
        ------
        SettingError
            If two columns of a table would have the same name, or names that differ by case only: Spark takes these for
            the same.
        """
        if not set(program.output_types) <= graph.widths.keys():
            return ()  # a model of other types: who looks at what it reads says so
        if program.is_per_edge and self.output_id is not None:
            raise SettingError("output_id= names the ids of nodes, and the result of this model has a row per edge")
        own = _widths(graph) if program.is_per_edge else None
        tables = OutputTable.of_program(program, graph.id_types, self.ids(graph), self.classify, own, classes)
        for table in tables:
            _refuse_same(table, format)
        return tables


def _widths(graph: Graph | PreparedGraph) -> dict[AnyType, dict[str, int]]:
    """The columns of each type, with the numbers in a row; 1 where only the rows tell."""
    return {type: {name: width or 1 for name, width in of.items()} for type, of in graph.widths.items()}


def _refuse_same(table: OutputTable, format: str) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name, what in _named(table, format):
        other = seen.setdefault(name.lower(), (name, what))
        if other == (name, what):
            continue
        of_type = "" if table.type in (NODE, EDGE) else f" of {str(table.type)!r}"
        case = "" if other[0] == name else f", which differs from {other[0]!r} by case only"
        raise SettingError(
            f"the result{of_type} would have two columns {name!r}{case}: {other[1]}, and {what}; "
            f"{_remedy(other[1], what)}"
        )


def _named(table: OutputTable, format: str) -> list[tuple[str, str]]:
    """Each column that is written, and what it is."""
    found = [(table.id_name, IDS)]
    if table.edge_columns is not None:
        found = [(SRC, ENDS), (DST, ENDS), (PARALLEL, "which of parallel edges it is")]
        found += [(name, OWN) for name in table.edge_columns]
    for name in table.outputs:
        lanes = lanes_of(name, table.widths[name]) if format == CSV and name in table.widths else [name]
        found += [(lane, f"the output {name!r}") for lane in lanes]
    if table.classify:
        found += [(PREDICTED, CLASS), (PROBABILITY, SHARE)]
    found += [(name, f"{NAMES}{label.output!r}") for name, label in table.labels.items()]
    return [*found, (SUPERSTEP, CLOCK), (MILLISECONDS, CLOCK)]


def _remedy(first: str, second: str) -> str:
    if OWN in (first, second):
        return "--edge-features NEW=COLUMN, edge_features={NEW: COLUMN} call the column of the edges otherwise"
    if IDS in (first, second):
        return "output_id=NAME calls the ids otherwise"
    if second.startswith(NAMES):
        return "export the model with other names of its outputs, or without classes"
    or_else = ", or leave classify out" if second in (CLASS, SHARE) else ""
    return f"export the model with other names of its outputs{or_else}"
