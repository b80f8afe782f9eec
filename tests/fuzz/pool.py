"""Cases played in processes that may die: what came of each.

Comes in: a kind of cases, their numbers. Goes out: how often each end came, and the cases that ended in none of those
allowed: an exception that is no refusal, a hang, a signal. Knows nothing of what a case is.
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 120  # of one case, on a machine that others use too; the first of a process compiles


@dataclass
class Played:
    """What came of some cases."""

    ends: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    """Case → what happened instead."""

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {end}" for end, count in sorted(self.ends.items()))


class Worker:
    """A process that plays one case after another; started again when it has died."""

    def __init__(self, kind: str, seconds: float) -> None:
        self.kind, self.seconds = kind, seconds
        self.process: subprocess.Popen[bytes] | None = None

    def play(self, case: int) -> tuple[str, str | None]:
        """(end, None), or (what happened instead, its report)."""
        if self.process is None:
            command = [sys.executable, "-m", "tests.fuzz.worker", self.kind]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{case}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        ready, _, _ = select.select([self.process.stdout], [], [], self.seconds)
        if not ready:
            self.stop()
            return "hang", f"nothing came of it in {self.seconds:.0f} s"
        line = self.process.stdout.readline()
        if not line:
            return self._died()
        said = json.loads(line)
        return said["end"], said["report"]

    def _died(self) -> tuple[str, str]:
        assert self.process is not None
        code = self.process.wait()
        self.stop()
        return "death", f"the process died: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process = None


def play(kind: str, cases: Iterable[int], processes: int | None = None, seconds: float = SECONDS) -> Played:
    """Plays cases of a kind in `processes` (two at most, if it is not said)."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    played = Played()
    lock = threading.Lock()

    def work() -> None:
        worker = Worker(kind, seconds)
        try:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                end, report = worker.play(case)
                with lock:
                    if report is None:
                        played.ends[end] += 1
                    else:
                        played.failures[case] = f"{end}\n{report}"
        finally:
            worker.stop()

    threads = [threading.Thread(target=work) for _ in range(processes or min(2, os.cpu_count() or 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return played
