"""How many rows an exchange ships, by the number of blocks: what docs/scaling.md reckons with.

    python -m jobs.bench.boundary --scale 18 --degrees 16 45 --blocks 8 32 128 512

Counted on an R-MAT graph in memory, nodes placed as `prepare` does it, in multiples of the number of nodes. Pull: each
src's row once for each block that has an edge from it. Hybrid: an edge whose dst has more edges in its tile than its
src is pushed, as one of the partial results for that dst. It grows little with the graph, but with its degree and P.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.bench.graph import Parameters, draw_edges, spread
from jobs.bench.table import table
from pipeline.kernels.hash import blocks_of

Longs = npt.NDArray[np.int64]


def boundary_rows(src: Longs, dst: Longs, blocks: int) -> tuple[int, int]:
    """Rows by pull, and by the hybrid."""
    pull, pull_degree, pull_at = pairs(src, block_of(dst, blocks), blocks)
    push, push_degree, push_at = pairs(dst, block_of(src, blocks), blocks)
    pulled = pull_degree[pull_at] >= push_degree[push_at]
    first = np.zeros(len(pull), bool)
    first[pull_at[pulled]] = True
    partial = np.zeros(len(push), bool)
    partial[push_at[~pulled]] = True
    return len(pull), int(first.sum() + partial.sum())


def pairs(nodes: Longs, block: Longs, blocks: int) -> tuple[Longs, Longs, Longs]:
    """Distinct (node, block at the other end): all of them, the edges of each, and for each edge the number of its."""
    found, at, degree = np.unique(nodes * blocks + block, return_inverse=True, return_counts=True)
    return found, degree, at


def block_of(nodes: Longs, blocks: int) -> Longs:
    out = np.empty(len(nodes), np.int32)
    blocks_of(spread(nodes), blocks, out)
    return out.astype(np.int64)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=18, help="2 ** SCALE nodes (18)")
    parser.add_argument("--degrees", type=int, nargs="+", default=[16, 45], help="edges per node (16 45)")
    parser.add_argument("--blocks", type=int, nargs="+", default=[8, 32, 128, 512], help="(8 32 128 512)")
    given = parser.parse_args(arguments)
    rows = []
    for degree in given.degrees:
        parameters = Parameters(given.scale, degree)
        src, dst = draw_edges(np.random.default_rng(parameters.seed), parameters.edges, given.scale)
        other = src != dst  # a self-loop is shipped to nobody
        for blocks in given.blocks:
            pull, hybrid = (count / parameters.nodes for count in boundary_rows(src[other], dst[other], blocks))
            rows.append([str(degree), str(blocks), f"{pull:.2f}", f"{hybrid:.2f}", f"{hybrid / pull:.2f}"])
    print(table(["edges per node", "blocks", "pull", "hybrid", "ratio"], rows))


if __name__ == "__main__":
    main()
