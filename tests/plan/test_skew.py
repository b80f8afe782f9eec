"""How uneven blocks are, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.skew import ratio, skew_lines
from pipeline.schema import EDGE
from tests.counts import counts as counts_of
from tests.counts import with_edges
from tests.formulas import build
from tests.whole import pushing

EVEN = counts_of([100] * 4, [1000, 1010, 1020, 1070], [300, 300, 300, 306], [0] * 4, [10_000] * 4, in_degree=[20] * 4)
HUB = replace(with_edges(EVEN, edges=[1000, 9000, 1000, 1000]), in_degree=[20, 8000, 20, 20])
SAGE, GAT = Plan.of(build("sage")), Plan.of(build("gat"))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([], 1), ([7], 7 / 7), ([0, 0, 0], 1), ([0, 0, 5], math.inf), ([2, 3], 1.5), ([1, 2, 4, 4], 2), ([4, 1, 9], 2.25)],
)
def test_the_heaviest_over_the_median(numbers: list[float], expected: float) -> None:
    assert ratio(numbers) == expected


def test_even_blocks_are_one_line() -> None:
    (line,) = skew_lines(SAGE, EVEN)
    assert line.startswith("heaviest block over the median: edges 1.06, received 1.02, memory 1.0")


def test_one_block_has_no_skew() -> None:
    one = counts_of([100], [1000], [300], [0], [10_000], in_degree=[900])
    assert skew_lines(SAGE, one) == ["none, with one block"]


def test_blocks_of_which_most_are_empty() -> None:
    counts = counts_of([9, 0, 0], [50, 0, 0], [7, 0, 0], [0] * 3, [100, 0, 0], in_degree=[40, 0, 0])
    line, *_, received = skew_lines(SAGE, counts)
    assert "edges in 1 of 3 blocks only, received in 1 of 3 blocks only, memory in 1 of 3 blocks only" in line
    assert received == "block 0 receives 168 B after superstep 0, the median block 0 B"
    assert skew_lines(SAGE, counts_of([0] * 3, [0] * 3, [0] * 3, [0] * 3, [100, 0, 0]))[0].startswith(
        "heaviest block over the median: edges 1.00, received 1.00, memory"
    )


def test_what_helps_depends_on_the_reason() -> None:
    spread = replace(HUB, in_degree=[20] * 4)
    assert "block 1 has 9,000 edges, into many nodes: more blocks would spread them over the cores" in skew_lines(
        GAT, spread
    )
    hub = "block 1 has 9,000 edges, 8,000 of them into one node, which more blocks do not divide"
    assert hub in skew_lines(GAT, HUB), "a softmax has no partial results"
    fewer = with_edges(HUB, pulled=[100] * 4, pushed=[10] * 4)
    assert f"{hub}; exchange auto would let other blocks push what they have for it" in skew_lines(SAGE, fewer)
    assert f"{hub}; distributed, other blocks push what they have for it" in skew_lines(pushing(SAGE), fewer)
    assert f"{hub}; distributed, other blocks push what they have for it" in skew_lines(
        choose_exchange(SAGE, fewer), fewer
    )


def test_payloads_are_those_of_the_exchange_that_is_worst() -> None:
    uneven = with_edges(EVEN, payload_in=[300, 900, 300, 300])
    line, received = skew_lines(SAGE, uneven)
    assert "received 3.00" in line
    assert received == "block 1 receives 21.6 KB after superstep 0, the median block 7.2 KB"
    pushed = with_edges(uneven, pulled=[100] * 4, pushed=[10] * 4)
    assert "received 1.00" in skew_lines(pushing(SAGE), pushed)[0], "pushing evens it out"


def test_the_worst_of_several_exchanges() -> None:
    back = with_edges(EVEN, EDGE.reversed, payload_in=[300, 300, 1500, 300])
    line, received = skew_lines(Plan.of(build("both_ends")), back)
    assert "received 5.00" in line
    assert received.startswith("block 2 receives 72.0 KB after superstep 2, ")


def test_memory_alone() -> None:
    lines = skew_lines(SAGE, replace(EVEN, static_bytes=[10_000, 10_000, 10_000, 900_000]))
    assert lines[1].startswith("block 3 needs 9")
    assert lines[1].endswith("more blocks would divide it")
