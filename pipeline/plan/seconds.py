"""Seconds: what a run takes, by a small model that was calibrated on one machine. An estimate, not a promise.

Comes in: a plan, the counts of a prepared graph, a tier, cores. Goes out: seconds, and what they are spent on. Each
kind of work (work.py) has one rate; blocks are then given to the cores in their order, as the tiers do, so that a heavy
block and cores without a block show.

The rates are core-seconds of warm runs: kernels compiled, files in the system's cache, Spark started. They were fitted
(least squares of relative errors) to the parts of fused runs of 13 models of 16 to 256 lanes on R-MAT graphs of 2^16,
2^18 and 2^20 nodes, 16 edges per node, 8 blocks, on one of 2 cores of an AMD EPYC that others used too; then moved by
hand until the whole runs fitted. `python -m jobs.bench.explain` prints predicted beside measured. MOVED, STAGE and TASK
are of distributed runs of one GraphSAGE 64→64→32 at 2^16 to 2^22 nodes (`python -m jobs.bench.rivals.growth`): 4.2,
5.6, 12.4 and 33.5 s were measured where 4.2, 5.7, 11.0 and 30.7 s are text.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import FLOAT
from pipeline.plan.work import Work, works

FILES = "files"
MACHINE = "an AMD EPYC of 2 cores"
READING, EDGES, NODES, WRITING, MOVING, STARTING = "reading", "edges", "nodes", "writing", "moving", "starting"


class Rate(NamedTuple):
    """What one unit of a kind of work takes."""

    part: str
    seconds: float
    """Core-seconds per unit, which are those of Work."""


MOVED = 1 / 60e6  # core-seconds of a byte on its way from worker to worker: 60 MB/s
PRODUCT = 0.02e-9  # a multiply-add in BLAS: 50 billion in a second
RATES: Mapping[str, Rate] = {
    "opened": Rate(READING, 2.6e-3),
    "read": Rate(READING, 0.36e-9),  # 2.8 GB/s, from the system's cache
    "tiles": Rate(EDGES, 0.2e-3),
    "sent_rows": Rate(EDGES, 45e-9),  # a row comes from anywhere
    "sent_lanes": Rate(EDGES, 2.3e-9),
    "edges": Rate(EDGES, 25e-9),
    "edge_lanes": Rate(EDGES, 0.18e-9),
    "weighed_lanes": Rate(EDGES, 0.9e-9),
    "edge_costly": Rate(EDGES, 1.6e-9),
    "array_lanes": Rate(EDGES, 0.95e-9),
    "sorted_lanes": Rate(EDGES, 15e-9),
    "edge_products": Rate(EDGES, PRODUCT),
    "node_lanes": Rate(NODES, 1.0e-9),
    "kept_lanes": Rate(NODES, 2.0e-9),  # memory that is new to the process: 1 ns where it is not, 2 to 9 where it is
    "node_costly": Rate(NODES, 1.0e-9),
    "node_products": Rate(NODES, PRODUCT),
    "node_matrices": Rate(NODES, 45e-9),  # of 16 by 16, whose multiply-adds alone are 5e-9
    "rows": Rate(WRITING, 100e-9),
    "written": Rate(WRITING, 12e-9),  # 320 MB/s, Parquet
    "moved": Rate(MOVING, MOVED),
}
STORED = 1 / 0.7e9  # core-seconds of a byte that a superstep leaves in a file: written, and read where others need it
JOB = 0.2  # seconds of a Spark job of tasks that send through files: nothing is planned but a range of numbers
STAGE = 1.0  # seconds of a Spark stage, whatever it does: planned, started, its end noticed
TASK = 0.05  # core-seconds of a task: sent, its worker woken, its result fetched


@dataclass(frozen=True)
class Seconds:
    """Of one run."""

    tier: str
    cores: int
    """Those that have something to do: no more than there are blocks."""
    steps: Sequence[float]
    """Of each superstep."""
    parts: Mapping[str, float]
    """reading, edges, nodes, writing; and distributed also moving. The rest is starting stages and tasks."""

    @property
    def total(self) -> float:
        return sum(self.steps)


def expect(plan: Plan, counts: Counts, tier: str, cores: int) -> Seconds:
    """What a run takes, on so many cores: of one task (fused), or of all tasks together. `tier`: fused; distributed,
    through Spark's shuffle; or files: distributed, through files."""
    cores = max(1, min(cores, counts.blocks))
    distributed = tier == "distributed"
    steps, parts = [], dict.fromkeys((READING, EDGES, NODES, WRITING, MOVING, STARTING), 0.0)
    first = STAGE if distributed else JOB if tier == FILES else 0.0  # a fused run is one stage at most
    for step, made in zip(plan.steps, works(plan, counts), strict=True):
        blocks = [_parts(one, distributed) for one in made]
        if tier == FILES:
            left = [] if step.outputs else step.live_out
            for block, one in enumerate(blocks):
                one[MOVING] = STORED * FLOAT * counts.lanes_of(left, block)
                one[STARTING] = TASK
        work = [sum(one.values()) for one in blocks]
        until = _until(work, cores)
        for name in blocks[0] if blocks else ():
            parts[name] += sum(one[name] for one in blocks) * until / (sum(work) or 1)
        parts[STARTING] += first
        steps.append(until + first)
    return Seconds(tier, cores, steps, {name: spent for name, spent in parts.items() if spent})


FINDING = 15e-9
"""Core-seconds to choose an edge, of those that are then computed with."""
CHOSEN_ROWS = ("node_lanes", "kept_lanes", "node_costly", "node_products", "node_matrices", "rows", "written")
CHOSEN_READ = ("opened", "read")


def expect_part(plan: Plan, counts: Counts, cores: int, shares: Sequence[tuple[float, float]]) -> float:
    """Seconds of a fused run for some nodes. `shares`: of each superstep, of its nodes and of its edges."""
    total = 0.0
    for made, (nodes, edges) in zip(works(plan, counts), shares, strict=True):
        blocks = []
        for one in made:
            # what is left of the work; the parts of a block are read whole
            part = {
                name: amount * (1.0 if name in CHOSEN_READ else nodes if name in CHOSEN_ROWS else edges)
                for name, amount in one._asdict().items()
            }
            finding = 0.0 if (nodes, edges) == (1.0, 1.0) else FINDING * part["edges"]
            blocks.append(finding + sum(_parts(Work(**part), False).values()))
        total += _until(blocks, max(1, min(cores, counts.blocks)))
    return total


def core_seconds(plan: Plan, counts: Counts) -> dict[str, float]:
    """What all blocks of a fused run take on one core, part by part, but for Spark."""
    found: dict[str, float] = {}
    for made in works(plan, counts):
        for one in made:
            for name, spent in _parts(one, False).items():
                found[name] = found.get(name, 0.0) + spent
    return found


def _parts(work: Work, distributed: bool) -> dict[str, float]:
    parts: dict[str, float] = {STARTING: TASK} if distributed else {}
    for name, amount in work._asdict().items():
        rate = RATES[name]
        if distributed or rate.part != MOVING:
            parts[rate.part] = parts.get(rate.part, 0.0) + amount * rate.seconds
    return parts


def _until(work: Sequence[float], cores: int) -> float:
    """When the last block is done, if each goes to the core that is free first."""
    free = [0.0] * cores
    for seconds in work:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def duration(seconds: float) -> str:
    """Seconds for people, no more exact than they are known: 0.4 s, 12 s, 4 min, 3 h."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def about(seconds: float) -> str:
    """The same within a sentence."""
    text = duration(seconds)
    return text if text.startswith("under") else f"about {text}"
