"""Edge programs as machine code: a reduction over edges becomes one generated loop over tiles.

In reading order: reduction (what a superstep calls), edge_program (what the loop computes), index and scope (how text
is written), expression (a value as statements), scalar and functions (operations as code), loops (the loop around
them), dense (what BLAS computes before the loop), sorting (what needs all messages of a node), load (text → compiled
function).
"""

from pipeline.compiler.reduction import Accumulator, CompiledReduction, compile_reduction

__all__ = ["Accumulator", "CompiledReduction", "compile_reduction"]
