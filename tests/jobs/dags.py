"""What tests of the DAGs share: the flights as parameters, and a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DAGS, FLIGHTS = ROOT / "jobs" / "dags", ROOT / "data" / "flights"
PUBLISHED = "scores/2026-11-27"


def given(folder: Path, model: Path) -> dict[str, str]:
    """Parameters of a DAG, for the flights."""
    nodes, edges = FLIGHTS / "nodes.parquet", FLIGHTS / "edges.parquet"
    told = {"nodes": nodes, "edges": edges, "features": "x", "edge_features": "distance", "model": model}
    return {name: str(value) for name, value in {**told, "folder": folder}.items()}


@contextmanager
def webhook() -> Iterator[tuple[list[str], str]]:
    """What people are told: the texts that a webhook has got, and its address."""
    texts: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield texts, f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
