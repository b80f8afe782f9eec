"""Whose each scheme is: the one table of file systems.

Comes in: what stands before the colon of a URI. Goes out: who opens it, or a refusal. What is misspelt, or is no file
system, is refused when a path is read, so before any work. Any other name may be a file system of the user's cluster:
Spark is asked.
"""

from __future__ import annotations

from difflib import get_close_matches

from pipeline.errors import SettingError

LOCAL = "file"
PYTHON = ("file", "s3", "gs", "abfs", "hdfs")
"""pyarrow.fs opens them: here, and in tasks."""
SPARK = (
    "dbfs", "viewfs", "webhdfs", "swebhdfs", "ofs", "o3fs", "wasb", "adl", "oss", "cosn", "obs", "tos", "bos", "ks3",
    "cos", "swift", "maprfs", "alluxio", "jfs", "lakefs", "gpfs",
)  # fmt: skip
"""Connectors of Hadoop: only Spark opens them, if it has them. Tables are read there, and scores go to a new place. The
same is done with names that nobody knows here."""
SAME = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "gcs": "gs", "wasbs": "wasb"}
"""Names that Hadoop and others have for the same."""
BUCKETS = frozenset({"s3", "gs", "abfs", "wasb", "oss", "cosn", "obs"})
"""Of these a place without a bucket or a container is none; Python's Path makes s3:/b/k of s3://b/k."""
_SERVERS = ("http", "https", "ftp", "ftps", "sftp", "scp", "ssh")


def known(text: str, scheme: str) -> str:
    """The one name that a file system has here. `scheme`: as `text`, a path of the user, spells it.

    Raises
    ------
    SettingError
        If it is no file system, or is misspelt.
    """
    name = same(scheme)
    if name in PYTHON or name in SPARK:
        return name
    if name in _SERVERS:
        raise SettingError(
            f"{text}: {name} is no file system; copy it to a disk or an object store, and give that path"
        )
    here = f"A file of that name in the current folder is ./{text}"
    alike = [each for each in (*PYTHON, *SPARK, *SAME, *_SERVERS) if len(each) == len(name) > 3]
    meant = get_close_matches(name, alike, n=1, cutoff=0.75)  # two letters changed places, or one of four is wrong
    if meant:
        raise SettingError(f"{text}: no file system is called {scheme}; did you mean {meant[0]!r}? {here}")
    if not text.partition(":")[2].startswith("/"):
        raise SettingError(f"{text}: no file system is called {scheme}. {here}")
    return name


def same(scheme: str) -> str:
    """One name for all spellings, known or not."""
    name = scheme.lower()
    return SAME.get(name, name)
