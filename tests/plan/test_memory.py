"""Bytes and the tier that follows from them."""

from __future__ import annotations

from dataclasses import replace

from pipeline.plan.memory import WORKER_BYTES, _crossing_floats, block_bytes, fused_bytes, spilled_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import kept_bytes, shipped_bytes, total_bytes, total_lanes
from pipeline.plan.tier import choose_tier
from pipeline.schema import EDGE
from pipeline.shown import size
from tests.counts import counts as counts_of
from tests.counts import with_edges
from tests.formulas import build

LARGE = counts_of([1 << 20] * 64, [1 << 24] * 64, [1 << 20] * 64, [0] * 64, [1 << 26] * 64)
COUNTS = counts_of([100, 50], [1000, 10], [300, 5], [1, 0], [10_000, 500])


def test_the_tier_follows_from_the_memory() -> None:
    plan = Plan.of(build("sage"))
    need = fused_bytes(plan, COUNTS)
    assert need > COUNTS.static_bytes[0], "a block is in memory while it is worked at"
    assert choose_tier(plan, COUNTS, WORKER_BYTES + 2 * need).tier == "fused"
    small = choose_tier(plan, COUNTS, WORKER_BYTES)
    assert small.tier == "distributed"
    assert "which has 262 MB" in small.reason


def test_one_machine_spills_before_it_shuffles() -> None:
    plan = Plan.of(build("sage"))
    need, bare = fused_bytes(plan, LARGE), spilled_bytes(plan, LARGE)
    between = WORKER_BYTES + 2 * bare
    assert between < need
    assert choose_tier(plan, LARGE, between).tier == "distributed"
    assert choose_tier(plan, LARGE, between, one_machine=True, reads_files=False).tier == "distributed", (
        "it is sent all blocks"
    )
    choice = choose_tier(plan, LARGE, between, one_machine=True)
    assert (choice.tier, choice.spills) == ("fused", True)
    assert "node values wait on disk" in choice.reason
    assert choose_tier(plan, LARGE, WORKER_BYTES, one_machine=True).tier == "distributed"
    assert not choose_tier(plan, LARGE, WORKER_BYTES + 2 * need, one_machine=True).spills
    assert choose_tier(plan, LARGE, between, "fused").spills, "asked for: on a cluster too"


def test_every_thread_has_a_block_in_memory() -> None:
    plan = Plan.of(build("gat"))
    blocks = sorted(block_bytes(plan, COUNTS, block, fused=True) for block in range(2))
    assert fused_bytes(plan, COUNTS, 2) - fused_bytes(plan, COUNTS, 1) == blocks[0]
    assert fused_bytes(plan, COUNTS, 9) == fused_bytes(plan, COUNTS, 2)


def test_a_fused_run_holds_no_payload() -> None:
    """But what it copies of a tile, and an array of what is sent together."""
    sage, two = Plan.of(build("sage")), Plan.of(build("gated"))
    many = with_edges(COUNTS, payload_in=[300_000, 5])
    assert fused_bytes(sage, many) - fused_bytes(sage, COUNTS) == 4 * 299_700, "the longer send lists"
    assert block_bytes(sage, many, 0) > block_bytes(sage, COUNTS, 0) + 4 * 299_700
    (shipment,) = two.steps[0].ships
    assert len(shipment.values) == 2
    alone = replace(two.steps[0], ships=[replace(shipment, values=shipment.values[:1])])
    together = tuple(value.id for value in shipment.values)
    assert _crossing_floats(COUNTS, two.steps[0])[together] == 150 * shipment.width
    assert together not in _crossing_floats(COUNTS, alone)


def test_totals_are_one_row_per_block_and_not_per_node() -> None:
    steps = Plan.of(build("graph_norm")).steps
    assert [total_lanes(step) for step in steps] == [1, 4, 4, 0, 0]
    assert [total_bytes(COUNTS, step) for step in steps] == [2 * 2 * 8, 2 * 2 * 4 * 8, 2 * 2 * 4 * 8, 0, 0]
    assert kept_bytes(COUNTS, steps[1]) == 150 * 4 * 4 + 2 * 1 * 4


def test_the_user_decides() -> None:
    choice = choose_tier(Plan.of(build("sage")), COUNTS, 1 << 40, "distributed")
    assert choice.tier == "distributed"
    assert choice.reason.startswith("asked for")


def test_the_heaviest_block_needs_most() -> None:
    plan = Plan.of(build("gat"))
    assert block_bytes(plan, COUNTS, 0) > block_bytes(plan, COUNTS, 1) > COUNTS.static_bytes[1]


def test_edges_against_their_direction_have_rows_of_their_own() -> None:
    both = with_edges(COUNTS, EDGE.reversed, payload_in=[7, 600], stored=[4_000, 200])
    (first, *_), one_way = Plan.of(build("both_ways")).steps, Plan.of(build("both_ways"), undirected=True).steps[0]
    width = first.ships[0].width
    assert {shipment.edge_type for shipment in first.ships} == {EDGE, EDGE.reversed}
    assert shipped_bytes(both, first) == 4 * width * (305 + 1 + 607 + 1)
    assert shipped_bytes(both, one_way) == 4 * width * (305 + 1)
    plan = Plan.of(build("sage"))  # which reads nothing of what is reversed
    assert fused_bytes(plan, both) == fused_bytes(plan, COUNTS) - 4_000
    assert block_bytes(plan, both, 1) == block_bytes(plan, COUNTS, 1) - 200


def test_sizes_for_people() -> None:
    assert [size(n) for n in (0, 999, 1500, 123_456, 2.5e9, 3e12)] == [
        "0 B", "999 B", "1.5 KB", "123 KB", "2.5 GB", "3.0 TB"
    ]  # fmt: skip
