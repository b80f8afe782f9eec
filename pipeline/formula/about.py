"""What people should know of a model beside what it computes: where it comes from, and what it leaves out.

Comes in: what an import has found out. Goes out: lines for print(model), and plain data for model.json. Nothing of it
changes a number, so it is no part of a model's fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.shown import some

SHOWN = 20  # names in a line


@dataclass(frozen=True)
class About:
    weights: str = ""
    """Where they come from: "checkpoint best.pt, SHA-256 1f…"."""
    unread: tuple[str, ...] = ()
    """Weights of the module that the program never reads."""
    left_out: tuple[str, ...] = ()
    """Optional arguments of forward that nobody gave, and those that are None because the user says so."""
    notes: tuple[str, ...] = ()
    """Sentences."""

    @property
    def lines(self) -> list[str]:
        lines = [f"weights: {self.weights}"] if self.weights else []
        if self.unread:
            lines.append(f"weights that are never read: {some(self.unread, SHOWN)}")
        if self.left_out:
            lines.append(f"forward ran without: {some(self.left_out, SHOWN)}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "unread": list(self.unread),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> About:
        """TypeError or KeyError if it is not well formed."""
        lists = [data["unread"], data["left_out"], data["notes"]]
        if not isinstance(data["weights"], str) or not all(isinstance(each, list) for each in lists):
            raise TypeError("about is no record of texts")
        if not all(isinstance(text, str) for each in lists for text in each):
            raise TypeError("about is no record of texts")
        return About(data["weights"], *(tuple(each) for each in lists))
