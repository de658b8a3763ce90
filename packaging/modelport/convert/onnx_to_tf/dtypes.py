"""ONNX's element types in TensorFlow, and types in which TensorFlow's CPU kernels can compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor


def tf_dtype(elem_type: int) -> Any:
    """Return TensorFlow's type for an ONNX element type; ValueError where TensorFlow has none."""
    import onnx

    if elem_type == onnx.TensorProto.STRING:
        return tf.string
    try:
        return tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except (TypeError, KeyError) as error:
        raise ValueError(f"TensorFlow has no type for ONNX element type {elem_type}") from error


def onnx_dtype(dtype: Any) -> int:
    """Return ONNX's element type for a TensorFlow type."""
    import onnx

    if dtype == tf.string:
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype.as_numpy_dtype)))


def numpy_constant(tensor: Any) -> Array:
    """Return a TensorProto as an array; strings as bytes objects."""
    import onnx

    array: Array = np.asarray(onnx.numpy_helper.to_array(tensor))
    if array.dtype.kind in "OUS":
        flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
        strings = np.empty(len(flat), dtype=object)
        strings[:] = flat
        return strings.reshape(array.shape)
    return array


@cache
def kernel_types(op: str, attribute: str = "T") -> frozenset[int] | None:
    """Return the types (as TensorFlow's enum) for which `op` has a CPU kernel; None for every type."""
    from tensorflow.python.framework import kernels  # the only place where the registry can be read

    types: set[int] = set()
    for kernel in kernels.get_registered_kernels_for_op(op).kernel:
        if kernel.device_type not in {"CPU", "DEFAULT"}:
            continue
        constraints = [c for c in kernel.constraint if c.name == attribute]
        if not constraints:
            return None
        for constraint in constraints:
            types.update(constraint.allowed_values.list.type)
    return frozenset(types)


def computable(op: str, dtype: Any, attribute: str = "T") -> Any:
    """Return `dtype` or the nearest wider type for which `op` has a CPU kernel."""
    types = kernel_types(op, attribute)
    if types is None or dtype.as_datatype_enum in types:
        return dtype
    if dtype.is_floating:
        wider = [tf.float32, tf.float64]
    else:
        wider = [tf.int32, tf.int64] if dtype.size < 4 else [tf.int64]
        wider += [tf.float32] if dtype.size < 3 else [tf.float64]
    return next((other for other in wider if other.as_datatype_enum in types), dtype)


def compute(op: str, function: Callable[..., Tensor], *tensors: Tensor, restore: bool = True) -> Tensor:
    """Apply `function`, which TensorFlow calls `op`, in a type that has a kernel; back to the first one's type."""
    dtype = tensors[0].dtype
    wide = computable(op, dtype)
    if wide == dtype:
        return function(*tensors)
    result = function(*[tf.cast(tensor, wide) for tensor in tensors])
    return tf.cast(result, dtype) if restore else result
