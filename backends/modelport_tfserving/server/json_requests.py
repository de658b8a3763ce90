"""A predict request's JSON as named tensors: in rows (`instances`) or in columns (`inputs`).

The error texts are the real server's. One thing is stricter: an unknown name among the columns is refused, where the
real server would pass over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from modelport_tfserving.server.json_numbers import NumberList, load_json
from modelport_tfserving.server.json_tensors import is_object, read_numbers, show, to_array
from modelport_tfserving.server.statuses import ServingError, invalid_argument
from modelport_tfserving.server.tensors import Array


def parse_object(body: bytes, *, load: Callable[[bytes], Any] = load_json) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises INVALID_ARGUMENT."""
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    document = load(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {show(document)} Is not object")
    return document


def read_signature_name(document: dict[str, Any]) -> str:
    """Return a request's `signature_name`, empty where it has none."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: dict[str, Any], dtypes: Mapping[str, int]) -> tuple[dict[str, Array], bool]:
    """Return the tensors of a predict request, and whether it came in rows (`instances`) or columns (`inputs`).

    `dtypes` are the data types of the signature's inputs; the document may hold `NumberList`s. Raises
    INVALID_ARGUMENT, or UNIMPLEMENTED for a type that the REST API cannot carry.
    """
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if isinstance(instances, NumberList):
            if len(dtypes) == 1:
                name, dtype = next(iter(dtypes.items()))
                array = read_numbers(instances, dtype)
                if array is not None:
                    return {name: array}, True
            instances = instances.expand()
        if not isinstance(instances, list):
            raise invalid_argument(f"JSON Value: {show(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument(f"JSON Value: {show(document)} No values in 'instances' array")
        return _read_rows(instances, dtypes), True
    if "inputs" in document:
        return _read_columns(document["inputs"], dtypes), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _read_columns(value: Any, dtypes: Mapping[str, int]) -> dict[str, Array]:
    if not is_object(value):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: to_array(value, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    extra = value.keys() - dtypes.keys()
    if extra:
        raise invalid_argument(f"JSON object: does not have named input: {min(extra)}")
    return {name: to_array(value[name], dtype) for name, dtype in dtypes.items()}


def _read_rows(instances: list[Any], dtypes: Mapping[str, int]) -> dict[str, Array]:
    first = instances[0]
    if not isinstance(first, dict) and len(dtypes) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = is_object(first)
    if named or dict in set(map(type, instances)):
        _check_row_kinds(instances, named=named)
    if not named:
        name = next(iter(dtypes))
        return {name: _rows_to_array(instances, dtypes[name], key="")}
    for index, element in enumerate(instances):
        _check_row_keys(index, element, dtypes)
    return {
        name: _rows_to_array([element[name] for element in instances], dtype, key=f" key: {name}")
        for name, dtype in dtypes.items()
    }


def _check_row_kinds(instances: list[Any], *, named: bool) -> None:
    for index, element in enumerate(instances):
        if named != is_object(element):
            expected = "object but got list" if named else "value/list but got object"
            raise invalid_argument(f"Expecting {expected} at item {index} of input list")


def _check_row_keys(index: int, element: dict[str, Any], dtypes: Mapping[str, int]) -> None:
    if element.keys() == dtypes.keys():
        return
    for name in element:
        if name not in dtypes:
            raise invalid_argument(
                f"Failed to process element: {index} key: {name} of 'instances' list. Error: INVALID_ARGUMENT: "
                f"JSON object: does not have named input: {name}"
            )
    raise invalid_argument(
        f"Failed to process element: {index} of 'instances' list. JSON object: {show(element)} keys must be equal "
        f"to: {','.join(sorted(dtypes))}"
    )


def _rows_to_array(rows: list[Any], dtype: int, *, key: str) -> Array:
    try:
        return to_array(rows, dtype)
    except ServingError:
        shape: tuple[int, ...] | None = None
        for index, row in enumerate(rows):
            where = f"Failed to process element: {index}{key} of 'instances' list. Error: "
            try:
                array = to_array(row, dtype)
            except ServingError as error:
                raise invalid_argument(f"{where}{error}") from None
            shape = array.shape if shape is None else shape
            if array.size != math.prod(shape):
                raise invalid_argument(
                    f"{where}INVALID_ARGUMENT: Expecting tensor size: {math.prod(shape)} but got: {array.size}"
                ) from None
            if array.shape != shape:
                raise invalid_argument(
                    f"{where}INVALID_ARGUMENT: Expecting shape {_show_shape(shape)} but got: {_show_shape(array.shape)}"
                ) from None
        raise


def _show_shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
