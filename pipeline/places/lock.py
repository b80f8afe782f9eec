"""One writer at a time for a place: a small file beside it that says who is writing.

Comes in: the place that will be written, and a run's id. Goes out: the lock, held until the run has ended. A second
writer is refused, with the name of the first. A lock whose owner has died is taken over: a process of this machine that
is no more, or one of another machine whose lock has not been renewed for a while.

On disks the file is created whole or not at all, so that of two writers one has it. Object stores know no such thing:
there each looks again after it has written its own, and the one whose lock is there has it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError, unwritable
from pipeline.places.beside import LOCK, beside, new_run
from pipeline.places.filesystem import Opened
from pipeline.places.owner import is_alive, is_this_machine, machine, process_facts
from pipeline.places.place import Place

__all__ = ["Lock", "new_run"]

RENEWED = 5.0  # seconds from one renewal to the next
STALE = 30.0  # seconds without a renewal after which the owner, on another machine, counts as dead
SETTLE = 0.5  # seconds until two writers of an object store have seen each other

_HELD: set[str] = set()
"""The runs of this process that hold a lock, or are about to. A store that has stopped to answer lets nobody give one
back, and the process lives on: what it left is no one's."""

Owner = dict[str, Any]


class Lock:
    """`with Lock(place, opened, run): …`; StorageError at its entry if somebody else is writing there.

    `place` is the user's, for messages; `opened` is where it is, after links. The directory above has to be there.
    """

    def __init__(self, place: Place, opened: Opened, run: str) -> None:
        self._place, self._filesystem = place, opened.filesystem
        self._local = opened.is_local
        self.path = opened.sibling(beside(opened.name, LOCK)).path
        self._run = run
        self._now: float | None = None
        """By the clock of the disk, which is the one that renewals are dated by; None where we did not ask it."""
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lock of {opened.name}", daemon=True)

    def __enter__(self) -> Lock:
        _HELD.add(self._run)
        try:
            self._take()
            self._remove_left()
            self._renewing.start()
        except BaseException:  # interrupted after it was created: this process lives on, and nobody could take it away
            self._give_back()
            raise
        return self

    def _take(self) -> None:
        while not self._create():
            found = self._owner()
            if found is None:  # given back meanwhile
                continue
            owner, renewed = found
            if is_this_machine(owner):
                if is_alive(owner) and not _is_over(owner):
                    raise self._refusal(owner)
                self._take_away(owner)
            elif self._now is not None and self._now - renewed > STALE:
                self._take_away(owner)
            else:
                self._watch(owner, renewed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        self._give_back()

    def _give_back(self) -> None:
        _HELD.discard(self._run)
        with suppress(OSError, pa.ArrowException, StorageError):
            if self.is_held():
                self._filesystem.delete_file(self.path)

    def _remove_left(self) -> None:
        """What processes have left on a disk that were killed while they took or broke this lock."""
        if not self._local:
            return
        with suppress(OSError):
            folder, name = os.path.split(self.path)
            now = os.stat(self.path).st_mtime  # by the clock of the disk
            for entry in os.listdir(folder):
                if re.fullmatch(f"{re.escape(name)}-[0-9a-f]{{32}}", entry):
                    with suppress(OSError):
                        if _is_left(left := os.path.join(folder, entry), now):
                            os.remove(left)

    def is_held(self) -> bool:
        """Whether it is still ours: asked again before anything is put in place."""
        found = self._owner()
        return found is not None and found[0].get("run") == self._run

    def _refusal(self, owner: Owner) -> StorageError:
        who = f"{owner.get('run', 'unknown')}, process {owner.get('pid', '?')} on {owner.get('host', '?')}"
        return StorageError(f"{self._place}: another run ({who}) is writing there; nothing was touched")

    # ---- the file

    def _text(self) -> str:
        facts = {"run": self._run, **process_facts(), "renewed": time.time()}
        return json.dumps({"product": "graphsweep", "kind": "lock", **facts})

    def _create(self) -> bool:
        try:
            return self._create_on_disk() if self._local else self._create_object()
        except StorageError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise unwritable(str(self._place), error) from error

    def _create_on_disk(self) -> bool:
        """Written beside and linked: whoever reads it reads all of it."""
        temporary = f"{self.path}-{by_us()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(self._text())
            self._now = os.stat(temporary).st_mtime
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        except OSError as error:
            # mounted volumes that know no links
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return self._create_alone()
        finally:
            with suppress(OSError):
                os.remove(temporary)
        return True

    def _create_alone(self) -> bool:
        try:
            with open(self.path, "x", encoding="utf-8") as file:
                file.write(self._text())
        except FileExistsError:
            return False
        return True

    def _create_object(self) -> bool:
        if self._owner() is not None:
            return False
        self._write()
        time.sleep(SETTLE)
        return self.is_held()

    def _write(self) -> None:
        with self._filesystem.open_output_stream(self.path, compression=None) as stream:
            stream.write(self._text().encode())

    def _owner(self) -> tuple[Owner, float] | None:
        """Who holds it, and when it was renewed, in seconds since 1970 by the clock of the disk; None if nobody does.

        The owner of a file that cannot be read is unknown: it is being written, or was when a disk was full.
        """
        try:
            info = self._filesystem.get_file_info(self.path)
            if info.type == fs.FileType.NotFound:
                return None
            renewed = info.mtime.timestamp() if info.mtime else 0.0
            with self._filesystem.open_input_stream(self.path, compression=None) as stream:
                found = json.loads(stream.read().decode())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}, renewed
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self._place}: the lock beside it cannot be read: {error}") from error
        if not isinstance(found, dict) or found.get("kind") != "lock":
            raise StorageError(f"{self.path}: not a lock of ours; remove it, if it is nobody's")
        return found, renewed

    def _take_away(self, owner: Owner) -> None:
        """Of two that take it away at the same time one moves it; the other finds another lock, or none."""
        if not self._local:
            with suppress(OSError, pa.ArrowException):
                found = self._owner()
                if found is not None and found[0] == owner:
                    self._filesystem.delete_file(self.path)
            return
        grave = f"{self.path}-{by_us()}"
        with suppress(OSError):
            os.rename(self.path, grave)
        with suppress(OSError):
            if owner != _read(grave):  # somebody was quicker, and this is the new owner's
                os.link(grave, self.path)
        with suppress(OSError):
            os.remove(grave)

    def _watch(self, owner: Owner, renewed: float) -> None:
        """The clock of another machine may not be ours: only a renewal that we see shows that its process lives.

        Takes the lock away after STALE seconds without one; returns if it was given back; else a StorageError.
        """
        end = time.monotonic() + STALE
        while time.monotonic() < end:
            time.sleep(min(1.0, RENEWED / 2))
            found = self._owner()
            if found is None:
                return
            if found != (owner, renewed):
                raise self._refusal(found[0])
        self._take_away(owner)

    def _renew(self) -> None:
        while not self._stop.wait(RENEWED):
            with suppress(OSError, pa.ArrowException, StorageError):  # it may answer the next time
                if self._local:
                    if self.is_held():
                        os.utime(self.path)
                elif self.is_held():
                    self._write()


def _is_over(owner: Owner) -> bool:
    """Of an owner that lives: whether it is this process, and its run has ended."""
    return owner.get("pid") == os.getpid() and owner.get("run") not in _HELD


def is_locked(place: Place, opened: Opened) -> bool:
    """Whether somebody is writing at a place, as far as this machine can tell."""
    return _writer(Lock(place, opened, "")) is not None


def refuse_locked(place: Place, opened: Opened) -> None:
    """StorageError if somebody is writing there, by the lock that is not ours to take yet."""
    lock = Lock(place, opened, "")
    owner = _writer(lock)
    if owner is not None:
        raise lock._refusal(owner)


def _writer(lock: Lock) -> Owner | None:
    found = lock._owner()
    if found is None:
        return None
    owner, renewed = found
    if is_this_machine(owner):
        return owner if is_alive(owner) and not _is_over(owner) else None
    return owner if time.time() - renewed < STALE else None


def by_us() -> str:
    """The end of the name of a file that is gone in a moment: machine, process, and what makes it the only one. Of a
    process that is killed before the first byte the name alone tells."""
    return f"{_machine()}{os.getpid():08x}{uuid.uuid4().hex[:16]}"


def _machine() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def _is_left(path: str, now: float) -> bool:
    """Whether the process that made such a file has ended, as far as this machine can tell."""
    made, ending = os.stat(path).st_mtime, path[-32:]
    if ending[:8] != _machine():
        return now - made > STALE
    try:
        return psutil.Process(int(ending[8:16], 16)).create_time() > made + 1.0  # another one with its number
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _read(path: str) -> Owner | None:
    """What is in a file; {} if that is nothing of sense."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
