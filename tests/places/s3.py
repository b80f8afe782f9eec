"""A real server of S3's protocol on this machine, which can be told to fail: moto's, in a thread.

What comes in: nothing. What goes out: buckets, each by a name of its own, which pyarrow reaches as a user's process
does: by AWS_ENDPOINT_URL and the credentials of the environment.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.fs as fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Fault = Callable[[dict[str, Any], int], str | None]
"""(the request, its number) → None, "503": the server is too busy, "denied", "drop": the connection is closed."""


class Server:
    """Serves until the process ends."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._fault: Fault = lambda request, number: None
        self._numbers = itertools.count()
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""
        self.failed = 0
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        server = make_server("127.0.0.1", 0, self, threaded=True)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, name="S3", daemon=True).start()

    def __call__(self, request: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests.append((request["REQUEST_METHOD"], request["PATH_INFO"]))
        how = self._fault(request, next(self._numbers))
        if how is None:
            answer: Iterable[bytes] = self._moto(request, start_response)
            return answer
        self.failed += 1
        length = int(request.get("CONTENT_LENGTH") or 0)
        request["wsgi.input"].read(length)
        if how == "drop":
            request["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        code, status = {"503": ("SlowDown", "503 Slow Down"), "denied": ("AccessDenied", "403 Forbidden")}[how]
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Until the end of the block, and nothing of it afterwards."""
        before, self._fault = self._fault, fault
        self._numbers, self.failed = itertools.count(), 0
        try:
            yield
        finally:
            self._fault = before

    @property
    def environment(self) -> dict[str, str]:
        """What a user of such a server sets."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # else the SDK asks a machine of the cloud for a second, and once more
        }

    def filesystem(self) -> fs.FileSystem:
        return fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            access_key="anybody",
            secret_key="secret",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def bucket(self, name: str) -> Bucket:
        store = self.filesystem()
        store.create_dir(name)
        return Bucket(self, name, store)


class Bucket:
    """A bucket, and what a test looks at."""

    def __init__(self, server: Server, name: str, store: fs.FileSystem) -> None:
        self.server, self.name, self.store = server, name, store

    def __truediv__(self, path: str) -> str:
        return f"s3://{self.name}/{path}"

    def put(self, path: str, content: bytes) -> None:
        with self.store.open_output_stream(f"{self.name}/{path}") as stream:
            stream.write(content)

    def get(self, path: str) -> bytes:
        with self.store.open_input_stream(f"{self.name}/{path}") as stream:
            content: bytes = stream.read()
        return content

    def names(self) -> list[str]:
        """Of all objects."""
        found = self.store.get_file_info(fs.FileSelector(self.name, recursive=True))
        return sorted(info.path.removeprefix(f"{self.name}/") for info in found if info.is_file)


server_of_all: list[Server] = []


def server() -> Server:
    """One for all tests of a process: it takes a second to start."""
    if not server_of_all:
        server_of_all.append(Server())
    return server_of_all[0]
