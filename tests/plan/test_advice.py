"""What would change a run: said where it matters, and nothing else."""

from __future__ import annotations

from pipeline.plan.advice import advice
from pipeline.plan.counts import Counts
from pipeline.plan.memory import SLACK, WORKER_BYTES, block_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.shipped import shipped_bytes
from pipeline.plan.tier import choose_tier
from pipeline.shown import size
from tests.counts import counts as counts_of
from tests.counts import with_edges
from tests.formulas import build

COUNTS = counts_of(
    [100_000] * 8, [2_000_000] * 8, [200_000] * 8, [0] * 8, [40_000_000] * 8, in_degree=[1000] * 8,
    pulled=[70_000] * 8, pushed=[50_000] * 8, push_bytes=[1_000_000] * 8,
)  # fmt: skip
TINY = counts_of([100, 50], [1000, 10], [300, 5], [1, 0], [10_000, 500], in_degree=[9, 2])
PULL = Plan.of(build("sage"))
PLAN = choose_exchange(PULL, COUNTS)
PLENTY = 1 << 40


def said(
    plan: Plan, counts: Counts, memory: int, tier: str = "auto", cores: int = 2, one_machine: bool = True
) -> list[str]:
    return advice(plan, counts, choose_tier(plan, counts, memory, tier, one_machine, cores), cores)


def test_a_tiny_graph_needs_none() -> None:
    plan = Plan.of(build("sage"))
    assert said(plan, TINY, PLENTY, cores=64) == []
    # stages and tasks of Spark are all that it takes
    assert said(plan, TINY, PLENTY, "distributed", cores=64) == ["tier auto would be fused: under 0.1 s"]


def test_how_much_memory_would_change_the_tier() -> None:
    choice = choose_tier(PLAN, COUNTS, PLENTY, threads=2)
    need, bare = choice.all_in_memory, choice.with_spill
    assert said(PLAN, COUNTS, PLENTY) == []
    border = f"below {size(need)} node values wait on disk; below {size(bare)} it is distributed"
    assert said(PLAN, COUNTS, 2 * need) == [border]
    assert said(PLAN, COUNTS, need - 1) == [
        f"with {size(need)} nothing waits on disk; below {size(bare)} it is distributed"
    ]
    first, *others = said(PLAN, COUNTS, need - 1, one_machine=False)
    assert first.startswith(f"with {size(need)} in one task it would be fused, with {size(bare)} too if there is one")
    assert not any(line.startswith("a task needs") for line in others)
    # the borders are those of the choice itself
    assert choose_tier(PLAN, COUNTS, need, one_machine=True, threads=2).tier == "fused"
    assert choose_tier(PLAN, COUNTS, bare - 1, one_machine=True, threads=2).tier == "distributed"


def test_a_block_that_is_too_large_for_a_task() -> None:
    most = SLACK * block_bytes(PLAN, COUNTS, 0)
    memory = WORKER_BYTES + int(most / 3)
    line = next(line for line in said(PLAN, COUNTS, memory) if line.startswith("a task needs"))
    assert line == f"a task needs {size(WORKER_BYTES + most)} for the largest block: prepare with 25 blocks or more"


def test_what_other_settings_would_ship() -> None:
    asked = said(PULL, COUNTS, PLENTY, "distributed")
    now, then = (sum(shipped_bytes(COUNTS, step) for step in plan.steps) for plan in (PULL, PLAN))
    assert f"exchange auto would ship {size(then)} instead of {size(now)}" in asked
    assert f"wire float16 would ship half: {size(now / 2)}" in asked
    assert f"wire float16 would ship half: {size(then / 2)}" in said(PLAN, COUNTS, PLENTY, "distributed")
    short = choose_exchange(Plan.of(build("sage"), wire="float16"), COUNTS)
    assert not any("ship" in line for line in said(short, COUNTS, PLENTY, "distributed"))
    assert not any("ship" in line for line in said(PULL, COUNTS, PLENTY)), "fused nothing is shipped"


def test_whether_more_cores_or_blocks_would_pay() -> None:
    large = with_edges(COUNTS, edges=[200_000_000] * 8)
    assert said(PLAN, large, PLENTY, cores=2)[-1].startswith("4 cores would take about ")
    assert not any("cores" in line for line in said(PLAN, large, PLENTY, cores=8)), "there are 8 blocks"
    assert said(PLAN, large, PLENTY, cores=64) == ["64 blocks would give all cores something to do: 8 of 64 have"]
    wide = with_edges(COUNTS, payload_in=[2_000_000] * 8)
    assert said(PULL, wide, PLENTY, "distributed")[0].startswith("tier auto would be fused: about ")
