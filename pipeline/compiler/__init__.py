"""Edge programs as machine code: a reduction over edges becomes one generated loop over tiles.

In reading order: edge_pass (what a superstep calls), reduction (one of a pass), edge_program (what the loop computes),
index and scope (how text is written), expression (a value as statements), functions (what these may call), loops (the
loop around them), joint_loop (one around several reductions), dense (what BLAS computes before the loop), sorting (what
needs all messages of a node), load and call (text → compiled function).
"""

from pipeline.compiler.edge_pass import EdgePass
from pipeline.compiler.reduction import Accumulator, CompiledReduction, compile_reduction

__all__ = ["Accumulator", "CompiledReduction", "EdgePass", "compile_reduction"]
