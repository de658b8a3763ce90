"""Signatures as JSON Schema: for OpenAPI, and for BentoML's own clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport_runtime.signature import TensorSpec

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What was wrong, as a sentence."}},
}
"""The body of every answer that is not 200."""


def object_schema(tensors: Sequence[TensorSpec] | None) -> dict[str, Any]:
    """Describe the JSON object that holds these tensors as nested lists; any object where they are not known."""
    if tensors is None:
        return {"type": "object", "additionalProperties": True}
    return {
        "type": "object",
        "required": [tensor.name for tensor in tensors],
        "properties": {tensor.name: tensor_schema(tensor) for tensor in tensors},
        "additionalProperties": False,
    }


def tensor_schema(tensor: TensorSpec) -> dict[str, Any]:
    """Describe one tensor as nested lists: one level a dimension, with its size where that is fixed."""
    schema = element_schema(tensor.dtype)
    for size in reversed(tensor.shape):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
    return {**schema, "description": str(tensor)}


def element_schema(dtype: str) -> dict[str, Any]:
    """Describe one element of a dtype of `modelport_runtime.signature.DTYPES`."""
    if dtype == "string":
        return {"type": "string"}
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype.startswith("float"):
        formats = {"float32": {"format": "float"}, "float64": {"format": "double"}}
        return {"type": "number", **formats.get(dtype, {})}
    limits = np.iinfo(dtype)
    return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}


def client_schema(tensors: Sequence[TensorSpec] | None) -> dict[str, Any]:
    """Describe the same object in the words of BentoML's clients, which then take and give numpy arrays."""
    schema = object_schema(tensors)
    for tensor in tensors or ():
        # Their tensors are numbers or booleans of a numpy dtype; text stays nested lists.
        if tensor.dtype != "string":
            schema["properties"][tensor.name] = {
                "type": "tensor",
                "format": "numpy-array",
                "dtype": "bool_" if tensor.dtype == "bool" else tensor.dtype,
            }
    return schema
