"""Arrays as a signature wants them, and the REST API's nested lists as arrays of a signature's dtypes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelport.client.base import InvalidInput
from modelport_tfserving.wire import TensorInfo, decode_text

if TYPE_CHECKING:
    import numpy as np

    from modelport_runtime.signature import TensorSpec

    Array = np.ndarray[Any, Any]


def conform(infos: Mapping[str, TensorInfo], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Cast arrays to the signature's dtypes, by the rules of `modelport_runtime.checking.check_inputs`.

    Raises:
        InvalidInput: A name, a dtype, a value or a shape does not fit.
    """
    from modelport_runtime.checking import InvalidInput as Refused
    from modelport_runtime.checking import check_inputs
    from modelport_runtime.signature import DTYPES

    odd = [f"{name!r} of {info.dtype}" for name, info in infos.items() if info.dtype not in DTYPES]
    if odd:
        raise InvalidInput(f"the model takes {odd[0]}, which this client cannot send")
    ranks = {name: array.ndim for name, array in arrays.items()}
    try:
        return check_inputs([to_spec(name, info, ranks.get(name, 0)) for name, info in infos.items()], arrays)
    except Refused as error:
        raise InvalidInput(str(error)) from error


def to_spec(name: str, info: TensorInfo, rank: int) -> TensorSpec:
    """Give a tensor's spec; one of unknown rank takes the given number of dimensions."""
    from modelport_runtime.signature import TensorSpec

    return TensorSpec(name=name, dtype=info.dtype, shape=(None,) * rank if info.shape is None else info.shape)


def read_columns(raw: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Array]:
    """Read what stands under ``outputs``: by name, or without a name where there is one output only.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: It is not what the signature says.
    """
    if len(infos) == 1:
        raw = {next(iter(infos)): raw}
    if not isinstance(raw, dict):
        raise TypeError("its outputs have no names")
    return {name: read_column(name, value, infos[name]) for name, value in raw.items()}


def read_column(name: str, value: Any, info: TensorInfo) -> Array:
    """Read one output's nested lists as an array of the signature's dtype.

    Raises:
        TypeError, ValueError, OverflowError: They are none.
    """
    import numpy as np

    from modelport_runtime.checking import conform as conform_tensor

    if info.dtype == "string":
        array = np.array(_read_texts(value), object)
    else:
        array = np.asarray(value)
        if info.dtype in {"int64", "uint64"} and array.dtype.kind == "f":
            array = _read_integers(value)  # numpy makes floats of integers on both sides of 2**63
    if array.size == 0:
        known = info.shape or ()
        # JSON's empty list has lost the sizes behind it.
        sizes = array.shape + tuple(size or 0 for size in known[array.ndim :])
        array = array.reshape(sizes).astype(object if info.dtype == "string" else info.dtype)
    return conform_tensor(to_spec(name, info, array.ndim), array, "output")


def _read_integers(value: Any) -> Array:
    import numpy as np

    array = np.array(value, object)
    if not all(isinstance(entry, int) for entry in array.flat):
        raise TypeError("it holds fractions where the signature has integers")
    return array.astype(np.uint64 if all(entry >= 0 for entry in array.flat) else np.int64)


def _read_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_read_texts(entry) for entry in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return decode_text(base64.b64decode(value["b64"], validate=True))
        except binascii.Error as error:
            raise ValueError(f"it holds text that is no base64: {error}") from error
    return value
