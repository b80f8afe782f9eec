"""A page in a headless browser, where there is one: it is drawn, without a word of complaint, and asks for nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import Graph, prepare, score
from pipeline.explain import Explanation
from pipeline.report.page_file import PageFile
from pipeline.settings import Settings
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("GRAPHSWEEP_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; GRAPHSWEEP_BROWSER names one")
def test_pages_are_drawn(tmp_path: Path, no_session: None) -> None:
    graph = prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "g", 3)
    score(graph, build("sage"), tmp_path / "o", classify=True, report=tmp_path / "run.html")
    page = PageFile.asked(tmp_path / "plan.html", "explain", {})
    Explanation.of(graph, build("sage")).with_page(page, Settings())
    for name in ("run", "plan"):
        picture = tmp_path / f"{name}.png"
        command = [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path}/profile", "--window-size=1100,2400", f"--screenshot={picture}",
            f"file://{tmp_path}/{name}.html",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert picture.read_bytes().startswith(b"\x89PNG"), done.stderr
        assert picture.stat().st_size > 50_000, "an empty page is smaller"
        assert "CONSOLE" not in done.stderr, done.stderr  # a refused request, an error of the page
