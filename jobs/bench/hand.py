"""Two loops over edges as one would write them by hand with Numba, to time the generated ones against.

Comes in: a plan of one layer and the blocks of a graph. Goes out: the ratio of the times over the same tiles, payloads
and node values. The hand-written loops know their widths as constants, as the generated ones do.
"""

from __future__ import annotations

import functools
import math
import time
from statistics import median
from typing import Any

import numba
import numpy as np

from pipeline.blocks.block import Block
from pipeline.compiler import CompiledReduction
from pipeline.kernels.jit import read_only
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused

Tiles = list[tuple[Any, ...]]


def compare(plan: Plan, blocks: list[Block], rounds: int) -> float:
    """Seconds of the largest reduction's generated loop, divided by those of the loop by hand."""
    found: dict[int, tuple[CompiledReduction, Tiles]] = {}
    for step in plan.steps:
        for reduction in plan.compile(step).values():
            calls: Tiles = []
            found[reduction.value.id] = (reduction, calls)
            reduction.add = functools.partial(_noted, reduction, calls)  # type: ignore[method-assign]
    run_fused(plan, blocks)
    for reduction, _ in found.values():
        del reduction.add
    reduction, calls = max(found.values(), key=lambda entry: entry[0].value.width)
    hand = _softmax if reduction.value.op == "softmax_sum" else _sum
    ratios = []
    for number in range(rounds + 1):
        generated = _timed(lambda: _run(reduction, calls))
        by_hand = _timed(lambda: hand(reduction, calls))
        if number:  # the first round compiles
            ratios.append(generated / by_hand)
    return median(ratios)


def _noted(reduction: CompiledReduction, calls: Tiles, accumulator: Any, tile: Any, payload: Any, read: Any) -> None:
    local = {value.id: np.array(read(value)) for value in reduction.local}
    calls.append((len(accumulator.results[0]), tile, payload, local))
    CompiledReduction.add(reduction, accumulator, tile, payload, read)


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _run(reduction: CompiledReduction, calls: Tiles) -> None:
    for nodes, tile, payload, local in calls:
        accumulator = reduction.start(nodes, lambda value, local=local: local[value.id])
        reduction.add(accumulator, tile, payload, lambda value, local=local: local[value.id])


def _sum(reduction: CompiledReduction, calls: Tiles) -> None:
    width = reduction.value.width
    (lane,) = reduction.offsets.values()
    for nodes, tile, payload, _ in calls:
        out = np.zeros((nodes, width), np.float32)
        arrays = map(read_only, (tile.rows, tile.indptr, tile.indices, payload))
        sum_loop(width)(*arrays, lane, out)


def _softmax(reduction: CompiledReduction, calls: Tiles) -> None:
    heads, width = reduction.program.roots[0].width, reduction.value.width
    sent = sorted(reduction.sent, key=lambda value: value.width)  # a number per head, then the messages
    assert reduction.loop is not None
    (local,) = reduction.loop.local
    for nodes, tile, payload, values in calls:
        accumulator = reduction.start(nodes, lambda value, values=values: values[value.id])
        arrays = map(read_only, (tile.rows, tile.indptr, tile.indices, payload))
        at = [reduction.offsets[value.id] for value in sent]
        here = read_only(values[local.id].reshape(nodes, heads))
        softmax_loop(heads, width // heads)(*arrays, here, *at, *accumulator.results)


@functools.cache
def sum_loop(width: int) -> Any:
    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def loop(rows: Any, indptr: Any, indices: Any, payload: Any, lane: int, out: Any) -> None:
        for j in range(len(rows)):
            i = rows[j]
            for e in range(indptr[j], indptr[j + 1]):
                s = indices[e]
                for k in range(width):
                    out[i, k] += payload[s, lane + k]

    return loop


@functools.cache
def softmax_loop(heads: int, width: int) -> Any:
    """Attention in running form, edge by edge."""

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def loop(
        rows: Any, indptr: Any, indices: Any, payload: Any, here: Any, logit: int, lane: int,
        out: Any, top: Any, total: Any,
    ) -> None:  # fmt: skip
        slope = np.float32(0.2)
        for j in range(len(rows)):
            i = rows[j]
            for e in range(indptr[j], indptr[j + 1]):
                s = indices[e]
                for h in range(heads):
                    a = payload[s, logit + h] + here[i, h]
                    a = a if a > 0 else a * slope
                    if a > top[i, h]:
                        scale = np.float32(math.exp(top[i, h] - a))
                        total[i, h] *= scale
                        for k in range(width):
                            out[i, h * width + k] *= scale
                        top[i, h] = a
                    share = np.float32(math.exp(a - top[i, h]))
                    total[i, h] += share
                    for k in range(width):
                        out[i, h * width + k] += share * payload[s, lane + h * width + k]

    return loop
