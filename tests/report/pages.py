"""A page as a browser takes it, and what no page may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

OUTSIDE = re.compile(r"@import|url\((?!#)|\b(?:src|href|srcset|action|poster)\s*=")
DRAWN = re.compile(r'src="data:image/svg\+xml;base64,[A-Za-z0-9+/=]+"')


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.words = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.tags.append(self.get_starttag_text() or "")
        self.words += " "

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] == [("style", {})]:
            self.styles.append(data)
        self.words += data

    @property
    def text(self) -> str:
        return " ".join(self.words.split())

    def assert_self_contained(self) -> None:
        assert self.html.startswith("<!doctype html>")
        assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in self.elements}
        assert not OUTSIDE.findall(DRAWN.sub("", "".join([*self.tags, *self.styles])))
        assert not [name for _, attributes in self.elements for name in attributes if name.startswith("on")]
        assert "default-src 'none'" in self.html
