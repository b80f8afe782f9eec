"""An import runs on one thread: it is thousands of operations on small tensors.

Two threads only wait for each other at each of them: HeteroConv of 24 relations, two layers, takes 6.1 core-seconds
with one thread and 33.6 with two, on two busy cores (jobs/bench/typed.py has rows of imports).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """For what torch and NumPy compute meanwhile; the caller's numbers of threads are as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
