"""How wide the arguments of forward are, and which of them are integers: found by trying.

Comes in: the arguments, what `features` says of them, a way to run forward on a small graph. Goes out: the arguments
with the shapes of their rows, or what is in the way: the failure of the trial that came furthest. Rows of floats are
tried first, then integers, such as the categories that an embedding takes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pipeline.errors import ModelError, nearest
from pipeline.formula.operations import MOST_ROWS
from pipeline.pyg.arguments import TABLES, Argument, Features, Signature, Told
from pipeline.pyg.asked import Unanswered
from pipeline.pyg.forms import Form, told_forms
from pipeline.pyg.widths import STEP, is_about_axes, is_about_sizes, with_found_widths

TRIALS = 2000  # forwards on a graph of a few edges
FEW = 64  # trials that cost less than to ask the operations which width they want
SECONDS = 5.0  # of computing, for all of them: who waits longer is better asked
OTHER = 1013  # more than a width that fits: no model has both
ANY = 8  # integers of an argument that is only compared with numbers: any would do

Forward = Callable[[Signature], object]


class NoRows(ModelError):
    """Forward ran, and an output has no row per node."""


@dataclass
class _Trials:
    """Forwards that were tried, and the failure of the one that came furthest."""

    run: Forward
    until: float
    furthest: int = -1
    failure: Exception | None = None
    candidate: Signature | None = None
    """With which it failed."""
    cut: bool = False
    """Whether the time was over before all signatures that are as likely as one that fits were tried: a faster machine
    may find another one, or several."""
    without_rows: list[Signature] = field(default_factory=list)
    """Arguments with which forward ran, and an output had no row per node."""

    @property
    def over(self) -> bool:
        return time.thread_time() > self.until

    def forward(self, candidate: Signature) -> None:
        """Runs forward, and keeps its failure if it came further than any other."""
        steps = _Steps()
        try:
            with steps:
                self.run(candidate)
        except NoRows:
            self.without_rows.append(candidate)
            raise
        except Exception as error:  # whatever a module raises at a width that does not fit
            if steps.count > self.furthest:
                self.furthest, self.failure, self.candidate = steps.count, error, candidate
            raise

    def fails(self, candidate: Signature) -> bool:
        """Whether forward does not run, or an output has no row per node."""
        try:
            self.forward(candidate)
        except Unanswered:  # no width helps
            raise
        except Exception:  # kept
            return True
        return False


class _Steps(TorchFunctionMode):
    """Counts what torch was asked to do."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += 1
        return result


def with_widths(
    net: torch.nn.Module, found: Signature, features: Features, run: Forward, explain: Forward
) -> Signature:
    """The same arguments with the shapes of their rows, and which of them are integers.

    `run`: forward on a small graph, which raises where a width does not fit; NoRows where it runs, and gives no row
    per node. `explain`: raises a better reason for a failure than forward itself has, if there is one.
    """
    if not isinstance(features, int | range | Mapping | None):
        raise ModelError(f"features is {features!r}; write the width of x, or argument → width: {{'x': 16}}")
    given = {"x": features} if isinstance(features, int | range) else dict(features or {})
    names = [argument.name for argument in found.arguments]
    for name in given:
        if name not in names:
            raise ModelError(f"features names {name!r}, which is no input; {nearest(name, names)}")
    _check_widths(found, given)
    given = {
        **{argument.name: argument.shape for argument in found.arguments if argument.name in found.tables},
        **given,
    }
    given = {**{argument.name: (len(argument.made_of),) for argument in found.arguments if argument.made_of}, **given}
    matrices = {matrix.name for matrix in found.matrices}
    choices: list[Sequence[Form]] = [
        _choices(net, argument, given.get(argument.name), matrices) for argument in found.arguments
    ]
    open_places = [place for place, forms in enumerate(choices) if len({form.rank == 0 for form in forms}) > 1]
    trials = _Trials(run, time.thread_time() + SECONDS)
    if math.prod(len(forms) for forms in choices) > FEW and len(open_places) > 1:
        choices = _asked(found, choices, trials)
    fitting = _fitting(found, choices, trials)
    if len(fitting) == 1 and not trials.cut and not _is_free(fitting[0], given, choices, trials):
        return _with_ranges(fitting[0], given, trials)
    open_names = [name for name, forms in zip(names, choices, strict=True) if name not in given and len(forms) > 1]
    if not fitting and not open_names:
        return _formed(found, [forms[0] for forms in choices])  # what is wrong with it, its recording will say
    if not fitting and trials.without_rows:
        return trials.without_rows[0]  # as above
    failure = trials.failure
    tried = trials.candidate.arguments if trials.candidate is not None else ()
    if not fitting and failure is not None and is_about_axes(failure) and any(each.shape for each in tried):
        raise ModelError(_other_axes(net, open_names or names, failure))
    if not fitting and failure is not None and not is_about_sizes(failure):
        raise failure
    if not fitting and trials.candidate is not None and not trials.cut:
        explain(trials.candidate)
    if trials.cut:
        found_what = "not all that may fit" if fitting else "no width that fits"
        what = f"{SECONDS:g} seconds of trying found {found_what}"
    else:
        what = "several widths fit" if fitting else "no width was found that fits"
    why = "" if fitting else f" (the trial that came furthest failed: {failure or 'nothing to try'})"
    asked = ", ".join(f"{name!r}: WIDTH" for name in open_names or names)
    raise ModelError(
        f"{what} {' and '.join(open_names or names)} of {type(net).__name__}; give features={{{asked}}}{why}"
    )


def _other_axes(net: torch.nn.Module, names: Sequence[str], failure: Exception) -> str:
    """A tensor has another number of axes than forward expects: mostly because it wants nodes in another axis."""
    given = " and ".join(names)
    shapes = ", ".join(f"{name!r}: (STEPS, WIDTH)" for name in names)
    return (
        f"forward of {type(net).__name__} stops at the axes of a tensor, whatever the width of {given}; nodes are the "
        f"first axis of {given}: if a row has several axes, give its shape, features={{{shapes}}}; if forward has "
        "another first axis, as in (batch, nodes, …), import a module whose forward(x, edge_index) puts the nodes "
        f"where this one has them, and first again in what it returns ({failure})"
    )


def _asked(found: Signature, choices: Sequence[Sequence[Form]], trials: _Trials) -> list[Sequence[Form]]:
    """One form where the operation that an argument meets first says which; all forms where none does."""
    told = {argument.name for argument, forms in zip(found.arguments, choices, strict=True) if len(forms) == 1}
    start = _formed(found, [forms[0] for forms in choices])

    last = [start]

    def run(candidate: Signature) -> None:
        last[0] = candidate
        with contextlib.suppress(NoRows):
            trials.forward(candidate)

    try:
        known, free = with_found_widths(start, told, run)
    except Unanswered:
        raise
    except Exception:
        if all(math.prod(each.shape) < STEP for each in last[0].arguments):
            raise  # with all widths as they are wanted
        return list(choices)
    finally:
        trials.without_rows.clear()  # some widths were of no model
    return [
        forms if argument.name in free or argument.name in told else [Form(0, argument.shape, argument.below)]
        for argument, forms in zip(known.arguments, choices, strict=True)
    ]


def _is_free(found: Signature, given: Collection[str], choices: Sequence[Sequence[Form]], trials: _Trials) -> bool:
    """Whether a width that was tried because some weight has it would do as well as any other."""
    for place, (argument, forms) in enumerate(zip(found.arguments, choices, strict=True)):
        if (
            argument.name in given
            or forms[0].told
            or len(argument.shape) != 1
            or argument.below is not None
            or argument.mask
        ):
            continue
        wider = [*found.arguments]
        wider[place] = replace(argument, shape=(argument.shape[0] + OTHER,))
        if not trials.fails(replace(found, arguments=tuple(wider))):
            return True
    return False


def _fitting(found: Signature, choices: Sequence[Sequence[Form]], trials: _Trials) -> list[Signature]:
    """The likeliest signatures with which forward runs."""
    fitting: list[Signature] = []
    rank = 0
    for forms in itertools.islice(_by_rank(choices), TRIALS):
        if fitting and sum(form.rank for form in forms) > rank:
            break
        if trials.over:
            trials.cut = True
            break
        rank = sum(form.rank for form in forms)
        candidate = _formed(found, forms)
        if not trials.fails(candidate) and all(  # integers are guessed only where floats do not do
            form.below is None or form.rank == 0 or trials.fails(_with(candidate, place, None))
            for place, form in enumerate(forms)
        ):
            fitting.append(candidate)
    return fitting


def _by_rank(choices: Sequence[Sequence[Form]]) -> Iterator[tuple[Form, ...]]:
    """All combinations, the likeliest first; of many arguments there are millions, so they are made one by one."""
    ranks = [sorted({form.rank for form in forms}) for forms in choices]
    for total in range(sum(max(each, default=0) for each in ranks) + 1):
        for combination in _of_total(ranks, total):
            pairs = zip(choices, combination, strict=True)
            yield from itertools.product(*([form for form in forms if form.rank == rank] for forms, rank in pairs))


def _of_total(ranks: Sequence[Sequence[int]], total: int) -> Iterator[tuple[int, ...]]:
    """One rank of each argument, which add up to `total`."""
    if not ranks:
        if total == 0:
            yield ()
        return
    for rank in ranks[0]:
        if rank <= total:
            yield from ((rank, *rest) for rest in _of_total(ranks[1:], total - rank))


def _check_widths(found: Signature, given: Mapping[str, Told]) -> None:
    """ModelError if `features` gives an argument another width than it has columns."""
    for argument in found.arguments:
        if not argument.made_of or argument.name not in given:
            continue
        shape = told_forms(argument.name, given[argument.name])[0].shape
        if math.prod(shape) != len(argument.made_of):
            raise ModelError(
                f"features gives {argument.name!r} rows of {math.prod(shape)} numbers, inputs gives it "
                f"{len(argument.made_of)} columns: {', '.join(argument.made_of)}"
            )


def _choices(net: torch.nn.Module, argument: Argument, given: Any, matrices: Collection[str]) -> list[Form]:
    """Forms that the rows of an argument may have."""
    if given is not None:
        return told_forms(argument.name, given)
    if argument.name == "edge_weight" or argument.name in matrices:
        return [Form(0, ())]
    known = {"x": "in_channels", "edge_attr": "edge_dim"}.get(argument.name)
    width = getattr(net, known, None) if known else None
    if isinstance(width, tuple | list) and len(set(width)) == 1:
        width = width[0]
    if isinstance(width, int) and width > 0:
        return [Form(0, (width,), told=True), Form(1, (), 1), Form(2, (), None)]
    sizes = sorted({size for tensor in net.parameters() for size in tensor.shape})
    wide = [(size,) for size in sizes]
    # x and edge_attr are rows of several numbers in most models, other arguments mostly a number: a kind, an age
    number, row = (2, 0) if argument.name in TABLES else (0, 2)
    forms = [Form(number, ()), Form(1, (), 1), *(Form(row, shape) for shape in wide)]
    forms += [Form(3, shape, 1) for shape in dict.fromkeys([(1,), *wide])]
    # what is joined with an embedding is narrower than the map behind it
    left = {a - b for a, b in itertools.combinations(reversed(sizes), 2)} - set(sizes)
    forms += [Form(row + 1, (size,)) for size in sorted(left)]
    if argument.name.endswith("mask"):  # integers would pass too: as the numbers of rows
        return [Form(0, ()), Form(1, (), mask=True), *(form._replace(rank=form.rank + 2) for form in forms)]
    return forms


def _with_ranges(found: Signature, given: Mapping[str, Any], trials: _Trials) -> Signature:
    """With as many different integers as forward takes: the rows of an embedding, the classes of a one-hot row."""
    for place, argument in enumerate(found.arguments):
        told = told_forms(argument.name, given[argument.name]) if argument.name in given else []
        if argument.below is not None and not (told and told[0].below):
            found = _with(found, place, _most(found, place, trials))
    return found


def _most(found: Signature, place: int, trials: _Trials) -> int:
    """As many different integers as an argument may be, found by doubling and halving."""
    low, high = 1, 2
    while not trials.fails(_with(found, place, high)):
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return ANY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if not trials.fails(_with(found, place, middle)) else (low, middle)
    return low


def _with(found: Signature, place: int, below: int | None) -> Signature:
    arguments = list(found.arguments)
    arguments[place] = replace(arguments[place], below=below)
    return replace(found, arguments=tuple(arguments))


def _formed(found: Signature, forms: Sequence[Form]) -> Signature:
    arguments = (
        replace(argument, shape=form.shape, below=form.below, mask=form.mask)
        for argument, form in zip(found.arguments, forms, strict=True)
    )
    return replace(found, arguments=tuple(arguments))
