"""Say what a run would do: `spark-submit jobs/explain.py --graph G --model M`; as `graphsweep explain`."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["explain", *sys.argv[1:]])
