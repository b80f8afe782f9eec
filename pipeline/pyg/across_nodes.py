"""aten operations that no formula has, because they compare all nodes with each other: said in one sentence each.

Rows of a table have no order, and a table of a billion nodes has no N x N matrix.
"""

from __future__ import annotations

from pipeline.pyg.call import Call, Handler
from pipeline.pyg.symbols import End, Refusal, Symbol

BEFORE = (
    "the rows of a table have no order: import the part of the module before it (for top-k or sort pooling, the layers "
    "before the pooling)"
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


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("sort", "argsort", "topk", "kthvalue", "msort"), _ordered),
    **dict.fromkeys(("_cdist_forward", "cdist", "_euclidean_dist"), _distances),
}
