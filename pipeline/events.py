"""What a log line tells a program: one word that stays, and facts by name. Of people nothing is asked: the line is the
same.

    log.info("superstep %d: computed", 1, extra=event("superstep", superstep=1, seconds=0.2))
"""

from __future__ import annotations

from typing import Any


def event(word: str, **facts: Any) -> dict[str, Any]:
    """For `extra=` of a log line. Facts are numbers, texts, None, or lists and mappings of these."""
    return {"event": word, "facts": facts}
