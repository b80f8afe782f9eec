"""Runs that are killed at random, for as long as one likes.

python -m tests.soak --runs 1000 --minutes 60 --seed 0
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.runs import soak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(place), given.seed, given.runs, given.minutes)
    print(f"{found.runs} runs, {found.kills} kills, {len(found.wrong)} wrong", *found.wrong, *found.left, sep="\n")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
