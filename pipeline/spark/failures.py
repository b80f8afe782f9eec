"""What went wrong in Python workers, out of the pages that Spark writes about it.

Comes in: the text of an exception of Spark's. Goes out: the line for people, the machine it happened on. Knows no Spark
itself: the command line reads errors where Spark was never imported.
"""

from __future__ import annotations

import re


def last_error(text: str) -> str | None:
    """The last line of the last traceback of Python in a text, without the module of its class: what a person needs.
    None if there is no traceback in it.

    >>> last_error("Traceback (most recent call last):\\n  File 'a.py', line 1\\nValueError: no\\n\\n\\tat java.Thread")
    'ValueError: no'
    """
    found, inside = None, False
    for line in text.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            found, inside = line.strip(), False
    return None if found is None else re.sub(r"^(?:\w+\.)+(\w+)(?=:|$)", r"\1", found)


def failed_host(text: str) -> str | None:
    """The machine whose task failed last: Spark says "(10.0.0.7 executor 3)"."""
    found = re.findall(r"\(TID \d+\) \((\S+) executor \S+\)", text)
    return found[-1] if found else None
