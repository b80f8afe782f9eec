"""Arithmetic on weights is done once, when planning; batch norm disappears into the linear map below it.

((x @ W + b) - mean) * scale + shift → x @ (W * scale) + ((b - mean) * scale + shift)
transpose(w), rsqrt(var + eps) * g   → a new weight
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.interpret import execute_rows
from pipeline.formula.program import Program
from pipeline.formula.values import Value, apply, weight
from pipeline.lowering.rewriting import rebuild

_AFFINE = ("add", "sub", "mul", "div")


def fold_affine(value: Value) -> Value | None:
    """A chain of +, -, *, / with weights above a matrix product → one product and one sum."""
    chain: list[tuple[str, Value]] = []
    below = value
    while below.op in _AFFINE:
        left, right = below.inputs
        if right.is_weight and not left.is_weight:
            chain.append((below.op, right))
            below = left
        elif left.is_weight and not right.is_weight and below.op in ("add", "mul"):
            chain.append((below.op, left))
            below = right
        else:
            break
    if below.op != "matmul" or not below.inputs[1].is_weight or len(below.inputs[1].shape) != 2:
        return None
    lanes = below.shape[-1]
    if any(operand.shape not in ((), (1,), (lanes,)) for _, operand in chain):
        return None
    if len(chain) < 2 and not any(op in ("mul", "div") for op, _ in chain):
        return None  # x @ W + b already
    matrix, shift = below.inputs[1], None
    for op, operand in reversed(chain):
        if op in ("mul", "div"):
            matrix = apply(op, matrix, operand)
            shift = None if shift is None else apply(op, shift, operand)
        elif shift is None:
            shift = operand if op == "add" else apply("neg", operand)
        else:
            shift = apply(op, shift, operand)
    product = apply("matmul", below.inputs[0], matrix)
    return product if shift is None else product + shift


def fold_weights(
    program: Program, weights: Mapping[str, npt.NDArray[Any]], dtype: npt.DTypeLike = np.float32
) -> tuple[Program, dict[str, npt.NDArray[Any]]]:
    """Executes everything that depends on weights only (in float64), and keeps the weights still used (as `dtype`)."""
    known: dict[int, npt.NDArray[Any]] = {}
    folded: dict[str, npt.NDArray[Any]] = {}
    prefix = "folded."
    while any(name.startswith(prefix) for name in weights):  # a weight of the model may have such a name
        prefix = f"_{prefix}"

    def change(value: Value) -> Value | None:
        if not value.is_weight:
            return None
        if value.op == "weight":
            known[value.id] = np.asarray(weights[value.attributes["name"]], np.float64)
            return None
        if value.op == "constant":
            known[value.id] = np.asarray(value.attributes["value"], np.float64)
            return None
        with np.errstate(all="ignore"):
            result = execute_rows(value, [known[operand.id] for operand in value.inputs])
        new = weight(f"{prefix}{len(folded)}", value.shape)
        known[new.id] = folded[new.attributes["name"]] = np.asarray(result, np.float64).reshape(value.shape)
        return new

    program = rebuild(program, change)
    kept = {
        name: np.ascontiguousarray(folded[name] if name in folded else weights[name], dtype) for name in program.weights
    }
    return program, kept
