"""What is missing where, and what to change: `spark-submit jobs/doctor.py --path P`; as `graphsweep doctor`."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["doctor", *sys.argv[1:]])
