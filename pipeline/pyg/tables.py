"""The closed tables, joined: aten operation → how its result is said as a symbol.

Adding an operation is one line in the table of its idea. An operation that is in none of them is first taken apart into
the ones by which torch itself defines it.
"""

from __future__ import annotations

from pipeline.pyg import (
    across_nodes,
    aten_elementwise,
    aten_factories,
    aten_join,
    aten_lanes,
    aten_matmul,
    aten_scatter,
    aten_shape,
    aten_sparse,
    aten_take,
)
from pipeline.pyg.aten_factories import FACTORIES
from pipeline.pyg.aten_shape import SHAPE_ONLY
from pipeline.pyg.aten_sparse import OF_MATRICES
from pipeline.pyg.call import Handler

TABLES = (
    across_nodes,
    aten_elementwise,
    aten_shape,
    aten_join,
    aten_factories,
    aten_lanes,
    aten_matmul,
    aten_take,
    aten_scatter,
    aten_sparse,
)
HANDLERS: dict[str, Handler] = {name: handler for table in TABLES for name, handler in table.HANDLERS.items()}
assert len(HANDLERS) == sum(len(table.HANDLERS) for table in TABLES), "an operation stands in two tables"

# what torch's definitions of its own operations use besides aten; other names than aten's for the arguments
PRIMS: dict[str, Handler] = {"convert_element_type": aten_elementwise.cast}

__all__ = ["FACTORIES", "HANDLERS", "OF_MATRICES", "PRIMS", "SHAPE_ONLY"]
