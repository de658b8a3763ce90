"""Fourier transforms, computed in complex numbers, which ONNX writes as pairs along the last dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.dtypes import tf_dtype
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor
from modelport.errors import ConversionError


def _complex(x: Tensor) -> Tensor:
    """Return pairs, or single real numbers, along the last dimension as complex numbers of double precision.

    In single precision, what should be zero is as far from it as the other results are large.
    """
    if x.shape[-1] is None:
        raise ConversionError("whether its numbers are complex is not known; declare the size of its last dimension")
    wide = tf.cast(x, tf.float64)
    return tf.complex(wide[..., 0], wide[..., 1] if x.shape[-1] == 2 else tf.zeros_like(wide[..., 0]))


def _pairs(x: Tensor, dtype: Any) -> Tensor:
    return tf.cast(tf.stack([tf.math.real(x), tf.math.imag(x)], -1), dtype)


def _resized(x: Tensor, length: int) -> Tensor:
    """Return the tensor cut to `length` along its last dimension, or filled with zeros up to it."""
    if x.shape[-1] == length:
        return x
    cut = x[..., :length]
    missing = length - dims(cut)[-1]
    return tf.pad(cut, [*[(0, 0)] * (x.shape.rank - 1), (0, missing)])


def _length(node: Node, index: int, what: str) -> int | None:
    found = node.optional_constant(index, what)
    return None if found is None else int(found.reshape(-1)[0])


@lowers("MelWeightMatrix")
def _mel_weights(node: Node) -> Array:
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    bins, length, rate, low, high = (node.constant(i, name).item() for i, name in enumerate(names))
    mels = [2595 * np.log10(1 + edge / 700) for edge in (low, high)]
    edges = np.arange(bins + 2) * (mels[1] - mels[0]) / (bins + 2) + mels[0]
    places = ((length + 1) * 700 * (10 ** (edges / 2595) - 1) // rate).astype(int)
    found = np.zeros((length // 2 + 1, bins))
    for i, (start, middle, end) in enumerate(zip(places, places[1:], places[2:], strict=False)):
        rising = np.arange(start, middle + 1)
        found[rising, i] = (rising - start) / (middle - start) if middle > start else 1
        falling = np.arange(middle, end)
        found[falling, i] = (end - falling) / max(end - middle, 1)
    asked = int(node.attr("output_datatype", 1))
    return found.astype(tf_dtype(asked).as_numpy_dtype)


@lowers("DFT")
def _dft(node: Node) -> Tensor:
    axis = int(node.attr("axis", 1))
    if node.version >= 20:
        given = _length(node, 2, "axis")
        axis = -2 if given is None else given
    x = node.tensor(0)
    axis %= node.rank()
    length = _length(node, 1, "dft_length")
    inverse, one_sided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    rank = node.rank() - 1
    order = [*(i for i in range(rank) if i != axis), axis]
    back = [order.index(i) for i in range(rank)]
    whole = tf.transpose(_complex(x), order)
    if inverse and one_sided:
        real = tf.signal.irfft(whole, None if length is None else [length])
        return tf.cast(tf.transpose(real, back)[..., None], x.dtype)
    if length is not None:
        whole = _resized(whole, length)
    found = tf.signal.ifft(whole) if inverse else tf.signal.fft(whole)
    if one_sided:
        found = found[..., : dims(whole)[-1] // 2 + 1]
    return _pairs(tf.transpose(found, back), x.dtype)


@lowers("STFT")
def _stft(node: Node) -> Tensor:
    x = node.tensor(0)
    step = _length(node, 1, "frame_step")
    window, length = node.optional(2), _length(node, 3, "frame_length")
    if length is None:
        length = None if window is None else window.shape[0]
    if step is None or length is None:
        raise node.fail("the length of its frames is not known")
    signal = _complex(tf.reshape(x, as_shape([*dims(x), 1])) if x.shape.rank == 2 else x)
    frames = tf.signal.frame(signal, length, step)
    if window is not None:
        frames = frames * tf.cast(window, frames.dtype)
    found = tf.signal.fft(frames)
    return _pairs(found[..., : length // 2 + 1] if int(node.attr("onesided", 1)) else found, x.dtype)
