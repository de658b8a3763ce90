"""Tensors on their way out and in: whatever numpy understands to arrays, arrays to bodies and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelport.client.base import InvalidInput, ServerError
from modelport.client.exchange import Reply

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from modelport_runtime.signature import TensorSpec

    Array = np.ndarray[Any, Any]

LONGEST_ANSWER = 2**40  # a client trusts the server that it was pointed at


def as_arrays(inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Turn inputs into arrays; text becomes an object array of ``str``.

    Raises:
        InvalidInput: One is no array: ragged, of mixed or of unknown types.
    """
    if not isinstance(inputs, Mapping):
        hint = "; dict(frame) makes an input of each column" if hasattr(inputs, "columns") else ""
        raise InvalidInput(f"inputs must be a mapping from names to arrays, got {type(inputs).__name__}{hint}")
    return {_checked_name(name): _as_array(name, value) for name, value in inputs.items()}


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"the name of an input must be text, got {name!r}")
    return name


def _as_array(name: str, value: ArrayLike) -> Array:
    import numpy as np

    if np.ma.is_masked(value):  # numpy would let out what stands below the mask
        raise InvalidInput(f"input {name!r} has masked values, which no server knows; fill them: .filled(value)")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        ragged = "inhomogeneous" in str(error)
        text = (
            "is ragged: nested lists must have the same lengths at every level" if ragged else f"is no array: {error}"
        )
        raise InvalidInput(f"input {name!r} {text}") from error
    if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind in "UST":
        # numpy drops zero bytes at the end, and makes text of numbers beside text: take the caller's own values.
        array = _object_array(value, array.shape)
    if array.dtype == object and all(isinstance(entry, str | bytes) for entry in array.flat):
        return array
    if array.dtype == object:
        odd = next(type(entry).__name__ for entry in array.flat if not isinstance(entry, str | bytes))
        raise InvalidInput(f"input {name!r} holds a value of type {odd}; a tensor holds numbers, booleans or text")
    raise InvalidInput(f"input {name!r} has dtype {array.dtype}, which no model server takes")


def _object_array(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    import numpy as np

    if isinstance(value, np.ndarray):
        return value.astype(object)
    array = np.empty(shape, object)
    if shape:
        array[...] = np.array(value, object).reshape(shape)
    else:
        array[()] = value
    return array


def write_body(arrays: Mapping[str, Array]) -> tuple[bytes, str]:
    """Give a request's body and its content type: npz, which carries every dtype, or JSON where npz cannot."""
    from modelport_runtime.codec import JSON, NPZ, encode

    try:
        return encode(arrays, NPZ), NPZ
    except ValueError:  # text that ends with NUL, which numpy's fixed-width strings drop
        return encode(arrays, JSON), JSON


def is_npz(reply: Reply) -> bool:
    """Whether a body is an npz archive, which holds the dtypes; JSON does not."""
    return reply.body[:2] == b"PK"


def read_body(reply: Reply, tensors: Sequence[TensorSpec] | None = None) -> dict[str, Array]:
    """Read an answer's body in either form.

    Args:
        reply: The answer. Where no header names the form, the body itself does.
        tensors: What it must hold; JSON without that gives numpy's own dtypes.

    Raises:
        ServerError: It is neither, or holds something else.
    """
    from modelport_runtime.checking import InvalidInput as Unreadable
    from modelport_runtime.checking import ModelFailed, check_outputs
    from modelport_runtime.codec import JSON, NPZ, decode

    kind = NPZ if is_npz(reply) else JSON
    try:
        arrays = decode(reply.body, kind, tensors, limit=LONGEST_ANSWER)
        return arrays if tensors is None else check_outputs(tensors, arrays, what="the server")
    except (Unreadable, ModelFailed) as error:
        text = f"the server answered what no such server answers: {error}; {excerpt(reply.body)}"
        raise ServerError(text, status=reply.status) from error


def excerpt(body: bytes) -> str:
    """Give the beginning of a body, for messages."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return f"it begins {text[:200]!r}" if text else "it is empty"
