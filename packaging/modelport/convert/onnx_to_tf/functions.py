"""ONNX ops that are defined by other ops: by a function of the model, or by a body that onnx itself carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Element type and static shape of an input; None for one that is left out.
InputType = tuple[int, tuple[int | None, ...] | None] | None
#: Domain, name and overload of a function.
FunctionKey = tuple[str, str, str]


def function_body(proto: Any, version: int, types: Sequence[InputType] | None) -> Any | None:
    """Return the FunctionProto that defines a node, with its attributes filled in, or None.

    Args:
        proto: The node.
        version: Opset version in force for its domain.
        types: What is known of its inputs. Without them (None), bodies that depend on types are tried as if all
            inputs were float32, which serves to see which ops they use.
    """
    import onnx

    try:
        schema = onnx.defs.get_schema(proto.op_type, version, proto.domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= version]
        if not versions:
            return None
        raw = schema.get_function_with_opset_version(max(versions))
    elif schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        known = types or [(onnx.TensorProto.FLOAT, None) if name else None for name in proto.input]
        described = [_type_bytes(known_type) for known_type in known]
        if not versions:
            return None
        raw = schema.get_context_dependent_function_with_opset_version(
            max(versions), proto.SerializeToString(), described
        )
    else:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(raw)
    defaults = {name: attr.default_value for name, attr in schema.attributes.items() if attr.default_value.name}
    return _with_attributes(body, proto, defaults) if body.node else None


def own_functions(model: Any) -> dict[FunctionKey, Any]:
    """Return a model's own functions, by what a node calls them by."""
    return {(function.domain, function.name, function.overload): function for function in model.functions}


def called_function(proto: Any, functions: Mapping[FunctionKey, Any]) -> Any | None:
    """Return the body of the model's own function that a node calls, with its attributes filled in, or None."""
    import onnx

    function = functions.get((proto.domain, proto.op_type, proto.overload))
    if function is None:
        return None
    body = onnx.FunctionProto()
    body.CopyFrom(function)
    return _with_attributes(body, proto, {attribute.name: attribute for attribute in function.attribute_proto})


def _type_bytes(known: InputType) -> bytes:
    import onnx

    if known is None:
        return b""
    elem_type, shape = known
    made: bytes = onnx.helper.make_tensor_type_proto(elem_type, shape).SerializeToString()
    return made


def _with_attributes(body: Any, proto: Any, defaults: Mapping[str, Any]) -> Any:
    """Replace references to the function's attributes by the node's values, or their defaults."""
    _fill(body.node, {**defaults, **{attribute.name: attribute for attribute in proto.attribute}})
    return body


def _fill(nodes: Iterable[Any], given: Mapping[str, Any]) -> None:
    """Fill references in nodes and in those of their inner graphs; one to what is not given leaves its default."""
    import onnx

    for node in nodes:
        kept = []
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                kept.append(attribute)
                for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                    _fill(graph.node, given)
            elif attribute.ref_attr_name in given:
                filled = onnx.AttributeProto()
                filled.CopyFrom(given[attribute.ref_attr_name])
                filled.name = attribute.name
                kept.append(filled)
        del node.attribute[:]
        node.attribute.extend(kept)
