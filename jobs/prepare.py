"""Prepare a graph: `spark-submit jobs/prepare.py --nodes N --edges E --output G`; as `graphsweep prepare`."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])
