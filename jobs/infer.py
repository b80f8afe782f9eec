"""Run a model over a graph: `spark-submit jobs/infer.py --graph G --model M --output O`; as `graphsweep infer`."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["infer", *sys.argv[1:]])
