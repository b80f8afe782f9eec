"""Pages of the site that are files elsewhere in the repository, and links that lead out of docs/.

Comes in: a page's Markdown, whose links are right in the repository. Goes out: Markdown for the site, where files
beside docs/ do not exist: a link goes to the page that shows the file, else it becomes the file's name as text. MkDocs
calls `on_page_markdown` for each page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SHOWN = {"pipeline/pyg/COVERAGE.md": "models.md", "pipeline/formula/README.md": "formulas.md"}  # file → page
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    sources = {shown: source for source, shown in SHOWN.items()}
    source = sources.get(page.file.src_uri)
    if source is not None:
        markdown = (ROOT / source).read_text(encoding="utf-8")
    folder = posixpath.dirname(source or f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri) or "."

    def inward(link: re.Match[str]) -> str:
        text, anchor = link[1], link[3] or ""
        file = posixpath.normpath(posixpath.join(folder, link[2]))
        if file in SHOWN or file.startswith("docs/"):
            target = SHOWN.get(file) or file.removeprefix("docs/")
            return f"[{text}]({posixpath.relpath(target, here)}{anchor})"
        return f"{text} (`{file}`)"

    return LINK.sub(inward, markdown)
