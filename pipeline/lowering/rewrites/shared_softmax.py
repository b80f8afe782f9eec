"""One softmax over the edges of several relations, each in one running pass.

    Σ_r sum(share_r * m_r),   share_r = exp(a_r - dst(top)) / dst(total)
                              top = max over r of max(a_r),   total = Σ_r sum(exp(a_r - dst(top))) + 1e-16

Written out so, the edges of a relation are gone through three times, and what their sources send is read each time. The
states of softmax_state hold the same for each relation alone; they are merged, and divided once for each node:

    Σ_r sum(share_r * m_r) → out / (total + 1e-16)
                             [out, total, top] = merge_states over r of softmax_state(a_r, m_r)

HGT, two layers, 6 relations, 2^20 nodes, 16.8M edges, warm: 30 → 18.5 and 33 → 24
core-seconds, taken in turns; the passes over edges 12.5 → 5.2.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pipeline.formula.operations import Shape
from pipeline.formula.program import Program
from pipeline.formula.spaces import ALL, Edges
from pipeline.formula.values import Value, apply
from pipeline.lowering.rewrites.fuse_softmax import Weighed, below_views, weighed
from pipeline.lowering.rewrites.products import terms
from pipeline.lowering.rewriting import rebuild

ROUNDING = 1e-16
"""What PyG adds to the sum of exponentials."""
MOST_TERMS = 1 << 14
"""Of a sum that is looked through: one that doubles forty times has 2^40."""


class Shared(NamedTuple):
    """A softmax that relations share."""

    top: Value
    logits: frozenset[int]
    """Value.id of those of each relation."""


class Member(NamedTuple):
    """What one relation adds."""

    sum: Value
    weighed: Weighed
    logits: int
    """Value.id of those that its shares are made of."""


_Known = dict[tuple[int, int], Shared | None]
"""The softmaxes that were looked at, by what their shares have in common: of thousands of relations one."""


def shared_softmax(program: Program) -> Program:
    """The program with one pass over the edges for each relation that shares a softmax with others."""
    left: set[int] = set()
    while True:
        found = _next(program, left)
        if found is None:
            return program
        top, totals = found
        new = {total.id: value for total, value in totals}
        changed = rebuild(program, lambda value, new=new: new.get(value.id), new.keys())  # type: ignore[misc]
        if any(value is top for value in changed.values):  # somebody else reads the shares
            left.add(top.id)
        else:
            program = changed


def _next(program: Program, left: Collection[int]) -> tuple[Value, list[tuple[Value, Value]]] | None:
    """The first softmax all of whose shares weigh messages that are added up: its largest logits, and each total with
    what takes its place. None that is `left` as it is."""
    known: _Known = {}
    found: dict[Shared, list[Member]] = defaultdict(list)
    for value in program.values:
        each = weighed(value, lambda share: _logits(share, known))
        if each is not None:
            logits, shared = _logits(each.share, known), _shared(each.share, known)
            assert logits is not None, "it is a share"
            assert shared is not None, "it is a share"
            found[shared].append(Member(value, each, logits.id))
    readers = _readers(program) if found else {}
    for shared, members in found.items():
        if shared.top.id in left:
            continue
        by_total: dict[Value, list[Member]] = defaultdict(list)
        for member in members:
            by_total[_total(member.sum, readers)].append(member)
        totals = [(total, _in_one_pass(total, each, shared)) for total, each in by_total.items()]
        made = [(total, value) for total, value in totals if value is not None]
        if len(made) == len(totals):
            return shared.top, made
    return None


# ---- a softmax


def _logits(share: Value, known: _Known) -> Value | None:
    """Of a share of several relations."""
    shared = _shared(share, known)
    if shared is None:
        return None
    logits = share.inputs[0].inputs[0].inputs[0]
    return logits if logits.id in shared.logits else None


def _shared(share: Value, known: _Known) -> Shared | None:
    """The softmax of exp(a - dst(top)) / dst(total), as formula/relations.py writes it."""
    if share.op != "div" or share.inputs[0].op != "exp" or share.inputs[1].op != "dst":
        return None
    (difference,), (total,) = share.inputs[0].inputs, share.inputs[1].inputs
    if difference.op != "sub" or difference.inputs[1].op != "dst":
        return None
    (top,) = difference.inputs[1].inputs
    if (top.id, total.id) not in known:
        known[top.id, total.id] = _of_several(top, total)
    return known[top.id, total.id]


def _of_several(top: Value, total: Value) -> Shared | None:
    if total.op != "add":
        return None
    sums, rounding = total.inputs
    if rounding.op != "constant" or rounding.attributes["value"] != ROUNDING:
        return None
    highest, powers = terms(top, "maximum", MOST_TERMS), terms(sums, "add", MOST_TERMS)
    if any(value.op != "max" or value.attributes["empty"] != -math.inf for value in highest):
        return None
    logits = [value.inputs[0] for value in highest]
    summed = [value.inputs[0] if value.op == "sum" else value for value in powers]
    if len(summed) != len(logits):
        return None
    for logit, power in zip(logits, summed, strict=True):
        if power.op != "exp" or power.inputs[0].op != "sub" or power.inputs[0].inputs[0] is not logit:
            return None
        below = power.inputs[0].inputs[1]
        if below.op != "dst" or below.inputs[0] is not top or not _is_whole(logit):
            return None
    return Shared(top, frozenset(logit.id for logit in logits))


def _is_whole(value: Value) -> bool:
    return isinstance(value.space, Edges) and value.space.part == ALL


# ---- what is added up


def _readers(program: Program) -> Mapping[int, Sequence[Value | None]]:
    """Value.id → who reads it; of an output somebody who is no value, too."""
    found: dict[int, list[Value | None]] = defaultdict(list)
    for value in program.values:
        for entry in value.inputs:
            found[entry.id].append(value)
    for value in program.outputs.values():
        found[value.id].append(None)
    return found


def _total(sum: Value, readers: Mapping[int, Sequence[Value | None]]) -> Value:
    """The last of the additions that a sum goes into, through views, and all of which nobody else reads."""
    total = sum
    while len(readers[total.id]) == 1:
        (reader,) = readers[total.id]
        if reader is None or not (reader.op == "add" or (reader.op == "reshape" and total.op != "add")):
            break
        total = reader
    return total


def _in_one_pass(total: Value, members: Sequence[Member], shared: Shared) -> Value | None:
    """What takes the place of a total of all relations of a softmax; None if it is no such total."""
    sums = {member.sum.id for member in members}
    parts = [(term, below_views(term).id in sums) for term in terms(total, "add", MOST_TERMS)]
    of_members = [term for term, is_member in parts if is_member]
    logits = [member.weighed.logits for member in members]
    messages = [member.weighed.message for member in members]
    if {member.logits for member in members} != shared.logits or not len(sums) == len(members) == len(shared.logits):
        return None
    if sorted(below_views(term).id for term in of_members) != sorted(sums):  # each once
        return None
    alike = {(term.shape, a.shape, m.shape) for term, a, m in zip(of_members, logits, messages, strict=True)}
    if len(alike) > 1 or not _of_heads(logits[0].shape, messages[0].shape):
        return None
    states = [apply("softmax_state", *both) for both in zip(logits, messages, strict=True)]
    result = _shares(states, logits[0].width).reshape(*of_members[0].shape)
    return functools.reduce(partial(apply, "add"), [result, *(term for term, is_member in parts if not is_member)])


def _of_heads(logits: Shape, message: Shape) -> bool:
    """Whether there is a logit for each head of a message: for each of its first axes, over all lanes of the others."""
    aligned = logits or (1,) * len(message)
    return any(aligned == (*message[:axes], *(1 for _ in message[axes:])) for axes in range(len(message) + 1))


def _shares(states: Sequence[Value], heads: int) -> Value:
    """(heads, lanes): the messages of all relations, weighed by their softmax."""
    state = functools.reduce(partial(apply, "merge_states", logits=heads), states)
    out, total, top = state[: -2 * heads], state[-2 * heads : -heads], state[-heads:]
    infinite = apply("equal", top, -math.inf)
    # of nothing but -inf the share is no number, as in PyG; without edges it is 0
    total = apply("where", infinite, apply("where", apply("greater", total, 0.0), math.nan, 0.0), total) + ROUNDING
    return out.reshape(heads, out.width // heads) / total.reshape(heads, 1)
