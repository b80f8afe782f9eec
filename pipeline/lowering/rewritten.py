"""What became of each rewrite of a program: how often it was taken, how often refused, and what it would have cost.

Comes in: one word for each try, from who lowers. Goes out: facts. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from pipeline.formula.values import Value

Rule = Callable[[Value], Value | None]
Cost = tuple[float, float, float]
"""Lanes shipped, lane operations per edge, lane operations per node; see cost.py."""


class Try(NamedTuple):
    """A rewrite at one value, judged by what the whole program costs."""

    rule: Rule
    before: Cost
    after: Cost


class Rewritten:
    """Collects, while a program is lowered."""

    def __init__(self) -> None:
        self._always: dict[Rule, int] = {}
        self._taken: dict[Rule, list[Try]] = {}
        self._refused: dict[Rule, dict[Hashable, Try]] = {}

    def watched(self, rule: Rule) -> Rule:
        """The same rule, one that is always taken; how often it finds something is counted."""

        def counted(value: Value) -> Value | None:
            found = rule(value)
            if found is not None:
                self._always[rule] = self._always.get(rule, 0) + 1
            return found

        return counted

    def judged(self, rule: Rule, value: Value, before: Cost, after: Cost, times: int = 1) -> None:
        """A try at a value, or at several alike."""
        tried = Try(rule, before, after)
        if after < before:
            self._taken.setdefault(rule, []).extend([tried] * times)
        else:  # the same place is tried again after each other rewrite: it counts once, with its last price
            self._refused.setdefault(rule, {})[value.op, value.shape, str(value.space)] = tried

    @property
    def facts(self) -> list[dict[str, Any]]:
        """For programs: keys that stay. Rewrites that found nothing are left out."""
        found = [_fact(rule, "always", times, None) for rule, times in self._always.items()]
        for rule, tries in self._taken.items():
            found += [_fact(rule, "taken", len(tries), tries[0])]
        for rule, refused in self._refused.items():
            found += [_fact(rule, "refused", len(refused), next(iter(refused.values())))]
        return found


def _fact(rule: Rule, outcome: str, times: int, tried: Try | None) -> dict[str, Any]:
    meaning = (rule.__doc__ or "").strip().partition("\n\n")[0].rstrip(".")
    return {
        "rewrite": rule.__name__,
        "meaning": " ".join(meaning.split()),
        "outcome": outcome,
        "times": times,
        "why": None if tried is None else _why(tried),
    }


def _why(tried: Try) -> str:
    """The first of the three costs that differs decides."""
    words = ("columns sent by a node", "operations per edge", "operations per node")
    for word, before, after in zip(words, tried.before, tried.after, strict=True):
        if before != after:
            return f"{word}: {before:g} before, {after:g} after"
    return "the cost would be the same"
