"""Records what a module computes: every aten operation of one forward, as values of a formula.

Comes in: the tensors of an example graph, with what they stand for. Goes out: the symbol of every tensor that the
module makes. Knows no layer and no operation: what an operation means is in the aten_*.py tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from pipeline.errors import FormulaError, ModelError
from pipeline.formula.values import Value
from pipeline.pyg.across_nodes import one_by_one
from pipeline.pyg.aten_sparse import PRODUCTS, SQUARED
from pipeline.pyg.aten_take import by_node, mask_of_edges, some_edges, table_of_nodes, table_too_short
from pipeline.pyg.by_parts import WRITES_BY_INDEX, by_parts
from pipeline.pyg.call import Call, Handler, Sizes, bind
from pipeline.pyg.captured import Captured
from pipeline.pyg.chosen import Chosen
from pipeline.pyg.definitions import DEFINITIONS
from pipeline.pyg.joined import cut
from pipeline.pyg.layout import tensor_shape
from pipeline.pyg.node_masks import chosen_by, count_read, mixed, numbers
from pipeline.pyg.overwritten import overlap, overwritten
from pipeline.pyg.precision import widened
from pipeline.pyg.symbols import (
    End,
    Joined,
    Learned,
    NodeNumbers,
    Opaque,
    Refusal,
    Rows,
    SparseMatrix,
    Symbol,
)
from pipeline.pyg.tables import FACTORIES, HANDLERS, OF_MATRICES, PRIMS, SHAPE_ONLY
from pipeline.pyg.where import CANNOT, ModuleStack, Place

WRITES_ROWS = {"index_copy", "index_put", "_index_put_impl", "index_fill"}
ROW_LOOKUPS = {"index", "index_select", "embedding"}
BY_MASK = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
READ_BY_PYTHON = {"_local_scalar_dense", "equal", "is_nonzero", "item"}


@dataclass(frozen=True)
class Step:
    """One operation whose result has rows, for the report of a check that fails."""

    place: Place
    symbol: Rows
    tensor: Tensor | None
    """None: not kept, or behind a choice of nodes, of which there are as many as in no graph."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The mode under which a forward is recorded. `keep`: also keep every result, to compare them."""

    def __init__(self, sizes: Sizes, captured: Captured, stack: ModuleStack, keep: bool = False):
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes = sizes.copy()
        self.captured = captured
        self.stack = stack
        self.steps: list[Step] = []
        # what is wrong where the check on other graphs finds other numbers (loops_again.py, merged_edges.py)
        self.unconfirmed: ModelError | None = None
        self.merges = False
        self._keep = keep
        self._paused = 0
        self._within: list[str] = []  # operations that are being taken apart, the module's own first
        self._symbols: Any = WeakIdKeyDictionary()
        self._in_memory: dict[int, Any] = {}  # where a storage begins → the tensors that were bound there

    # ---- symbols of tensors

    def bind(self, tensor: Tensor, symbol: Symbol) -> None:
        """From here on, `tensor` stands for `symbol`."""
        self._symbols[tensor] = symbol
        if tensor.layout is torch.strided:
            self._in_memory.setdefault(_memory(tensor), WeakIdKeyDictionary())[tensor] = None

    def symbol(self, tensor: Tensor) -> Symbol:
        """What a tensor stands for; one never seen before is a constant, unless it seems to have rows."""
        known: Symbol | None = self._symbols.get(tensor)
        if known is not None:
            return known
        found: Symbol = self.learned(tensor)
        row = next((space for space in map(self.sizes.space, tensor.shape) if space is not None), None)
        if row is not None:
            found = self._opaque(
                f"a tensor of shape {tuple(tensor.shape)}",
                Refusal(f"has one row per {str(row).rstrip('s')} but does not come from forward's inputs"),
            )
        self.bind(tensor, found)
        return found

    def learned(self, tensor: Tensor, make: Callable[[], Value] | None = None) -> Learned:
        """The symbol of a tensor that torch has computed from weights; `make` if it is a parameter in another shape."""
        return Learned(tensor, make or (lambda: self.captured.value(tensor, self.sizes)))

    @contextmanager
    def paused(self) -> Any:
        """Operations inside the block are computed but not recorded."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def say(self, tensor: Tensor, operation: str, make: Callable[[], Symbol]) -> None:
        """Gives a tensor the symbol that `make` makes, or the error that `make` raises."""
        try:
            symbol = make()
        except (Refusal, FormulaError, ModelError) as error:
            symbol = self._cannot(operation, error)
        self.bind(tensor, symbol)
        self._log(operation, tensor, symbol)

    # ---- operations

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = widened(args), widened(dict(kwargs or {}))
        if self._paused:
            return func(*args, **kwargs)
        namespace, _, name = func._schema.name.partition("::")
        bound = bind(func, args, kwargs)
        if name in BY_MASK:
            indices = bound["indices"] = [self._unmasked(index, name) for index in bound["indices"]]
            args = (args[0], indices, *args[2:])
        written = [
            tensor
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tree_leaves(bound[argument.name])
            if isinstance(tensor, Tensor)
        ]
        if written and name.endswith("_"):
            name = name[:-1]
        arguments = tree_map(lambda item: self.symbol(item) if isinstance(item, Tensor) else item, bound)
        symbols = [item for item in tree_leaves(arguments) if isinstance(item, Symbol)]
        weights_only = all(isinstance(symbol, Learned) for symbol in symbols)
        if name in READ_BY_PYTHON:
            count = count_read(symbols, self.sizes, self.place(name).line)
            if count is not None:
                return count
            self.refuse_reading(name, symbols)
        if name == "nonzero" and (chosen := self._chosen(bound["self"], name)) is not None:
            result = chosen[:, None]
            self.bind(result, self.symbol(chosen))
            return result

        if name in WRITES_BY_INDEX and (mask := mask_of_edges(arguments, bound)) is not None:
            return self._written_where(mask, bound, name if written else "")

        handler = HANDLERS.get(name) if namespace == "aten" else PRIMS.get(name)
        if any(isinstance(symbol, SparseMatrix) for symbol in symbols):
            handler = OF_MATRICES.get(name, handler)
        random = torch.Tag.nondeterministic_seeded in func.tags
        if handler is None and not weights_only:
            outputs = self._taken_apart(func, args, kwargs, written)
            if outputs is not NotImplemented:
                return outputs
        if name in ROW_LOOKUPS and _by_node(symbols):
            tables = [self.captured.made_of(each.tensor) for each in symbols[:1] if isinstance(each, Learned)]
            raise self.place(name).error(by_node(tables))  # torch may not get through: the table has its size
        if sum(isinstance(symbol, SparseMatrix) for symbol in symbols) > 1 and name in PRODUCTS:
            raise self.place(name).error(SQUARED)  # of edges that are there twice, torch may crash
        alone = one_by_one(name, arguments)
        if alone is not None:
            raise self.place(name).error(alone)
        some = some_edges(Call(name, arguments, bound, [], self.sizes, self.learned))
        if some is not None:
            tensor: Tensor = bound["self"].clone()
            self.bind(tensor, some)
            self._log(name, tensor, some)
            return tensor
        if not weights_only:  # what a weight was before rows are written to it, which the operation may add to
            arguments.update(
                (key, self.learned(tensor.clone()))
                for key, tensor in bound.items()
                if any(tensor is each for each in written) and isinstance(arguments[key], Learned)
            )
        try:
            result = func(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            raise self._own_error(name, symbols, error) or error from error
        outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        call = Call(name, arguments, bound, outputs, self.sizes, self.learned)
        if random:
            same = "a model must give the same output each time"
            if "dropout" in name or name.startswith("bernoulli"):
                same += "; of dropout: F.dropout(x, p, training=self.training), or a torch.nn.Dropout made in __init__"
            refusal = Refusal("draws random numbers", same)
            made: Sequence[Symbol] = [self._opaque(name, refusal)] * len(outputs)
        elif weights_only and (name not in FACTORIES | SHAPE_ONLY or (written and name != "copy")):
            made = [self.learned(tensor) for tensor in outputs]  # torch has the result
        else:
            made = self._say(call, handler)
        if any(isinstance(symbol, Learned) for symbol in made):
            inputs = [item for item in tree_leaves(bound) if isinstance(item, Tensor)]
            for tensor in [*written, *outputs]:
                self.captured.computed(tensor, inputs)
        for tensor in written:
            self._rewrite(tensor, made[0], name)
        for tensor, symbol in zip(outputs, made, strict=True):
            self.bind(tensor, symbol)
            self._log(name, tensor, symbol)
        return result

    def _chosen(self, mask: Tensor, operation: str) -> Tensor | None:
        """Numbers of the nodes that a mask chooses; None if it is no mask over the nodes."""
        nodes = chosen_by(mask, self.symbol(mask), self.sizes, self.place(operation).line)
        if nodes is None:
            return None
        found = numbers(nodes, self.sizes)
        self.bind(found, NodeNumbers(nodes))
        return found

    def _own_error(self, operation: str, symbols: Sequence[Symbol], error: Exception) -> ModelError | None:
        """What is behind an error of torch: sizes that are not those of the graph that the model was trained on."""
        refusal = mixed(symbols)
        if refusal is None and isinstance(error, RuntimeError):  # an IndexError: an integer that is no row of a table
            refusal = table_of_nodes(symbols, self.captured)
        if refusal is None:
            refusal = table_too_short(symbols, self.captured, str(error))
        if refusal is not None:
            return self.place(operation).error(refusal)
        if self.sizes.any_chosen:
            return next((symbol.error for symbol in symbols if isinstance(symbol, Opaque)), None)
        return None

    def _unmasked(self, index: Tensor | None, operation: str) -> Tensor | None:
        """The index of x[index]; for a mask over the nodes, their numbers."""
        found = self._chosen(index, operation) if index is not None and index.dtype is torch.bool else None
        return index if found is None else found

    def _say(self, call: Call, handler: Handler | None) -> Sequence[Symbol]:
        """The symbols of the outputs, Opaque where the tables have none."""
        name = call.operation
        try:
            _raise_opaque(call)
            if handler is None:
                raise Refusal("is not supported on values of nodes or edges")
            made = self._made(call, handler)
            results = made if isinstance(made, tuple) else (made,)
            several = [self._cannot(name, each) if isinstance(each, Refusal) else each for each in results]
            for symbol, tensor in zip(several, call.outputs, strict=True):
                if isinstance(symbol, Rows) and tensor_shape(symbol, call.count(symbol)) != tuple(tensor.shape):
                    raise Refusal(f"gives a tensor of shape {tuple(tensor.shape)}, not of one row per {symbol.space}")
        except (Refusal, FormulaError, ModelError) as error:
            return [self._cannot(name, error)] * len(call.outputs)
        return several

    def _made(self, call: Call, handler: Handler) -> Symbol | tuple[Symbol | Refusal, ...]:
        """What the tables say; of a tensor of several types, what they say of each."""
        leaves = tree_leaves(call.arguments)
        if any(isinstance(each, Joined) or (isinstance(each, End) and each.start) for each in leaves):
            return by_parts(call, handler, FACTORIES)
        return handler(call)

    def _taken_apart(self, func: torch._ops.OpOverload, args: Any, kwargs: Any, written: Sequence[Tensor]) -> Any:
        """An operation that is in no table, as the simpler ones that it is defined by, mostly by torch itself."""
        plain: Any = func
        if written:  # in place: what the operation of the same name computes, then written to the tensor
            name = func._schema.name.partition("::")[2]
            packet = getattr(torch.ops.aten, name.rstrip("_"), None) if name.endswith("_") else None
            plain = getattr(packet, func._overloadname, None)
            if plain is None:
                return NotImplemented
        self._within.append(func._schema.name.partition("::")[2])
        try:
            with self:
                result = plain.decompose(*args, **kwargs)
                if result is NotImplemented and plain in DEFINITIONS:
                    result = DEFINITIONS[plain](*args, **kwargs)
        finally:
            self._within.pop()
        if result is NotImplemented or not written:
            return result
        symbol = self.symbol(result)
        with self.paused():
            outputs = func(*args, **kwargs)
        self._rewrite(written[0], symbol, func._schema.name)
        return outputs

    def _written_where(self, mask: Tensor, bound: Mapping[str, Any], in_place: str) -> Tensor:
        """x[mask] = y[mask], of edges: y is still there for all of them, so torch's own operation does not fit.
        `in_place`: the operation, if it writes to x; else empty."""
        rows, values = bound["self"], bound["values"]
        with self:
            mask = mask.reshape(-1, *(1,) * (rows.dim() - 1))
            new = torch.where(mask, rows + values if bound["accumulate"] else values, rows)
        if not in_place:
            return new
        symbol = self.symbol(new)
        with self.paused():
            rows.copy_(new)
        self._rewrite(rows, symbol, in_place)
        return rows

    def _rewrite(self, tensor: Tensor, symbol: Symbol, operation: str) -> None:
        """`tensor` was changed in place: so were all that share its memory."""
        if isinstance(symbol, Learned):
            self.captured.forget(tensor)
        for other in list(self._in_memory.get(_memory(tensor), ())) if tensor.layout is torch.strided else ():
            if other is not tensor and overlap(other, tensor):
                self.bind(other, self._after_change(other, tensor, symbol, operation))
        self.bind(tensor, symbol)

    def _after_change(self, other: Tensor, tensor: Tensor, symbol: Symbol, operation: str) -> Symbol:
        before = self._symbols[other]
        if isinstance(symbol, Learned) and isinstance(before, Learned):
            return self.learned(other)  # read from its memory when it is needed
        try:
            return overwritten(other, before, tensor, symbol, self.sizes)
        except (Refusal, FormulaError) as error:
            return self._cannot(operation, error)

    def _log(self, name: str, tensor: Tensor, symbol: Symbol) -> None:
        if isinstance(symbol, Joined):
            with self.paused():
                tensors = cut(symbol, tensor, self.sizes) if self._keep else [tensor] * len(symbol.parts)
            for own, part in zip(tensors, symbol.parts, strict=True):
                self._log(name, own, part)
        if isinstance(symbol, Rows) and not isinstance(symbol.space, Chosen):  # those are no rows of the graph
            known = self._keep and not self.sizes.any_chosen
            with self.paused():
                kept = tensor.clone() if known else None
            self.steps.append(Step(self.place(name), symbol, kept))

    # ---- what cannot be said

    def _cannot(self, operation: str, error: Refusal | FormulaError | ModelError) -> Opaque:
        if isinstance(error, ModelError):  # of an Opaque input: where it came from is what the user needs to know
            return Opaque(error)
        problem = error if isinstance(error, Refusal) else Refusal(f"does not fit a formula: {error}")
        return self._opaque(operation, problem)

    def _opaque(self, operation: str, refusal: Refusal) -> Opaque:
        if self._within:
            refusal = Refusal(f"is not supported on values of nodes or edges: it {refusal.problem}", refusal.remedy)
        return Opaque(self.place(operation).error(refusal), refusal.unwritten)

    def place(self, operation: str) -> Place:
        """Where an operation is."""
        return self.stack.place(self._within[0] if self._within else operation)

    def refuse_reading(self, name: str, symbols: Sequence[Symbol]) -> None:
        """ModelError unless Python reads what does not depend on the graph."""
        if all(isinstance(symbol, Learned) for symbol in symbols):
            for symbol in symbols:
                assert isinstance(symbol, Learned)
                self.captured.read_by_python |= self.captured.made_of(symbol.tensor)
            return
        refusal = Refusal(
            "reads a number that depends on the graph into Python (.item(), int(), float(), if)",
            "a program may not depend on the graph that it is recorded on",
        )
        error = self.place(name).error(refusal)
        for symbol in symbols:
            if isinstance(symbol, Opaque):
                raise ModelError(f"{error}. It comes from: {str(symbol.error).removeprefix(CANNOT)}")
        raise error


def _raise_opaque(call: Call) -> None:
    """The error of an argument that cannot be said, if the operation reads its numbers."""
    if call.operation in FACTORIES:
        return
    for name, argument in call.arguments.items():
        overwritten = name == "out" or (call.operation == "copy" and name == "self")
        for symbol in tree_leaves(argument):
            written = (
                call.operation in WRITES_ROWS and name == "self" and isinstance(symbol, Opaque) and symbol.unwritten
            )
            if isinstance(symbol, Opaque) and not overwritten and not written:
                raise symbol.error


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _by_node(symbols: Sequence[Symbol]) -> bool:
    return isinstance(symbols[0], Learned) and any(isinstance(symbol, End | NodeNumbers) for symbol in symbols)


class ReadsByPython(TorchFunctionMode):
    """Refuses what leaves torch without an operation: x.tolist(), x.numpy()."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("tolist", "numpy", "__array__", "__dlpack__") and isinstance(args[0], Tensor):
            self._recorder.refuse_reading(name, [self._recorder.symbol(args[0])])
        return func(*args, **(kwargs or {}))
