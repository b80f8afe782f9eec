"""Layers written as formulas, for models that never saw torch. One a file: paper, formula, weights, shapes.

Weights have the names that PyG gives them, so that a state dict can be used as it is.
"""

from pipeline.layers.gat import gat
from pipeline.layers.gatv2 import gatv2
from pipeline.layers.gcn import gcn
from pipeline.layers.gin import gin
from pipeline.layers.hgt import hgt
from pipeline.layers.rgcn import rgcn
from pipeline.layers.sage import sage

LAYERS = {"gat": gat, "gatv2": gatv2, "gcn": gcn, "gin": gin, "sage": sage}
TYPED_LAYERS = {"hgt": hgt, "rgcn": rgcn}  # for graphs with several types

__all__ = ["LAYERS", "TYPED_LAYERS", "gat", "gatv2", "gcn", "gin", "hgt", "rgcn", "sage"]
