"""The folder of a node type's table within a result.

Comes in: the name of a type. Goes out: a name that every file system has. Knows nothing of files.
"""

from __future__ import annotations

import re
from urllib.parse import quote


def folder_of(node_type: str) -> str:
    """The name itself where it is plain; else %XX for what a path, a file system or a reader of tables may take for
    something else."""
    name = quote(node_type, safe=" ")
    return re.sub(r"^[._]|^ | $", lambda found: f"%{ord(found[0]):02X}", name)
