"""What the command line says: log lines, one message for each error, exit codes.

Comes in: exceptions of the library and of Spark. Goes out: text on stderr, and an exit code (exits.py). Knows nothing
of commands.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from pipeline.command.answers import OUTCOMES, answer_error
from pipeline.command.exits import DONE, FAILED, INTERRUPTED, MENDABLE, SPARK_FAILED
from pipeline.command.log_lines import JSON, TEXT, JsonLines, json_line
from pipeline.errors import GraphsweepError, is_of_a_store
from pipeline.events import event
from pipeline.progress import BARS, LINES, NOBODY, watched_by
from pipeline.spark.agreement import refused
from pipeline.spark.failures import last_error

log = logging.getLogger("graphsweep")

LONGEST = 5000  # letters of a message: a path or a name may be as long as it likes

# what a message of the library says in Python's words, in the words of the command line
SPELLED = {
    "drop_dangling=True": "--drop-dangling",
    "or pass ignore_unknown=True": "or give --ignore-unknown",
    "ignore_unknown=True": "--ignore-unknown",
    "types= computes": "--types computes",
    "reverse=True": "--reverse",
    "undirected=True": "--undirected",
    "or overwrite it": "or --overwrite",
    "or overwrite": "or --overwrite",
    "swap nodes and edges": "swap --nodes and --edges",
    "scored, nodes= and edges=": "scored, --nodes and --edges",
    "table, nodes=…": "table, --nodes",
    "table, edges=…": "table, --edges",
    'if_same="skip"': "--if-same skip",
    "if_same is": "--if-same is",
    "blocks_by": "--blocks-by",
    "output_id=NAME": "--output-id NAME",
    "output_id=": "--output-id",
}
# parameters of Graph that are options of the command: id='ID' is --id ID, features= is --features
PARAMETERS = re.compile(r"\b(id|src|dst|features|edge_features)=(?:'([^']*)')?")


@contextmanager
def messages(
    command: str = "", quiet: bool = False, verbose: bool = False, as_json: bool = False, log_format: str = TEXT
) -> Iterator[None]:
    """Log lines while a command runs; of an exception that ends it, one readable message and the exit code. `as_json`:
    its end is also told to a program on stdout. `log_format`: of the lines on stderr, "text" or "json"."""
    end = _End(command, as_json, log_format == JSON)
    handler = _AboveBars() if log_format == TEXT else logging.StreamHandler(sys.stderr)
    people = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    handler.setFormatter(people if log_format == TEXT else JsonLines(_spelled))
    before = log.level
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    log.addHandler(handler)
    silence = logging.NullHandler()
    if not verbose:  # py4j tells the root logger about broken connections: an interrupt would be pages
        logging.getLogger().addHandler(silence)
    try:
        with warnings.catch_warnings(), _stoppable():
            if log_format == JSON:
                warnings.showwarning = _as_line
                log.info("%s begins", command, extra=event("begin", command=command))
            if not verbose:  # what libraries have to tell each other
                warnings.simplefilter("ignore", FutureWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
            with watched_by(_watched_how(quiet, log_format)):
                yield
        end.well(DONE)
    except typer.Exit as left:
        end.well(left.exit_code)
        raise
    except KeyboardInterrupt:
        end.badly(Message("interrupted", INTERRUPTED), None)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        said = message_of(error)
        end.badly(said, error if verbose or said is None else None)
        raise typer.Exit(said.code if said else FAILED) from None
    finally:
        log.removeHandler(handler)
        logging.getLogger().removeHandler(silence)
        log.setLevel(before)


def _watched_how(quiet: bool, log_format: str) -> str:
    if quiet:
        return NOBODY
    return BARS if log_format == TEXT and sys.stderr.isatty() else LINES


@dataclass(frozen=True)
class _End:
    """How the end of a command is told: to people or a collector on stderr, to a program on stdout."""

    command: str
    as_json: bool
    lines: bool

    def well(self, code: int) -> None:
        if self.lines:
            facts = {"command": self.command, "outcome": OUTCOMES.get(code, ""), "exit_code": code}
            log.info("%s: %s", self.command, OUTCOMES.get(code, code), extra={"event": "end", "facts": facts})

    def badly(self, said: Message | None, error: Exception | None) -> None:
        """`error`: whose traceback is shown; there is one where nothing could be said."""
        own = f"{type(error).__name__}: {error}"
        text, code = (said.text, said.code) if said is not None else (own, FAILED)
        if self.lines:
            facts: dict[str, object] = {"command": self.command, "outcome": OUTCOMES[code], "exit_code": code}
            if error is not None:
                facts["exception"] = "".join(traceback.format_exception(error))
            typer.echo(json_line("error", "end", text, facts), err=True)
        else:
            if error is not None:
                traceback.print_exception(error)
            if said is not None:
                typer.echo(f"graphsweep: {text}", err=True)
        if self.as_json:
            answer_error(self.command, code, text)


def _as_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """What a library warns of."""
    facts: dict[str, object] = {"category": category.__name__, "at": f"{filename}:{lineno}"}
    typer.echo(json_line("warning", "warning", str(message), facts), err=True)


@contextmanager
def _stoppable() -> Iterator[None]:
    """A command that is told to end cleans up, as one that is interrupted does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores hang-ups, and somebody else may listen
                before[number] = signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _AboveBars(logging.Handler):
    """Log lines on stderr that do not run into a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        bars = sys.modules.get("tqdm")
        if bars is None:
            typer.echo(_spelled(self.format(record)), err=True)
        else:
            bars.tqdm.write(_spelled(self.format(record)), file=sys.stderr)


@dataclass(frozen=True)
class Message:
    """A message for people and the exit code that goes with it."""

    text: str
    code: int


def message_of(error: Exception) -> Message | None:
    """The message of an exception; None if it is a mistake of ours, which only its traceback explains."""
    if isinstance(error, GraphsweepError):
        text = _spelled(str(error))
        return Message(text if len(text) <= LONGEST else f"{text[:LONGEST]}…", MENDABLE)
    if is_of_a_store(error):
        return Message(f"an object store did not do what it was asked for: {error}"[:LONGEST], MENDABLE)
    if not _of_spark(error):
        return None
    text = str(error)
    ours = OURS.search(text)
    if ours:
        return Message(_spelled(ours[1].strip()), MENDABLE)
    from pipeline.blocks.storage import replaced_in

    replaced = replaced_in(text)
    if replaced:
        return Message(str(replaced), MENDABLE)
    known = refused(error)
    if known is not None:
        return Message(str(known), MENDABLE)
    for pattern, code, message in FOREIGN:
        found = re.search(pattern, text)
        if found:
            return Message(message.format(*filter(None, found.groups())), code)
    return Message(f"Spark failed: {_gist(text)}\n--verbose shows all that it says", SPARK_FAILED)


# a worker's traceback, as Spark quotes it: the last line starts with the class; our messages can have several lines
OURS = re.compile(
    r"pipeline\.errors\.\w+Error: (.*?)(?=\n\s*(?:at |\tat |JVM stacktrace|Caused by|SQLSTATE|$)|\Z)", re.DOTALL
)

# what Spark says most often when it is not our doing
FOREIGN = (
    (r"Python worker exited unexpectedly|Python worker failed to connect back", SPARK_FAILED,
     "a Python worker died, most likely because it ran out of memory: use more blocks, or give tasks more "
     "(spark.executor.memoryOverhead)"),
    (r"MEMORY_LIMIT_SERVERLESS(?s:.*?)limit of (\d+) megabytes", MENDABLE,
     "a task took more than the {0} MB that serverless compute gives it: prepare the graph with more blocks, and set "
     'task_memory = "1g", by which explain says what a block takes'),
    (r"(?:message larger than max \((\d+)|message exceeds maximum size \d+: (\d+))", MENDABLE,
     "Spark Connect does not take as much at once ({0} bytes): use more blocks; of a model with large weights "
     "score without Spark Connect"),
    (r"java\.lang\.OutOfMemoryError: ([^\n]*)", SPARK_FAILED,
     "Spark's JVM ran out of memory ({0}): give it more with spark.driver.memory or spark.executor.memory"),
    (r"\((\S+) executor \S+\): \S*: No space left on device", MENDABLE,
     "a disk is full on {0}: that of spark.local.dir (or SPARK_LOCAL_DIRS), where Spark shuffles, as `df` there shows; "
     "make room, or give another directory. The old result is untouched"),
    (r"No space left on device", MENDABLE,
     "a disk is full, most likely that of spark.local.dir (or SPARK_LOCAL_DIRS), where Spark shuffles; make room, or "
     "give another directory. The old result is untouched"),
    (r"(Permission denied[^\n]*|AccessControlException: [^\n]*)", MENDABLE, "no permission: {0}"),
    (r"PATH_ALREADY_EXISTS\S* Path (\S+) already exists", MENDABLE,
     "{0}: exists already; give another path"),
    (r"(?:FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER)\S* ([^\n]*)", MENDABLE, "a table cannot be read: {0}"),
)  # fmt: skip


def _of_spark(error: Exception) -> bool:
    """Without importing Spark: a command that did not need it got here without it."""
    return any(kind.__module__.partition(".")[0] in ("pyspark", "py4j", "grpc") for kind in type(error).__mro__)


_CAUSE = re.compile(r"^\s*Caused by: (.*)", re.MULTILINE)


def _gist(text: str) -> str:
    """What a person needs of all that Spark says: of a Python worker's traceback the last line, which names the error;
    else Java's last cause, or its first line."""
    python = last_error(text)
    if python is not None:
        return python
    causes = [line.strip() for line in _CAUSE.findall(text)]
    if causes:
        return causes[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("at ", "Traceback", "File ", "An error occurred"))]
    return (telling or lines or ["without a word"])[0]


# … and what tells arguments apart
ITEM = re.compile(r"'(\w+)': (?:'([\w.]+)'|(None)|\('(\w+)', (?:'([\w.]+)'|(None))\))")
GIVEN = re.compile(r"inputs=\{([^{}]*)\}")
LISTS = {"unused": "--unused", "outputs": "--outputs", "features": "--features", "edge_features": "--edge-features"}
MADE = re.compile(r"\b(features|edge_features)=\{'([^']+)': (?:'([^']+)'|\[([^\[\]]*)\])\}")
LISTED = re.compile(rf"\b({'|'.join(LISTS)})=\[([^\[\]]*)\]")


def _options(given: re.Match[str]) -> str:
    """inputs={'edge_weight': 'edges.COLUMN'} → --input edge_weight=edges.COLUMN"""
    told = []
    for name, column, none, first, second, ones in ITEM.findall(given[1]):
        value = column or ("none" if none else f"{first}+{second or ('none' if ones else '')}")
        told.append(f"--input {name}={value}")
    return " ".join(told) or given[0]


def _list_options(given: re.Match[str]) -> str:
    """unused=['a', 'b'] → --unused a --unused b; features=['a', 'b'] → --features a,b"""
    option, items = LISTS[given[1]], [item.strip(" '\"") for item in given[2].split(",")]
    return " ".join(f"{option} '{item}'" for item in items) if option == "--unused" else f"{option} {','.join(items)}"


def _made_of(given: re.Match[str]) -> str:
    """edge_features={'edge_attr': ['a', 'b']} → --edge-features edge_attr=a+b"""
    columns = [given[3]] if given[3] else [each.strip(" '\"") for each in given[4].split(",")]
    return f"{LISTS[given[1]]} {given[2]}={'+'.join(columns)}"


def _spelled(text: str) -> str:
    text = MADE.sub(_made_of, text)
    text = LISTED.sub(_list_options, GIVEN.sub(_options, text))
    for python, command in SPELLED.items():
        text = text.replace(python, command)
    return PARAMETERS.sub(lambda found: f"--{found[1].replace('_', '-')}" + (f" {found[2]}" if found[2] else ""), text)
