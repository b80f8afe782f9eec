"""Hostile input, played by the thousand: what is promised to be refused is refused, and never crashes, hangs or runs.

    python -m tests.fuzz                              how many cases of each kind CI plays
    python -m tests.fuzz models --cases 5000          more of them; --first 2000 begins later
    python -m tests.fuzz models --case 17             one of them, here, with its traceback; its files are kept
    python -m pytest tests/fuzz --fuzz-cases 5000     more of each kind, as tests

A case is a number: the same number is the same input on every machine. Each is played in a process of its own kind
(worker.py) with bounds of memory and time, which notes what is written, started or compiled.
"""
