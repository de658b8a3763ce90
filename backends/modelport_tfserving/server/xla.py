"""Finds the signatures that need XLA compilation, which TensorFlow Serving leaves off by default."""

from __future__ import annotations

from typing import Any

_XLA_OPS = frozenset({"XlaCallModule", "XlaLaunch"})


def find_xla_signatures(graph: Any, meta_graph: Any) -> frozenset[str]:
    """Return the signatures whose outputs depend on an op that only XLA can run.

    TensorFlow's Python package would compile these; `tensorflow_model_server` with its default flags refuses to.
    """
    functions = _find_xla_functions(meta_graph.graph_def.library.function)
    if not functions and not any(_is_xla_node(node, functions) for node in meta_graph.graph_def.node):
        return frozenset()
    return frozenset(
        name
        for name, signature in meta_graph.signature_def.items()
        if any(_depends_on_xla(graph, info.name, functions) for info in signature.outputs.values() if info.name)
    )


def _find_xla_functions(library: Any) -> frozenset[str]:
    found: set[str] = set()
    while True:
        more = {
            function.signature.name
            for function in library
            if function.signature.name not in found
            and (
                function.attr["_XlaMustCompile"].b
                or any(_is_xla_node(node, frozenset(found)) for node in function.node_def)
            )
        }
        if not more:
            return frozenset(found)
        found |= more


def _is_xla_node(node: Any, functions: frozenset[str]) -> bool:
    called = {attr.func.name for attr in node.attr.values() if attr.HasField("func")}
    called |= {func.name for attr in node.attr.values() for func in attr.list.func}
    must_compile = "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b
    return node.op in _XLA_OPS or must_compile or bool((called | {node.op}) & functions)


def _depends_on_xla(graph: Any, tensor_name: str, functions: frozenset[str]) -> bool:
    # The initialization signature of TensorFlow 2 names an operation where others name a tensor.
    element = graph.as_graph_element(tensor_name)
    pending = [getattr(element, "op", element)]
    seen: set[str] = set()
    while pending:
        operation = pending.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if _is_xla_node(operation.node_def, functions):
            return True
        pending += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return False
