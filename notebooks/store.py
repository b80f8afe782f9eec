"""Run the notebooks, and keep what they show: `python notebooks/store.py`, before a commit that changes what they show.

Comes in: the notebooks beside this file. Goes out: the same, with outputs; without what Java says when it starts, and
without times of cells, which are of a machine and not of the notebook.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
OF_JAVA = re.compile(r"^(?:WARNING: |Using Spark's |Setting |To adjust |\d\d/\d\d/\d\d ).*\n?", re.MULTILINE)


def clean(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                output.text = OF_JAVA.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" or output.text.strip()]


def main() -> None:
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(HERE)}}).execute()
        clean(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
