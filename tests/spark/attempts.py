"""Run by spark-submit: calls of the library in one session, and what each says. Argument: a file with a list of
[name, function, graph or tables, output], where functions are prepare, score, and command, which is `infer`; and the
path of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline import Graph, Settings, cli, prepare, score
from pipeline.errors import GraphsweepError


def main(cases: str, model: str) -> None:
    spark = SparkSession.builder.getOrCreate()
    said: Any
    for name, function, source, output, settings in json.loads(Path(cases).read_text()):
        try:
            graph: Any = source if isinstance(source, str) else Graph.read(spark, *source)
            if function == "command":
                done = CliRunner().invoke(cli.app, ["infer", "--graph", graph, "--model", model, "--output", output])
                said = [done.exit_code, done.output]
            elif function == "prepare":
                said = prepare(graph, output).nodes
            else:
                said = score(graph, model, output, settings=Settings.of(settings), spark=spark).rows
        except GraphsweepError as error:
            said = f"{type(error).__name__}: {error}"
        sys.stdout.write(f"\nSAID {json.dumps([name, said])}\n")
        sys.stdout.flush()
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
