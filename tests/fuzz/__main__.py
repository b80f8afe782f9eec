"""Counts, more cases, or a single one: see the package's docstring."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.pool import SECONDS, play
from tests.fuzz.test_fuzz import KINDS
from tests.fuzz.worker import outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("kind", nargs="?", choices=list(KINDS))
    parser.add_argument("--cases", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--case", type=int)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one case")
    given = parser.parse_args()
    if given.kind is None:
        for kind, cases in KINDS.items():
            print(f"{kind:10}{cases:7,}")
        print(f"{'all':10}{sum(KINDS.values()):7,}")
        return 0
    if given.case is not None:
        return one(given.kind, given.case)
    count = KINDS[given.kind] if given.cases is None else given.cases
    played = play(given.kind, range(given.first, given.first + count), given.processes, given.seconds)
    for case, report in sorted(played.failures.items()):
        print(f"---- {given.kind} {case}: {report}")
    print(f"{given.kind}: {played}; {len(played.failures)} failed: {sorted(played.failures)}")
    return 1 if played.failures else 0


def one(kind: str, case: int) -> int:
    here = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-{case}-"))
    (here / "cwd").mkdir()
    os.chdir(here / "cwd")
    try:
        print(outcome(importlib.import_module(f"tests.fuzz.{kind}").play, case, here))
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        print(f"its files: {here}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
