"""What goes to Spark at once: through Spark Connect a query with all that its tasks are given is one message.

Comes in: a session, the weights of a model, how many stages of a query are given them. Goes out: a refusal before work
starts, where gRPC would say RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from pipeline.errors import SettingError
from pipeline.shown import size

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MESSAGE_BYTES = 128 << 20  # what a server takes: spark.connect.grpc.maxInboundMessageSize
REST = 8 << 20  # for all but the weights


def through_connect(spark: SparkSession) -> bool:
    """Whether the session is a client of Spark Connect."""
    return "connect" in type(spark).__module__.split(".")


def refuse_message(spark: SparkSession, given: Mapping[str, npt.NDArray[Any]], stages: int) -> None:
    """SettingError if a query would be too large to be sent.

    Parameters
    ----------
    given
        The weights, which each stage is given.
    """
    weights = sum(array.nbytes for array in given.values())
    if not through_connect(spark) or weights * stages + REST <= MESSAGE_BYTES:
        return
    each = f" in each of {stages} supersteps" if stages > 1 else ""
    remedy = "score without Spark Connect: in a classic session, or in a process without Spark"
    if weights + REST <= MESSAGE_BYTES:
        remedy = (
            'set transport = "files" and scratch to a folder that all tasks see, by which each superstep is a query of '
            f'its own; or tier = "fused"; or {remedy}'
        )
    raise SettingError(
        f"the model's weights, {size(weights)}, go to the tasks{each}, and Spark Connect takes "
        f"{size(MESSAGE_BYTES)} at once; {remedy}"
    )
