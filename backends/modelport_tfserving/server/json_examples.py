"""Classify and Regress over REST: Examples from JSON objects."""

from __future__ import annotations

from typing import Any

from modelport_tfserving.server.json_tensors import is_base64, show, to_array, type_name
from modelport_tfserving.server.statuses import invalid_argument

_LISTS = {int: ("int64_list", "int64"), float: ("float_list", "float"), bytes: ("bytes_list", "bytes")}
_FLOAT, _STRING = 1, 7


def fill_examples(document: dict[str, Any], request_input: Any) -> None:
    """Write a request's `examples`, and its `context` if it has one, into a message of type Input.

    Raises INVALID_ARGUMENT for anything that is not an object of scalars and flat lists of one kind.
    """
    target = request_input.example_list
    if "context" in document:
        target = request_input.example_list_with_context
        _fill_example(document["context"], target.context)
    examples = document.get("examples")
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        raise invalid_argument(f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid_argument(f"JSON Value: {show(document)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        elements = [_read_element(element, name) for element in (content if isinstance(content, list) else [content])]
        feature = example.features.feature[name]
        kinds = {type(element) for element in elements}
        if len(kinds) > 1:
            raise invalid_argument(
                f"Unexpected element type in feature: {name} expecting type: {_LISTS[type(elements[0])][1]}"
            )
        for kind in kinds:
            getattr(feature, _LISTS[kind][0]).value.extend(elements)


def _read_element(element: Any, name: str) -> int | float | bytes:
    match element:
        case bool():
            return int(element)
        case int() if 2**63 <= element < 2**64:
            raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
        case int() if -(2**63) <= element < 2**63:
            return element
        case int() | float():
            # A whole number beyond 64 bits is read as a decimal one.
            return float(to_array(element, _FLOAT))
        case str() | dict() if isinstance(element, str) or is_base64(element):
            return bytes(to_array(element, _STRING).item())
    raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(element)}")
