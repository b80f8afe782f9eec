"""Into how many blocks a graph is cut.

Comes in: how large its tables are, what a task may use. Goes out: a number, or a refusal. Knows nothing of tables.
"""

from __future__ import annotations

import logging
import math

from pipeline.errors import SettingError

log = logging.getLogger("graphsweep")

# 131 072 nodes: what tiles read of 64 float32 features is 32 MB, and mostly stays in cache (0.56 s instead of 1.1 s
# for one aggregation over 16.8M edges).
BLOCK_NODES = 1 << 17
# More blocks than this only if memory asks for them: every block more is another copy of the hubs (1.8 rows
# shipped per node with 8 blocks, 6.8 with 128).
MOST_BLOCKS = 256
# A block of fewer nodes than this is mostly its own fixed costs: two files and a task.
FEWEST_NODES = 64


def choose_blocks(nodes: int, edges: int, width: int, task_memory: int = 1 << 30, cores: int = 1) -> int:
    """How many blocks: about 131 072 nodes in each, but no more than 256 unless a block would not fit a task's memory.

    A graph of one block's size is one block; a larger one has at least a block for each core.
    """
    if nodes <= BLOCK_NODES and edges <= 16 * BLOCK_NODES:
        return 1
    # records are held three times, as they arrived, in order, and as rows
    needed = math.ceil(3 * record_bytes(nodes, edges, width) / task_memory)
    return max(needed, cores, min(math.ceil(nodes / BLOCK_NODES), MOST_BLOCKS))


def check_blocks(blocks: int, chosen: int, nodes: int) -> None:
    """SettingError for blocks of less than FEWEST_NODES on average; a warning for far more than the size asks for."""
    most = max(MOST_BLOCKS, nodes // FEWEST_NODES, chosen)
    if blocks > most:
        raise SettingError(
            f"blocks is {blocks:,}, and the graph has {nodes:,} nodes: each block is a task and two files, and "
            f"at most {most:,} are worth it here; {chosen:,} is what its size asks for, and is chosen without blocks"
        )
    if blocks > 16 * chosen:
        log.warning(
            "blocks is %s, where the size of the graph asks for %s: each is a task and two files, with its own costs",
            f"{blocks:,}",
            f"{chosen:,}",
        )


def record_bytes(nodes: int, edges: int, width: int) -> int:
    """Of all keys and features: 8 + 4 * width bytes a node, 16 an edge."""
    return nodes * (8 + 4 * width) + edges * 16
