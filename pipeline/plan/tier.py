"""The tier of a run: fused, in one task, or distributed, a Spark stage per superstep.

Comes in: a plan, the counts of a prepared graph, what a task has. Goes out: a choice, with the reason in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan.counts import Counts
from pipeline.plan.memory import SLACK, WORKER_BYTES, fused_bytes, spilled_bytes
from pipeline.plan.plan import Plan
from pipeline.shown import size


@dataclass(frozen=True)
class Choice:
    """A tier, and why."""

    tier: str
    reason: str
    spills: bool = False
    """fused: whether node values wait on disk from one superstep to the next."""
    all_in_memory: int = 0
    """Bytes that a fused run wants of its task."""
    with_spill: int = 0
    """The same if node values wait on disk."""
    memory: int = 0
    """Bytes that a task has."""


def choose_tier(
    plan: Plan,
    counts: Counts,
    task_memory: int,
    wanted: str = "auto",
    one_machine: bool = False,
    threads: int = 1,
    reads_files: bool = True,
) -> Choice:
    """fused if the whole run fits one task, else distributed; or what the user wants.

    Parameters
    ----------
    one_machine
        There are no other machines, so that one task with `threads` has all there is. Then it is fused too if only what
        the threads are working at fits, since a shuffle would write the same values to the same disk several times.
    reads_files
        Whether the task opens blocks itself, one for each thread at a time; else it is sent all of them.
    """
    sent = 0 if reads_files else int(SLACK * sum(counts.static_of(plan)))
    all_in_memory = WORKER_BYTES + int(SLACK * fused_bytes(plan, counts, threads)) + sent
    with_spill = WORKER_BYTES + int(SLACK * spilled_bytes(plan, counts, threads)) + sent
    spills = all_in_memory > task_memory
    fused = wanted == "fused" or (wanted == "auto" and (not spills or (one_machine and with_spill <= task_memory)))
    reason = f"the whole run needs about {size(all_in_memory)} in one task, which has {size(task_memory)}"
    if fused and spills:
        reason += f"; node values wait on disk, and {size(with_spill)} stay in memory"
    if wanted != "auto":
        reason = f"asked for; {reason}"
    return Choice("fused" if fused else "distributed", reason, fused and spills, all_in_memory, with_spill, task_memory)
