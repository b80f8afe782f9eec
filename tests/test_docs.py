"""The documents: the site is built without a warning, its commands and code run, and messages it quotes are ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent.parent
DOCS = ROOT / "docs"


def _fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site. --strict: a page that the menu lacks, a link or an anchor that leads nowhere is an error."""
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


def test_each_document_is_a_page(site: Path) -> None:
    there = {page.relative_to(site) for page in site.rglob("*.html")}
    assert {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")} <= there


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page.read_text(encoding="utf-8")), (
            page
        )


def test_files_beside_the_documents_are_pages_too(site: Path) -> None:
    assert "AGNNConv" in (site / "models.html").read_text(encoding="utf-8")
    assert "The four primitives" in (site / "formulas.html").read_text(encoding="utf-8")
    assert 'href="typed.html"' in (site / "formulas.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in pipeline.__all__ if name != "GraphsweepError"])
def test_the_reference_has_each_public_name(site: Path, name: str) -> None:
    home = getattr(pipeline, name).__module__
    assert f'id="{home}.{name}"' in (site / "reference.html").read_text(encoding="utf-8")


def test_messages_that_are_quoted_are_those_of_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a text in two lines of code
    quoted = re.findall(r"^\| `([^`]+)` \|", (DOCS / "messages.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) > 15
    assert [text for text in quoted if text not in code] == []


def test_the_commands_of_the_first_page_run(tmp_path: Path) -> None:
    script = "".join(block for block in _fenced("index.md", "sh") if "graphsweep" in block)
    assert script.count("graphsweep ") == 4
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "PASS"


def test_both_ways_to_write_an_own_layer_give_the_same(no_session: None) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn import Linear
    from torch_geometric.nn import MessagePassing

    from graphsweep import Graph, infer

    written, imported, formula = _fenced("own-layer.md", "python")
    names = {"torch": torch, "Linear": Linear, "MessagePassing": MessagePassing}
    torch.manual_seed(0)
    exec(written + "\nfrom graphsweep import Model\nnet = Gated(64).eval()\n", names)
    exec(imported.replace("Gated(64).eval()", "net"), names)
    of_pyg = names.pop("model")
    names["weights"] = {name: value.numpy() for name, value in names["net"].state_dict().items()}
    exec(formula, names)

    rng = np.random.default_rng(0)
    nodes = {"id": list(range(30)), "x": rng.normal(size=(30, 64)).astype(np.float32).tolist()}
    edges = {"src": rng.integers(0, 30, 99).tolist(), "dst": rng.integers(0, 30, 99).tolist()}
    graph = Graph(pa.table(nodes), pa.table(edges))
    one, other = (infer(graph, model).column(1) for model in (of_pyg, names["model"]))
    np.testing.assert_allclose(np.stack(one.to_numpy()), np.stack(other.to_numpy()), rtol=1e-5, atol=1e-5)
