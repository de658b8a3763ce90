"""Which ops of a model cannot be lowered, without importing TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport.convert.onnx_to_tf.functions import function_body
from modelport.convert.onnx_to_tf.registry import find_lowering

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class UnsupportedOp:
    """A node that has neither a lowering nor an ONNX function body made of ops that do.

    Attributes:
        op: Name of the op.
        domain: Its domain, empty for ONNX's own.
        node: The node's name, or its first output where it has none.
        reason: Why it cannot be lowered.
    """

    op: str
    domain: str
    node: str
    reason: str


def unsupported_ops(model: onnx.ModelProto) -> tuple[UnsupportedOp, ...]:
    """Return the nodes of the graph, its inner graphs and its functions that cannot be lowered.

    An empty answer does not promise success: constants that turn out not to be constant are found when lowering.
    """
    own = {(function.domain, function.name) for function in model.functions}
    found = _unsupported(model.graph.node, model.opset_import, own)
    for function in model.functions:
        found += _unsupported(function.node, function.opset_import, own)
    return tuple(found)


def _unsupported(nodes: Any, opset_import: Any, own: set[tuple[str, str]]) -> list[UnsupportedOp]:
    opsets = {_domain(o.domain): o.version for o in opset_import}
    found: list[UnsupportedOp] = []
    for node in nodes:
        if (node.domain, node.op_type) not in own:
            reason = _reason(node, opsets)
            if reason:
                name = node.name or next((output for output in node.output if output), "")
                found.append(UnsupportedOp(node.op_type, _domain(node.domain), name, reason))
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                found += _unsupported(graph.node, opset_import, own)
    return found


def _reason(node: Any, opsets: dict[str, int]) -> str:
    domain = _domain(node.domain)
    version = opsets.get(domain)
    if version is None:
        return f"the model imports no opset of its domain {domain!r}"
    if find_lowering(domain, node.op_type, version) is not None:
        return ""
    body = function_body(node, version, None)
    if body is None:
        return f"no lowering at opset {version}"
    lacking = _unsupported(body.node, body.opset_import, set())
    return f"its function body needs {', '.join(sorted({op.op for op in lacking}))}" if lacking else ""


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
