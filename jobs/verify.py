"""Recompute some nodes: `spark-submit jobs/verify.py --graph G --model M --output O`; as `graphsweep verify`."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["verify", *sys.argv[1:]])
