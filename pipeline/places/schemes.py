"""Whose each scheme is: the one table of file systems.

Comes in: what stands before the colon of a URI. Goes out: who opens it, or a refusal. A scheme that nobody knows is
refused when a path is read, so before any work: Spark would say so only when it opens the place, which for an output is
at the end.
"""

from __future__ import annotations

from pipeline.errors import SettingError, nearest

LOCAL = "file"
PYTHON = ("file", "s3", "gs", "abfs", "hdfs")
"""pyarrow.fs opens them: here, and in tasks."""
SPARK = (
    "dbfs", "viewfs", "webhdfs", "swebhdfs", "ofs", "o3fs", "wasb", "adl", "oss", "cosn", "obs", "tos", "bos", "ks3",
    "cos", "swift", "maprfs", "alluxio", "jfs", "lakefs", "gpfs",
)  # fmt: skip
"""Connectors of Hadoop: only Spark opens them, if it has them. Tables are read there, and scores go to a new place."""
SAME = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "gcs": "gs", "wasbs": "wasb"}
"""Names that Hadoop and others have for the same."""
BUCKETS = frozenset({"s3", "gs", "abfs", "wasb", "oss", "cosn", "obs"})
"""Of these a place without a bucket or a container is none; Python's Path makes s3:/b/k of s3://b/k."""
_SERVERS = ("http", "https", "ftp", "ftps", "sftp", "scp", "ssh")
_MODELS = ("models", "runs")


def known(text: str, scheme: str) -> str:
    """The one name that a file system has here. `scheme`: as `text`, a path of the user, spells it.

    Raises
    ------
    SettingError
        If there is no file system of that name.
    """
    name = same(scheme)
    if name in PYTHON or name in SPARK:
        return name
    if name in _SERVERS:
        raise SettingError(
            f"{text}: {name} is no file system; copy it to a disk or an object store, and give that path"
        )
    if name in _MODELS:
        raise SettingError(f"{text}: names a model that MLflow keeps, and no path; give a path here")
    raise SettingError(
        f"{text}: no file system is called {scheme}; {nearest(scheme, (*PYTHON, *SPARK, *SAME))}. "
        f"A file of that name in the current folder is ./{text}"
    )


def same(scheme: str) -> str:
    """One name for all spellings, known or not."""
    name = scheme.lower()
    return SAME.get(name, name)
