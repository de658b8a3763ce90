"""Which function lowers which ONNX op, by domain, name and opset version."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelport.convert.onnx_to_tf.node import Node

#: Takes the node, returns one result or a tuple of results: tensors, arrays or `Value`s.
LoweringFunction = Callable[["Node"], Any]

ML = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Lowering:
    """One way to express an op in TensorFlow, from opset version `since` on (until the next entry's)."""

    since: int
    function: LoweringFunction


_LOWERINGS: dict[tuple[str, str], list[Lowering]] = {}


def lowers(*ops: str, domain: str = "", since: int = 1) -> Callable[[LoweringFunction], LoweringFunction]:
    """Register the decorated function for each of `ops`, from opset `since` of `domain` on."""

    def register(function: LoweringFunction) -> LoweringFunction:
        for op in ops:
            _LOWERINGS.setdefault((domain, op), []).append(Lowering(since, function))
        return function

    return register


@cache
def load_lowerings() -> None:
    """Import every module of `ops`, so that all of them have registered."""
    package = importlib.import_module("modelport.convert.onnx_to_tf.ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def find_lowering(domain: str, op: str, version: int) -> LoweringFunction | None:
    """Return what lowers `op` at opset `version`, or None."""
    load_lowerings()
    fitting = [entry for entry in _LOWERINGS.get((domain, op), ()) if entry.since <= version]
    return max(fitting, key=lambda entry: entry.since).function if fitting else None


def lowered_ops() -> dict[str, list[str]]:
    """Return the names of all ops that have a lowering of their own, sorted, by domain."""
    load_lowerings()
    names: dict[str, list[str]] = {}
    for domain, op in sorted(_LOWERINGS):
        names.setdefault(domain, []).append(op)
    return names
