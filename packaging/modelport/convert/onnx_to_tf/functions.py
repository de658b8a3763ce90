"""ONNX ops that are defined by other ops: the function bodies that onnx itself carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Element type and static shape of an input; None for one that is left out.
InputType = tuple[int, tuple[int | None, ...] | None] | None


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
    return _with_attributes(body, proto, schema) if body.node else None


def _type_bytes(known: InputType) -> bytes:
    import onnx

    if known is None:
        return b""
    elem_type, shape = known
    made: bytes = onnx.helper.make_tensor_type_proto(elem_type, shape).SerializeToString()
    return made


def _with_attributes(body: Any, proto: Any, schema: Any) -> Any:
    """Replace references to the op's attributes by the node's values, or the op's defaults."""
    import onnx

    given = {name: attr.default_value for name, attr in schema.attributes.items() if attr.default_value.name}
    given.update({attribute.name: attribute for attribute in proto.attribute})
    for node in body.node:
        kept = []
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                source = given.get(attribute.ref_attr_name)
                if source is None:
                    continue
                filled = onnx.AttributeProto()
                filled.CopyFrom(source)
                filled.name = attribute.name
                kept.append(filled)
            else:
                kept.append(attribute)
        del node.attribute[:]
        node.attribute.extend(kept)
    return body
