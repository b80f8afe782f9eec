"""A place: what a path or a URI names, however it is spelt.

Comes in: a text or a path of the user. Goes out: a `Place`, which can be compared with others and opened. Knows nothing
of what lies there.

    data/x   /data/x   file:/data/x   file:///data/x   FILE://localhost/data/x      one place of this machine
    s3://b/k   s3a://b/k                                                            one object
    dbfs:/x   viewfs://lake/x                                                       places that only Spark can reach
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import SettingError, StorageError

LOCAL = "file"
# Hadoop has names of its own for what pyarrow calls otherwise
SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "gcs": "gs"}
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where something is."""

    given: str
    """As the user wrote it: for messages, and for the user's own tables."""
    scheme: str
    """Lower case, and one for all names of the same file system."""
    authority: str
    """Host, bucket or container; empty for this machine."""
    path: str
    """Absolute and without `..`. Links of this machine are not followed: they are when places are compared."""

    @staticmethod
    def of(given: str | os.PathLike[str], default: str = LOCAL) -> Place:
        """The place that a text names. `default` is the file system of paths without a scheme: `file`, or that of a
        cluster, as `hdfs://host:8020`.

        Raises
        ------
        SettingError
            If the text is empty, names no absolute place (`file:x`), or a file of another machine.
        """
        text = os.fspath(given)
        if not text or not text.strip():
            raise SettingError("a path is empty")
        if "\0" in text:
            raise SettingError(f"{text!r}: a path cannot hold a zero byte")
        found = _URI.fullmatch(text)
        if found is None:
            base = _URI.fullmatch(default)
            if base is None or base[1].lower() == LOCAL:
                return Place(text, LOCAL, "", os.path.abspath(text))
            if not text.startswith("/"):
                raise SettingError(f"{text}: paths without a scheme are those of {default} here; give an absolute one")
            return _of_uri(text, base[1].lower(), base[2].rstrip("/") + text)
        return _of_uri(text, found[1].lower(), found[2])

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of the machine that looks, or mounted there. Others may have another disk there."""
        return self.scheme == LOCAL

    @property
    def uri(self) -> str:
        """For pyarrow, and for Spark where the name of the scheme is the user's own."""
        return self.path if self.is_local else f"{self.scheme}://{self.authority}{self.path}"

    @property
    def for_spark(self) -> str:
        """The spelling that Spark takes for just this place, whatever its default file system is."""
        if self.is_local:
            return f"file://{self.path}"
        found = _URI.fullmatch(self.given)
        return self.given if found else self.uri

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> Place:
        return self._at(posixpath.dirname(self.path))

    def child(self, *names: str) -> Place:
        """A place inside."""
        return self._at(posixpath.join(self.path, *names))

    def sibling(self, name: str) -> Place:
        """A place beside it."""
        return self.parent.child(name)

    def _at(self, path: str) -> Place:
        place = Place("", self.scheme, self.authority, path)
        return Place(place.uri, self.scheme, self.authority, path)

    def holds(self, other: Place) -> bool:
        """Whether `other` is this place or lies inside of it, after links, `..` and other spellings.

        On this machine directories are known by their inodes: names that differ in case only, and mounts of one disk
        in two places, are seen.
        """
        if self.scheme != other.scheme:
            return False
        if not self.is_local:
            # a host that is not given is the default one, which may be any
            hosts = {self.authority.lower(), other.authority.lower()} - {""}
            return len(hosts) < 2 and _inside(self.path, other.path)
        if _inside(os.path.realpath(self.path), os.path.realpath(other.path)):
            return True
        try:
            own = os.stat(self.path)
        except OSError:  # it is not there, and so holds nothing
            return False
        above = Path(os.path.realpath(other.path))
        return any(_is_same(own, path) for path in (above, *above.parents))

    def __str__(self) -> str:
        return self.given


def refuse_overlap(output: Place, inputs: Mapping[str, Place]) -> None:
    """SettingError if an output is an input, holds one, or lies in one: whatever is written there could harm it.

    `inputs`: what each is, for the message ("the node table") → where it is.
    """
    for what, place in inputs.items():
        inside, around = place.holds(output), output.holds(place)
        if inside or around:
            how = "is" if inside and around else "lies in" if inside else "holds"
            raise SettingError(f"{output}: the output {how} {what} ({place}); give another path. Nothing was touched")


def _of_uri(text: str, scheme: str, rest: str) -> Place:
    scheme = SAME_SCHEME.get(scheme, scheme)
    authority = ""
    if rest.startswith("//"):
        authority, slash, inner = rest[2:].partition("/")
        rest = slash + inner
        if scheme == LOCAL and authority.lower() not in ("", "localhost"):
            raise SettingError(f"{text}: a file of another machine; write file:/// and the path")
    if not rest.startswith("/") and (rest or not authority):
        raise SettingError(f"{text}: not an absolute place; write {scheme}:/ and the whole path")
    if scheme == LOCAL:
        return Place(text, LOCAL, "", os.path.abspath(_decoded(rest)))
    return Place(text, scheme, authority, posixpath.normpath(rest or "/"))


def _decoded(path: str) -> str:
    """`%20` is a space in a URI, but Spark takes it as it stands: what is there decides."""
    decoded = unquote(path)
    return decoded if not os.path.lexists(path) and os.path.lexists(decoded) else path


def _inside(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _is_same(own: os.stat_result, path: Path) -> bool:
    try:
        other = os.stat(path)
    except OSError:
        return False
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def refuse_unreachable(place: Place) -> StorageError:
    """What is said of a place that only Spark can reach, where that is not enough."""
    return StorageError(
        f"{place}: a place of {place.scheme}: can be reached by Spark only; give one that Python can see too: a path "
        "that all machines share, or s3://, gs://, abfs://, hdfs:// (with libhdfs)"
    )
