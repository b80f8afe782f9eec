"""The rewrites of a program, one a file: a function value → value (or None), with a before and after in its docstring.

Each keeps the meaning; lower.py says in which order they run.
"""

from pipeline.lowering.rewrites.factor_sums import factor_sums
from pipeline.lowering.rewrites.flip_to_leaves import flip_of_softmax, flip_to_leaves, merge_reversed
from pipeline.lowering.rewrites.fold_weights import fold_affine, fold_weights
from pipeline.lowering.rewrites.fuse_softmax import expand_softmax, fuse_softmax
from pipeline.lowering.rewrites.join_views import join_views
from pipeline.lowering.rewrites.move_linear import linear_after_sum, linear_before_sum
from pipeline.lowering.rewrites.normal_form import (
    constants_stay,
    identities,
    reshape_of_elementwise,
    restrict_to_leaves,
    thin_product,
    totals_stay,
)
from pipeline.lowering.rewrites.push_to_ends import push_to_ends
from pipeline.lowering.rewrites.relation_maps import map_after_softmax, map_of_query
from pipeline.lowering.rewrites.shared_softmax import shared_softmax
from pipeline.lowering.rewrites.split_linear import linear_of_concat, linear_of_concat_at_dst
from pipeline.lowering.rewrites.split_self_loops import split_self_loops
from pipeline.lowering.rewrites.sum_linears import sum_linears, sum_of_stack, whole_sums

__all__ = [
    "constants_stay",
    "expand_softmax",
    "factor_sums",
    "flip_of_softmax",
    "flip_to_leaves",
    "fold_affine",
    "fold_weights",
    "fuse_softmax",
    "identities",
    "join_views",
    "linear_after_sum",
    "linear_before_sum",
    "linear_of_concat",
    "linear_of_concat_at_dst",
    "map_after_softmax",
    "map_of_query",
    "merge_reversed",
    "push_to_ends",
    "reshape_of_elementwise",
    "restrict_to_leaves",
    "shared_softmax",
    "split_self_loops",
    "sum_linears",
    "sum_of_stack",
    "thin_product",
    "totals_stay",
    "whole_sums",
]
