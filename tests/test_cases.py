"""Cases of real life that were met in public models and in tables of users: a script each, which is run as it is.

They lie in the folder that GRAPHSWEEP_CASES names (.ci/run finds ../shared/cases), not in the project. A script of a
table says itself whether all came as expected. One of a model prints what an import gives: here stands what that has to
be, and the tests of tests/pyg hold the numbers.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pipeline.errors import GraphsweepError
from tests.places.small_disk import small_disk
from tests.pyg.test_torch_scatter import library  # noqa: F401 (a fixture)
from tests.spark.standalone import python_environment

pytestmark = pytest.mark.slow

CASES = Path(os.environ.get("GRAPHSWEEP_CASES", "/nowhere"))
NEEDED = "GRAPHSWEEP_CASES does not name the folder of cases, which is not in the project"

IMPORTED = r"\d+ values; print\(model\.program\) shows them"
IMPORTS = {
    "adj_t_with_values": r"say what its values are: inputs=\{'adj_t': \('edge_index', 'edges\.COLUMN'\)\}",
    "attribute_of_a_forward": IMPORTED,
    "branch_on_size": r"forward asks whether the number of nodes > 2,000 in branch_on_size\.py:12",
    "cannot_be_copied": IMPORTED,
    "data_attribute_not_given": r"forward reads data\.edge_weight, which inputs does not name: give inputs=",
    "data_by_another_name": r"\{'output': 4\}",
    "dense_product": "a dense product over the whole graph; use edge_index",
    "dropout_made_in_forward": r"bernoulli draws random numbers; .* of dropout: F\.dropout\(x, p, training=self",
    "forward_of_a_wrapper": r"\{'output': 8\}",
    "graph_inside": r"forward takes no edge_index; .* write forward\(self, x, edge_index\)",
    "graph_level": "one row for the whole graph .* import the part of the module before the pooling",
    "halves_by_position": "takes some of the edges by their position; the rows of a table have no order",
    "link_decode": r"unused=\['lin\.weight', 'lin\.bias'\]",
    "matrix_made_inside": IMPORTED,
    "no_edges": r"unused=\['conv\.bias', 'conv\.lin\.weight'\]",
    "node_and_edge_types": IMPORTED,
    "nodes_not_first": "keep the nodes in an axis of their own",
    "num_nodes_forgotten": "counts the nodes by the largest number in edge_index",
    "number_as_argument": IMPORTED,
    "one_output_of_several": r"to import the others: outputs=\['output_0'\]",
    "optional_argument_forgotten": r"unused=\['conv\.lin_edge\.weight'\]",
    "output_per_edge": IMPORTED,
    "own_container": r"if data\.graph holds tensors by their names, import a module whose forward\(x, edge_index\)",
    "scatter_max_of_torch_scatter": IMPORTED,
    "search_hides_the_reason": "forward of Net failed on an example graph .* 'SparseTensor' requires 'torch-sparse'",
    "sort_over_nodes": "sorts all nodes.* import the part of the module before it",
    "table_of_nodes": "store these rows as a column of the nodes",
    "two_edge_sets": IMPORTED,
}
BETTER = {
    # a list of one column of features is x, whatever the column is called: the run succeeds
    "messages": "prepare --features emb, then a model that reads x",
}


def scripts(folder: str) -> list[str]:
    return sorted(path.stem for path in (CASES / folder).glob("*.py") if not path.stem.startswith("_"))


@pytest.mark.skipif(not CASES.is_dir(), reason=NEEDED)
@pytest.mark.parametrize("name", scripts("import"))
def test_a_model(name: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    """A case that is not in the table is new: nothing but a GraphsweepError may end it."""
    if "torch_scatter" in name:
        request.getfixturevalue("library")
    said = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch
        try:
            runpy.run_path(str(CASES / "import" / f"{name}.py"), run_name="__main__")
        except GraphsweepError as error:
            said = str(error)
    said = f"{capsys.readouterr().out}\n{said}"
    assert re.search(IMPORTS.get(name, "."), said, re.DOTALL), said


@pytest.mark.skipif(not CASES.is_dir(), reason=NEEDED)
@pytest.mark.parametrize("name", scripts("tables"))
def test_tables(name: str, tmp_path: Path) -> None:
    if name == "disk_full":
        with small_disk(tmp_path / "disk", "100k"):
            pass  # it mounts one itself, and is skipped where nobody may
    environment = python_environment()
    done = subprocess.run(
        [sys.executable, f"{name}.py"],
        cwd=CASES / "tables",
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "as expected" in done.stdout
    others = [line for line in done.stdout.splitlines() if line.startswith("NOT AS EXPECTED ")]
    assert not [line for line in others if BETTER.get(name, "\0") not in line], done.stdout
