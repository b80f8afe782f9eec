"""The reductions over edges, one a file: the closed table. CONTRIBUTING.md says how one is added."""

from pipeline.formula.reductions.edge_rows import EDGE_ROWS
from pipeline.formula.reductions.extremes import MAX, MIN
from pipeline.formula.reductions.last import LAST
from pipeline.formula.reductions.logsumexp import LOGSUMEXP
from pipeline.formula.reductions.prod import PROD
from pipeline.formula.reductions.quantile import QUANTILE
from pipeline.formula.reductions.record import SEEN, EdgeWork, Reduction, State
from pipeline.formula.reductions.softmax import SOFTMAX_STATE, SOFTMAX_SUM, softmax
from pipeline.formula.reductions.sum import SUM

REDUCTIONS = {
    record.name: record
    for record in (SUM, PROD, MAX, MIN, LOGSUMEXP, QUANTILE, LAST, SOFTMAX_SUM, SOFTMAX_STATE, EDGE_ROWS)
}

__all__ = ["EDGE_ROWS", "REDUCTIONS", "SEEN", "EdgeWork", "Reduction", "State", "softmax"]
