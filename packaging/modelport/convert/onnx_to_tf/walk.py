"""The walk over an ONNX graph, node by node, that builds the TensorFlow graph.

A node whose inputs are all constants is computed at once (TensorFlow runs it eagerly) and becomes a constant
itself; a node over the elements of shapes is followed element by element; every other node is handed to its
lowering, or replaced by its ONNX function body where it has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf import elements
from modelport.convert.onnx_to_tf.dtypes import numpy_constant, onnx_dtype
from modelport.convert.onnx_to_tf.functions import FunctionKey, called_function, function_body
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, NodeRefused
from modelport.convert.onnx_to_tf.registry import find_lowering
from modelport.convert.onnx_to_tf.value import Array, Tensor, Value
from modelport.convert.onnx_to_tf.weights import Weights
from modelport.errors import ConversionError, ModelportError

Scope = dict[str, Value]

#: What a random op or a loop gives must not be frozen into the model.
_NEVER_FOLDED = {
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
}  # fmt: skip


class Walk:
    """One lowering in progress.

    Attributes:
        weights: Where constants become tensors of the TensorFlow graph.
        opsets: Version in force per domain.
        functions: The model's own functions; like in ONNX Runtime, an op of ONNX goes before one of its name.
    """

    def __init__(
        self, weights: Weights, opsets: Mapping[str, int], functions: Mapping[FunctionKey, Any] | None = None
    ) -> None:
        self.weights = weights
        self.opsets = opsets
        self.functions = functions or {}

    def tensor(self, value: Value) -> Tensor:
        """Return a value as a tensor."""
        if value.items is not None:
            raise ConversionError("a sequence stands where a tensor is needed; stack or pad its tensors in the model")
        plain = value.plain()
        return self.weights.tensor(plain) if isinstance(plain, np.ndarray) else plain

    def lower_graph(self, graph: Any, scope: Scope) -> list[Value]:
        """Lower a graph whose inputs (and outer names) are in `scope`; return its outputs in order."""
        for sparse in graph.sparse_initializer:
            raise ConversionError(
                f"initializer {sparse.values.name!r} is sparse; TensorFlow Serving takes dense tensors: store it as one"
            )
        scope.update({tensor.name: Value(numpy_constant(tensor)) for tensor in graph.initializer})
        wanted = [output.name for output in graph.output]
        self.lower_nodes(graph.node, scope, wanted)
        for name in wanted:
            if name not in scope:
                raise ConversionError(f"output {name!r} of graph {graph.name!r} is made by none of its nodes")
        return [scope[name] for name in wanted]

    def lower_nodes(self, nodes: Iterable[Any], scope: Scope, wanted: Sequence[str]) -> None:
        """Lower those of the nodes that the wanted results need; results are added to `scope`."""
        for proto in _needed(list(nodes), wanted):
            inputs = [scope.get(name) for name in proto.input]  # a function's optional inputs may be left out
            version = self.opsets.get(_domain(proto.domain), 1)
            node = Node(self, proto, version, inputs, _attributes(proto, scope))
            results = self._lower(node, proto)
            scope.update({name: value for name, value in zip(proto.output, results, strict=False) if name})

    def _lower(self, node: Node, proto: Any) -> list[Value]:
        followed = elements.follow(node)
        if followed is not None:
            return [followed]
        try:
            with tf.name_scope(_scope_name(node.name or node.op)):
                if self._is_constant(node):
                    return self._fold(node, proto)
                return self._dispatch(node, proto)
        except NodeRefused:
            raise
        except ModelportError as error:
            raise node.fail(str(error)) from error
        except Exception as error:
            raise node.fail(f"TensorFlow refuses it: {type(error).__name__}: {error}") from error

    def _is_constant(self, node: Node) -> bool:
        given = [value for value in node.inputs if value is not None]
        if node.op in _NEVER_FOLDED or node.attr("body", None) or node.attr("then_branch", None):
            return False
        return all(value.constant is not None for value in given)

    def _fold(self, node: Node, proto: Any) -> list[Value]:
        from tensorflow.python.eager import context  # tf.init_scope does not leave a plain graph

        with context.eager_mode(), self.weights.eagerly():
            values = self._dispatch(node, proto)
            return [_frozen(value) for value in values]

    def _dispatch(self, node: Node, proto: Any) -> list[Value]:
        lower = find_lowering(_domain(node.domain), node.op, node.version)
        if lower is not None:
            return as_values(lower(node))
        body = called_function(proto, self.functions)
        if body is None:
            types = [None if value is None else (onnx_dtype(value.dtype), value.shape) for value in node.inputs]
            body = function_body(proto, node.version, types)
        if body is None:
            raise node.fail(f"modelport knows no lowering for it at opset {node.version}")
        return self._lower_body(node, proto, body)

    def _lower_body(self, node: Node, proto: Any, body: Any) -> list[Value]:
        """Lower the nodes of the function that defines a node."""
        scope: Scope = {name: value for name, value in zip(body.input, node.inputs, strict=False) if value is not None}
        versions = {_domain(o.domain): o.version for o in body.opset_import}
        inner = Walk(self.weights, {**self.opsets, **versions}, self.functions)
        inner.lower_nodes(
            body.node, scope, [inside for inside, name in zip(body.output, proto.output, strict=False) if name]
        )
        return [scope.get(name, Value()) for name in body.output]


def as_values(results: Any) -> list[Value]:
    """Return what a lowering gave as a list of values."""
    several = results if isinstance(results, tuple | list) else (results,)
    return [result if isinstance(result, Value) else Value(result) for result in several]


def _frozen(value: Value) -> Value:
    if value.items is not None:
        return Value.of_items([_frozen(item) for item in value.items])
    if value.constant is not None:
        return value
    tensor: Tensor = value.plain()
    array: Array = np.asarray(tensor.numpy())
    return Value(array if array.dtype.kind not in "US" else array.astype(object))


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _scope_name(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_.]+", "_", name).lstrip("_")
    return cleaned or "node"


def _attributes(proto: Any, scope: Scope) -> dict[str, Any]:
    """Return a node's attributes as Python values; a graph comes with the scope that it may look into."""
    import onnx

    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            continue
        if attribute.type == onnx.AttributeProto.TENSOR:
            found[attribute.name] = numpy_constant(attribute.t)
        elif attribute.type == onnx.AttributeProto.GRAPH:
            found[attribute.name] = (attribute.g, scope)
        else:
            found[attribute.name] = onnx.helper.get_attribute_value(attribute)
    return found


def _needed(nodes: list[Any], wanted: Sequence[str]) -> list[Any]:
    """Return the nodes that lead to the wanted results, in their order."""
    names = set(wanted)
    kept = []
    for proto in reversed(nodes):
        if names.intersection(name for name in proto.output if name):
            kept.append(proto)
            names.update(_reads(proto))
    return kept[::-1]


def _reads(proto: Any) -> set[str]:
    """Return the names that a node reads, those that its inner graphs take from outside included."""
    names = {name for name in proto.input if name}
    for attribute in proto.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            names.update(output.name for output in graph.output)
            for inner in graph.node:
                names.update(_reads(inner))
    return names
