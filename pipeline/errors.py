"""What can go wrong because of what the user gave us. Each message is a small report: what, where, found, remedy.

Only mistakes of the user are raised as these; `assert` is for our own. The command line turns each of them into one
readable message and exit code 2.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
from collections.abc import Iterable


class GraphsweepError(Exception):
    """Anything the user can mend; the message says how."""


class DataError(GraphsweepError, ValueError):
    """The node or edge table cannot be used as it is."""


class FormulaError(GraphsweepError, ValueError):
    """A formula mixes spaces or shapes that do not go together."""


class ModelError(GraphsweepError, ValueError):
    """A model cannot be imported, loaded, or run on this graph."""


class ClusterError(GraphsweepError, RuntimeError):
    """The machines that run tasks do not have what this process has."""


class SettingError(GraphsweepError, ValueError):
    """An option or a setting that does not exist or has a value that it cannot take."""


class StorageError(GraphsweepError, OSError):
    """A path that cannot be read or written, or holds something else than expected."""


def unwritable(path: str, error: Exception) -> StorageError:
    """What is said of a place that cannot be written. pyarrow's own texts name temporary files, so only the number of
    its errors is taken."""
    return StorageError(f"{path}: cannot be written: {reason_of(path, error)}")


def unreadable(path: str, error: Exception) -> StorageError:
    """What is said of a place that cannot be read; the text of pyarrow's errors as above."""
    return StorageError(f"{path}: cannot be read: {reason_of(path, error)}")


def reason_of(path: str | os.PathLike[str], error: Exception) -> str:
    """What the system says of a place. Of a permission that is missing also whose the place is, or the directory in its
    way, and the mode; of a full disk how much of it is free, now that what was half written is removed."""
    number = getattr(error, "errno", None)
    said = os.strerror(number) if number else str(error)
    if number not in (errno.EACCES, errno.EPERM, errno.ENOSPC) or "://" in os.fspath(path):
        return said
    at = os.path.abspath(os.fspath(path))
    while not os.path.exists(at) and at != os.path.dirname(at):
        at = os.path.dirname(at)
    if number == errno.ENOSPC:
        return f"{said} ({_room(at)})"
    found = os.stat(at)
    return f"{said} ({at} belongs to {_user(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o})"


def _room(at: str) -> str:
    try:
        disk = os.statvfs(at)
    except (OSError, AttributeError):  # Windows
        return f"in {at}"
    if disk.f_files and not disk.f_favail:
        return f"the disk of {at} holds as many files as it can"
    free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return f"{free:,} of {whole:,} bytes are free in {at}"


# how pyarrow's file systems say what a store has answered: of S3, of Azure, of Google
_STORES = re.compile(r"\b(?:AWS|Azure) Error\b|\bgoogle::cloud::Status\b")


def is_of_a_store(error: Exception) -> bool:
    """Whether an object store said no, or nothing: its own words tell what and where."""
    return isinstance(error, OSError) and not error.errno and _STORES.search(str(error)) is not None


def _user(number: int) -> str:
    try:
        import pwd  # which Windows has not

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return f"user {number}"


def shortened(item: object, letters: int = 60) -> str:
    """What was found, as it is shown in a message: of a file's content, which may be long, the beginning."""
    text = repr(item)
    return text if len(text) <= letters else f"{text[:letters]}… ({len(text):,} letters)"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    choices = sorted(known)
    if not choices:
        return "there are none"
    alike = [choice for choice in choices if choice.lower() == name.lower()]
    begins = [choice for choice in choices if len(name) > 2 and choice.startswith(name)]
    close = alike[:1] or (begins if len(begins) == 1 else []) or difflib.get_close_matches(name, choices, n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(choices)


def first_line(error: Exception) -> str:
    """Of what Spark says, the part for people: the line with the name of the error, if it has one; of an error of Java
    that py4j hands on, what Java says, without the name of the class."""
    text = re.sub(r"\AAn error occurred while calling .*\n: (?:[\w$]+\.)*([\w$]+: (?=.))?", "", str(error).strip())
    named = re.search(r"\[[A-Z][A-Z0-9_.]+\] .*", text)
    return named[0] if named else text.strip().partition("\n")[0]
