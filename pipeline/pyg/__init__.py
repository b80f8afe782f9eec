"""PyTorch Geometric modules as programs: the only place that imports torch.

In reading order: importer (the page that tells it), arguments and example (what forward is given), recording and
recorder (one forward, operation by operation), symbols and layout (what a tensor stands for), edge_parts, chosen and
node_masks (some of the rows), the tables aten_*.py, overwritten, library and aggregations, check, load.
"""

from pipeline.pyg.importer import import_module, imported

__all__ = ["import_module", "imported"]
