"""Notebooks run top to bottom, wherever they are started, and are kept with what they show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def text_of(notebook: nbformat.NotebookNode) -> str:
    """All that the cells have printed or shown, as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def shows_a_picture(notebook: nbformat.NotebookNode) -> bool:
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    return any("image/png" in data for data in shown)


def execute(notebook: nbformat.NotebookNode, start: str) -> None:
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / start)}}).execute()


def test_flights_runs_from_tables_to_map() -> None:
    notebook = read(ROOT / "notebooks" / "flights.ipynb")
    execute(notebook, "notebooks")
    printed = text_of(notebook)
    assert "514 nodes, 9,161 edges" in printed
    assert "PASS" in printed
    assert shows_a_picture(notebook)


def test_flights_finds_the_tables_from_the_root_too() -> None:
    notebook = read(ROOT / "notebooks" / "flights.ipynb")
    last = next(number for number, cell in enumerate(notebook.cells) if "show(" in cell.source)
    notebook.cells = [*notebook.cells[: last + 1], notebook.cells[-1]]
    execute(notebook, ".")
    assert "Lehigh Valley International Airport" in text_of(notebook)


def test_payments_runs_from_tables_to_a_ring() -> None:
    notebook = read(ROOT / "notebooks" / "payments.ipynb")
    execute(notebook, "notebooks")
    printed = text_of(notebook)
    assert "all types: PASS" in printed
    assert "no output of the model depends on edges (card, buys at, merchant)" in printed
    assert shows_a_picture(notebook)


def test_airlines_runs_from_tables_to_a_map() -> None:
    notebook = read(ROOT / "notebooks" / "airlines.ipynb")
    execute(notebook, "notebooks")
    printed = text_of(notebook)
    assert "{'airport': (514, 16), 'carrier': (12, 16)}" in printed
    assert "all types: PASS" in printed
    assert "Myrtle Beach (MYR)" in printed
    assert shows_a_picture(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_with_what_it_shows(path: Path) -> None:
    """For readers who do not run it; nothing of the machine that ran it (notebooks/store.py). A cell that defines a
    function is a module waiting to be written."""
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "PASS" in text_of(notebook)
    assert shows_a_picture(notebook)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not re.findall(r"hostname|loopback|/tmp/|/home/|/root/|\d+\.\d+\.\d+\.\d+", text_of(notebook))
    defined = [node for cell in code for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
    assert not defined
