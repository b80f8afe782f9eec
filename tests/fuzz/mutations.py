"""How hostile input is made of good input: bytes and JSON, changed by a seeded generator.

Comes in: bytes, or plain data, and a random generator. Goes out: the same, changed in one to four places. Knows nothing
of what the input is for.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.fuzz.worker import CANARY

Random = np.random.Generator

NAMES = [
    "",
    " ",
    "x",
    CANARY,
    f"__import__('os').system('touch {CANARY}')",
    f"x]; open('{CANARY}', 'w'); [0",
    f"'''\nopen('{CANARY}', 'w')\n'''",
    f'"); open("{CANARY}", "w"); ("',
    f"../../{CANARY}",
    f"/tmp/{CANARY}",
    "/etc/passwd",
    "~/x",
    "nodes.",
    "nodes.x.y",
    "edges.weight",
    "class",
    "lambda",
    "__class__",
    "{0.__class__}",
    "{slope}",
    "{",
    "%s%n",
    "$(touch x)",
    "`x`",
    "id",
    "predicted",
    "__superstep",
    "a int, b",
    "line\nline",
    "tab\tnull\0",
    "\x1b[2J\x1b]0;title\x07",
    "ü" * 300,
    "日本語",
    "\u202eevil",
    "\ud800",
    "l" * 100_000,
]
NUMBERS = [0, 1, -1, 2, 3, 5, 7, 64, 255, 2**31, 2**31 - 1, -(2**31), 2**63, 10**18, 10**400, -0.0, 0.5, 1e-300, 1e300]
ODD = [None, True, False, [], {}, [[]], [[1]], {"a": 1}, [None], ["x"], float("nan"), float("inf"), -float("inf")]


def hostile(random: Random) -> Any:
    """Something that is not expected."""
    which = random.integers(8)
    if which < 3:
        return NUMBERS[random.integers(len(NUMBERS))]
    if which < 6:
        return NAMES[random.integers(len(NAMES))]
    if which < 7:
        return copy.deepcopy(ODD[random.integers(len(ODD))])
    return [hostile(random) for _ in range(random.integers(4))]


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside of plain data."""
    stack = [data]
    while stack:
        item = stack.pop()
        keys: list[Any] = list(item) if isinstance(item, dict) else list(range(len(item)))
        for key in keys:
            yield item, key
            if isinstance(item[key], dict | list):
                stack.append(item[key])


def change(data: Any, random: Random, times: int | None = None) -> None:
    """Changes plain data in place: values of other kinds, near ones, missing, moved and doubled ones."""
    for _ in range(times or random.integers(1, 5)):
        found = list(places(data))
        if not found:
            return
        container, key = found[random.integers(len(found))]
        which = random.integers(10)
        if which < 4:
            container[key] = hostile(random)
        elif which < 6:
            container[key] = _near(container[key], random)
        elif which < 7:
            del container[key]
        elif which < 8:
            other, at = found[random.integers(len(found))]
            container[key] = copy.deepcopy(other[at])
        elif isinstance(container, dict):
            container[str(hostile(random))] = copy.deepcopy(container[key])
        else:
            container.insert(int(random.integers(len(container) + 1)), copy.deepcopy(container[key]))


def _near(item: Any, random: Random) -> Any:
    """Of the same kind."""
    if isinstance(item, bool):
        return not item
    if isinstance(item, int):
        return item + int(random.integers(-3, 4))
    if isinstance(item, float):
        return item * float(random.integers(-3, 4))
    if isinstance(item, str):
        return item[: random.integers(len(item) + 1)] + str(random.integers(10))
    if isinstance(item, list) and item:
        return [item[at] for at in random.permutation(len(item))]
    return item


def text_of(data: Any, random: Random) -> bytes:
    """Plain data as JSON; now and then the text is damaged too."""
    text = json.dumps(data)
    which = random.integers(12)
    if which == 0:
        return damage(text.encode(), random)
    if which == 1:  # a key that is there twice
        at = text.find("{", random.integers(len(text)))
        end = text.find(",", at + 1)
        if 0 <= at < end:
            return (text[: at + 1] + text[at + 1 : end] + ", " + text[at + 1 :]).encode()
    if which == 2:
        depth = int(random.choice([100, 3000, 200_000]))
        at = text.find(":", random.integers(len(text))) + 1
        return (text[:at] + "[" * depth + "]" * depth + ", " + text[at:]).encode()
    if which == 3:
        return text.encode("utf-16")
    return text.encode()


def damage(content: bytes, random: Random) -> bytes:
    """Bytes cut off, flipped, doubled, overwritten."""
    which = random.integers(6)
    size = len(content)
    if which == 0 or not size:
        return content[: random.integers(size + 1)]
    if which == 1:  # the ends are where formats have their marks and lengths
        return content[: -int(random.integers(1, min(size, 16) + 1))]
    changed = bytearray(content)
    if which == 2:
        for at in random.integers(0, size, random.integers(1, 9)).tolist():
            changed[at] ^= 1 << int(random.integers(8))
    elif which == 3:
        at = int(random.integers(size))
        stretch = changed[at : at + int(random.integers(1, 64))]
        stretch[:] = random.bytes(len(stretch))
        changed[at : at + len(stretch)] = stretch
    elif which == 4:
        at, end = sorted(random.integers(0, size + 1, 2).tolist())
        changed[at:at] = changed[at:end]
    else:
        changed[: min(size, 16)] = random.bytes(min(size, 16))
    return bytes(changed)
