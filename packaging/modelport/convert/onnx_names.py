"""Giving the ends of an ONNX graph the names that a signature asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def rename_ends(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Rename a graph's inputs and outputs in place; whatever inside already has such a name gets another.

    Args:
        graph: A GraphProto without initializers among its inputs.
        inputs: The new name of each input, in order.
        outputs: The new name of each output, in order. A name may be an input's and an output's at once only where
            the graph passes that input through.
    """
    ends = {value.name: name for value, name in zip(graph.input, inputs, strict=True)}
    for value, name in zip(graph.output, outputs, strict=True):
        ends.setdefault(value.name, name)
    taken = set(ends.values())
    names = {name: f"{name}__inside" for name in _names(graph) if name in taken and name not in ends}
    _rename(graph, {**names, **ends})
    for value, name in zip(graph.output, outputs, strict=True):
        if value.name != name:
            graph.node.add(op_type="Identity", input=[value.name], output=[name], name=f"{name}__copy")
            value.name = name


def _names(graph: Any) -> set[str]:
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(name for name in node.output if name)
        for inner in _inner_graphs(node):
            names |= _names(inner)
    return names


def _inner_graphs(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inner_graphs(node):
            _rename(inner, names)
