"""aten operations that no formula has, because they compare all nodes with each other: said in one sentence each.

Rows of a table have no order, and a table of a billion nodes has no N x N matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.pyg.call import Call, Handler
from pipeline.pyg.symbols import End, Refusal, Rows, Symbol

BEFORE = (
    "the rows of a table have no order: import the part of the module before it (for top-k or sort pooling, the layers "
    "before the pooling)"
)
STEPS = (
    "the rows of a table have no order: a recurrent layer takes its steps from an axis of their own, (nodes, steps, "
    "numbers) with batch_first=True"
)
NEIGHBOURS = "give the neighbours as the table of edges, found once, and let forward take edge_index"


def _ordered(call: Call) -> Symbol:
    """sort, argsort, topk: over the rows; over the lanes of a row too, which no formula has either."""
    if isinstance(call["self"], End):
        raise Refusal("sorts the edges by the numbers of their nodes", BEFORE)
    rows, dim = call.rows("self"), call.get("dim", -1)
    if rows.is_whole or dim % max(rows.rank, 1) != rows.axis:
        raise Refusal("is not supported on the columns of a row")
    raise Refusal(f"sorts all {rows.space}, or takes the largest of them", BEFORE)


def _distances(call: Call) -> Symbol:
    raise Refusal("computes the distance of every node to every other (k-NN): a dense N x N matrix", NEIGHBOURS)


def one_by_one(operation: str, arguments: Mapping[str, Any]) -> Refusal | None:
    """Why a recording ends here: forward goes through the rows one by one, in a loop or as steps of a recurrent layer.
    To go on would take as many operations as there are nodes."""
    rows = arguments.get("self")
    if operation != "unbind" or not isinstance(rows, Rows) or rows.is_whole or rows.before or rows.after:
        return None
    if arguments["dim"] % rows.rank != rows.axis:
        return None
    return Refusal(f"goes through the {rows.space} one by one, as through the steps of a sequence", STEPS)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("sort", "argsort", "topk", "kthvalue", "msort"), _ordered),
    **dict.fromkeys(("_cdist_forward", "cdist", "_euclidean_dist"), _distances),
}
