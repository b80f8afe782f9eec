"""The exit codes of all commands, in one place: what a scheduler may do next.

Knows nothing of what went wrong.
"""

from __future__ import annotations

DONE = 0
FAILED = 1
MENDABLE = 2
DIFFERS = 3
SPARK_FAILED = 4
INTERRUPTED = 130

MEANINGS = {
    DONE: "done, or already there (--if-same skip)",
    FAILED: "a mistake of ours: please report it, with --verbose",
    MENDABLE: "refused: the message says what to change; nothing of yours was touched",
    DIFFERS: "verify: the scores are not those of the model",
    SPARK_FAILED: "Spark failed (a task, an executor, Java): the same command may succeed later",
    INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); what was begun is removed",
}

# for --help; \b keeps the lines as they are
TABLE = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())
