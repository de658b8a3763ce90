"""Habits of exporters that hold on ONNX Runtime alone, written as ONNX defines them."""

from __future__ import annotations

from typing import Any


def spell_out_unbind(graph: Any) -> None:
    """Take away a ``split`` of one that stands beside ``keepdims=0`` in a SplitToSequence, in place.

    PyTorch's older exporter writes ``unbind`` so. ONNX ignores ``keepdims`` beside ``split``; ONNX Runtime heeds it.
    Without ``split`` the meaning is the same for both: parts of size one, and their axis dropped.

    Args:
        graph: A GraphProto.
    """
    _visit(graph, {})


def _visit(graph: Any, constants: dict[str, Any]) -> None:
    constants = {**constants, **{tensor.name: tensor for tensor in graph.initializer}}
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = attributes["value"].t
        drops = "keepdims" in attributes and not attributes["keepdims"].i
        if node.op_type == "SplitToSequence" and drops and len(node.input) > 1 and _is_one(constants, node.input[1]):
            del node.input[1]
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                _visit(inner, constants)


def _is_one(constants: dict[str, Any], name: str) -> bool:
    from onnx import numpy_helper

    tensor = constants.get(name)
    return tensor is not None and not tensor.dims and int(numpy_helper.to_array(tensor)) == 1
