"""One writer at a time for a place: a small file beside it that says who is writing.

Comes in: the place that will be written, and a run's id. Goes out: the lock, held until the run has ended. A second
writer is refused, with the name of the first. A lock whose owner has died is taken over: a process of this machine that
is no more, or one of another machine whose lock has not been renewed for a while.

On disks the file is created whole or not at all, so that of two writers one has it. Object stores know no such thing:
there each looks again after it has written its own, and the one whose lock is there has it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened
from pipeline.places.place import Place

RENEWED = 5.0  # seconds from one renewal to the next
STALE = 30.0  # seconds without a renewal after which the owner, on another machine, counts as dead
SETTLE = 0.5  # seconds until two writers of an object store have seen each other


def new_run() -> str:
    """The id of a run: the time, for people, and what makes it the only one."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


class Lock:
    """`with Lock(place, opened, run): …`; StorageError at its entry if somebody else is writing there."""

    def __init__(self, place: Place, opened: Opened, run: str) -> None:
        self._place, self._filesystem = place, opened.filesystem
        self._local = opened.is_local
        parent, _, name = opened.path.rstrip("/").rpartition("/")
        self.path = f"{parent}/.{name}.graphsweep-lock"
        self._run = run
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lock of {name}", daemon=True)

    def __enter__(self) -> Lock:
        waited_until: float | None = None
        while not self._create():
            owner, renewed = self._owner()
            if owner is None and renewed is None:  # given back meanwhile
                continue
            if self._is_dead(owner, renewed):
                self._take_away(owner)
                continue
            if owner is not None and owner.get("host") != socket.gethostname() and waited_until is None:
                # its clock may not be ours: only a renewal that we see shows that it lives
                waited_until = self._wait_for_renewal(owner, renewed)
                continue
            raise StorageError(f"{self._place}: {_spelt(owner)} is writing there; nothing was touched")
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        if self.is_held():
            with suppress(OSError):
                self._filesystem.delete_file(self.path)

    def is_held(self) -> bool:
        """Whether it is still ours: asked again before anything is put in place."""
        owner, _ = self._owner()
        return owner is not None and owner.get("run") == self._run

    # ---- the file

    def _text(self) -> str:
        process = psutil.Process()
        facts = {"run": self._run, "host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
        return json.dumps({"product": "graphsweep", "kind": "lock", **facts, "renewed": time.time()})

    def _create(self) -> bool:
        if self._local:
            # written beside and linked: whoever reads it reads all of it
            temporary = f"{self.path}-{uuid.uuid4().hex}"
            try:
                with open(temporary, "w", encoding="utf-8") as file:
                    file.write(self._text())
                os.link(temporary, self.path)
            except FileExistsError:
                return False
            except OSError as error:
                raise StorageError(f"{self._place}: cannot be written: {os.strerror(error.errno or 0)}") from error
            finally:
                with suppress(OSError):
                    os.remove(temporary)
            return True
        if self._owner() != (None, None):
            return False
        self._write()
        time.sleep(SETTLE)
        return self.is_held()

    def _write(self) -> None:
        with self._filesystem.open_output_stream(self.path, compression=None) as stream:
            stream.write(self._text().encode())

    def _owner(self) -> tuple[dict[str, Any] | None, float | None]:
        """Who holds it, and when it was renewed (seconds since 1970); None, None if nobody does."""
        try:
            info = self._filesystem.get_file_info(self.path)
            if info.type == fs.FileType.NotFound:
                return None, None
            with self._filesystem.open_input_stream(self.path, compression=None) as stream:
                found = json.loads(stream.read().decode())
        except FileNotFoundError:
            return None, None
        except (OSError, pa.ArrowException, ValueError):
            return None, 0.0  # there, but nobody's: what is left of a disk that was full
        if not isinstance(found, dict) or found.get("kind") != "lock":
            raise StorageError(f"{self.path}: not a lock of ours; remove it, if it is nobody's")
        renewed = info.mtime.timestamp() if info.mtime else 0.0
        return found, max(renewed, float(found.get("renewed", 0)))

    def _is_dead(self, owner: dict[str, Any] | None, renewed: float | None) -> bool:
        if owner is None:
            return True
        if owner.get("host") == socket.gethostname():
            return not _is_alive(owner)
        return time.time() - (renewed or 0.0) > STALE

    def _take_away(self, owner: dict[str, Any] | None) -> None:
        """Of two that take it away at the same time one moves it; the other finds another lock, or none."""
        grave = f"{self.path}-{uuid.uuid4().hex}"
        with suppress(OSError):
            if self._local:
                os.rename(self.path, grave)
                if owner != _read(grave):  # somebody was quicker, and this is the new owner's
                    os.link(grave, self.path)
                os.remove(grave)
            elif self._owner()[0] == owner:
                self._filesystem.delete_file(self.path)

    def _wait_for_renewal(self, owner: dict[str, Any], renewed: float | None) -> float:
        """StorageError as soon as a renewal is seen; returns when there was none for STALE seconds."""
        end = time.monotonic() + STALE
        while time.monotonic() < end:
            time.sleep(1.0)
            again, at = self._owner()
            if again is None or again.get("run") != owner.get("run"):
                return time.monotonic()
            if at != renewed:
                raise StorageError(f"{self._place}: {_spelt(again)} is writing there; nothing was touched")
        self._take_away(owner)
        return time.monotonic()

    def _renew(self) -> None:
        while not self._stop.wait(RENEWED):
            with suppress(OSError, pa.ArrowException):
                if self._local:
                    if self.is_held():
                        os.utime(self.path)
                elif self.is_held():
                    self._write()


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_alive(owner: dict[str, Any]) -> bool:
    """Of this machine: the process with that number, if it is the one that began then."""
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["started"])) < 1.0
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def _spelt(owner: dict[str, Any] | None) -> str:
    owner = owner or {}
    return f"another run ({owner.get('run', 'unknown')}, process {owner.get('pid', '?')} on {owner.get('host', '?')})"
