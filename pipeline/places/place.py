"""A place: what a path or a URI names, however it is spelt.

Comes in: a text or a path of the user. Goes out: a `Place`, which can be compared with others and opened. Knows nothing
of what lies there.

    data/x   /data/x   file:/data/x   file:///data/x   FILE://localhost/data/x      one place of this machine
    s3://b/k   s3a://b/k                                                            one object
    dbfs:/x   viewfs://lake/x                                                       places that only Spark can reach
    /Volumes/a/b   dbfs:/Volumes/a/b                                                one folder, on Databricks
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import SettingError, StorageError
from pipeline.places import mounted
from pipeline.places.patterns import expanded, is_pattern, meeting
from pipeline.places.schemes import BUCKETS, LOCAL, known, same

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
MOST_MATCHES = 10_000  # of a pattern, looked at one by one


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
            If the text is empty, names no absolute place (`file:x`), a file of another machine, or what is no file
            system (`ftp://host/x`).
        """
        text = os.fsdecode(given)
        if not text or not text.strip():
            raise SettingError("a path is empty")
        if "\0" in text:
            raise SettingError(f"{text!r}: a path cannot hold a zero byte")
        if not _is_unicode(text):
            raise SettingError(f"{text!r}: a path has to be UTF-8")
        found = _URI.fullmatch(text)
        if found is None:
            base = _URI.fullmatch(default)
            if base is None or base[1].lower() == LOCAL or mounted.is_seen(text):
                return Place(text, LOCAL, "", _absolute(text))
            if not text.startswith("/"):
                raise SettingError(f"{text}: paths without a scheme are those of {default} here; give an absolute one")
            return _of_uri(text, same(base[1]), base[2].rstrip("/") + text)
        return _of_uri(text, known(text, found[1]), found[2])

    @staticmethod
    def told(uri: str) -> Place:
        """The place of a URI that Spark or its catalog tells: a cluster may have file systems of its own."""
        found = _URI.fullmatch(uri)
        return Place.of(uri) if found is None else _of_uri(uri, same(found[1]), found[2])

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of the machine that looks, or mounted there. Others may have another disk there."""
        return self.scheme == LOCAL

    @property
    def is_plain(self) -> bool:
        """Whether it was given without a scheme: which file system it is in depends on who is asked."""
        return _URI.fullmatch(self.given) is None

    @property
    def uri(self) -> str:
        """For pyarrow, and for Spark where the name of the scheme is the user's own."""
        return self.path if self.is_local else f"{self.scheme}://{self.authority}{self.path}"

    @property
    def for_spark(self) -> str:
        """The spelling that Spark takes for just this place, whatever its default file system is."""
        if self.is_local:
            return f"{mounted.before(self.path)}{self.path}"
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
        if self.is_local:
            return Place(path, LOCAL, "", path)
        found = _URI.fullmatch(self.given)
        # Spark may know s3a only
        return Place(
            f"{found[1] if found else self.scheme}://{self.authority}{path}", self.scheme, self.authority, path
        )

    def holds(self, other: Place) -> bool:
        """Whether `other` is this place or lies inside of it, after links, `..` and other spellings.

        On this machine directories are known by their inodes: names that differ in case only, and mounts of one disk
        in two places, are seen.
        """
        if not self.is_same_filesystem(other):
            return False
        if not self.is_local:
            return _inside(self.path, other.path)
        if _inside(os.path.realpath(self.path), os.path.realpath(other.path)):
            return True
        try:
            own = os.stat(self.path)
        except OSError:  # it is not there, and so holds nothing
            return False
        above = Path(os.path.realpath(other.path))
        return any(_is_same(own, path) for path in (above, *above.parents))

    def is_same_filesystem(self, other: Place) -> bool:
        """Whether both may be in one file system. A host that is not given is the default one, which may be any."""
        return self.scheme == other.scheme and len({self.authority.lower(), other.authority.lower()} - {""}) < 2

    def __str__(self) -> str:
        return self.given


def refuse_overlap(output: Place, inputs: Mapping[str, Place], called: str = "the output") -> None:
    """SettingError if an output is an input, holds one, or lies in one: whatever is written there could harm it.

    `inputs`: what each is, for the message ("the node table") → where it is; of a table also a pattern of names.
    `called`: the same of the output.
    """
    for what, place in inputs.items():
        how = _meeting(output, place)
        if how is not None:
            raise SettingError(f"{output}: {called} {how} {what} ({place}); give another path. Nothing was touched")


def _meeting(output: Place, place: Place) -> str | None:
    """How the output and an input lie to each other, if they meet."""
    for named in _named_by(place):
        inside, around = named.holds(output), output.holds(named)
        if inside or around:
            return "is" if inside and around else "lies in" if inside else "holds"
    if _is_pattern(place) and output.is_same_filesystem(place):
        return meeting(place.path, os.path.realpath(output.path) if output.is_local else output.path)
    return None


def _is_pattern(place: Place) -> bool:
    return is_pattern(place.path) and not (place.is_local and os.path.lexists(place.path))


def _named_by(place: Place) -> Iterator[Place]:
    """The place itself; on this machine, all that a pattern names."""
    if not _is_pattern(place):
        yield place
    elif place.is_local:
        with suppress(StorageError):  # a bracket that is not closed: no pattern
            for path in itertools.islice(expanded(place.path, _names), MOST_MATCHES):
                if os.path.lexists(path):
                    yield Place(path, LOCAL, "", path)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _of_uri(text: str, scheme: str, rest: str) -> Place:
    authority = ""
    if rest.startswith("//"):
        authority, slash, inner = rest[2:].partition("/")
        rest = slash + inner
        if scheme == LOCAL and authority.lower() not in ("", "localhost"):
            raise SettingError(f"{text}: a file of another machine; write file:/// and the path")
    if not rest.startswith("/") and (rest or not authority):
        raise SettingError(
            f"{text}: not an absolute place; write {scheme}:/ and the whole path, or ./ before the name of a file"
        )
    if scheme in BUCKETS and not authority:
        raise SettingError(f"{text}: names no bucket; write two slashes, as {scheme}:/{rest}")
    if scheme == LOCAL:
        return Place(text, LOCAL, "", _absolute(_decoded(rest)))
    if scheme == mounted.SCHEME and not authority and mounted.is_volume(_one_slash(posixpath.normpath(rest))):
        return Place(text, LOCAL, "", _absolute(rest))
    return Place(text, scheme, authority, _one_slash(posixpath.normpath(rest or "/")))


def _absolute(path: str) -> str:
    """Without `..`, which is what is above the directory that a link leads to, and not what is above the link."""
    parts = path.split("/")
    if ".." in parts:
        last = len(parts) - 1 - parts[::-1].index("..")
        path = "/".join([os.path.realpath("/".join(parts[: last + 1])), *parts[last + 1 :]])
    try:
        return _one_slash(os.path.abspath(path))
    except FileNotFoundError:
        raise SettingError(f"{path}: the current directory is no more; give an absolute path") from None


def _one_slash(path: str) -> str:
    """Two slashes in front are kept by normpath, and mean nothing here."""
    return "/" + path.lstrip("/")


def _decoded(path: str) -> str:
    """`%20` is a space in a URI, but Spark takes it as it stands: what is there decides."""
    decoded = unquote(path)
    return decoded if not os.path.lexists(path) and os.path.lexists(decoded) else path


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    hdfs = "hdfs:// (with the package hdfs-native, or libhdfs, on all machines)"
    return StorageError(
        f"{place}: a place of {place.scheme}: can be reached by Spark only; give one that Python can see too: a path "
        f"that all machines share, or s3://, gs://, abfs://, {hdfs}"
    )
