"""``ai.onnx.ml``: linear models, scalers, encoders and what else classical pipelines are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.ops.scores import both_classes, labels, transform
from modelport.convert.onnx_to_tf.ops.vocabulary import find_text
from modelport.convert.onnx_to_tf.registry import ML, lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor


def _floats(node: Node, name: str) -> Array:
    return np.array(node.attr(name, None) or [], dtype=np.float32)


def real_rows(node: Node) -> Tensor:
    """Return the first input as float32 rows, or float64 where it is that."""
    x = node.tensor(0)
    x = x if x.dtype in {tf.float32, tf.float64} else tf.cast(x, tf.float32)
    return x[None, :] if x.shape.rank == 1 else x


@lowers("LinearRegressor", domain=ML)
def _linear_regressor(node: Node) -> Tensor:
    x = tf.cast(real_rows(node), tf.float32)
    coefficients = _floats(node, "coefficients").reshape(int(node.attr("targets", 1)), -1)
    result = tf.matmul(x, coefficients.T.copy())
    intercepts = _floats(node, "intercepts")
    return transform(node, result + intercepts if intercepts.size else result)


@lowers("LinearClassifier", domain=ML)
def _linear_classifier(node: Node) -> Any:
    x = tf.cast(real_rows(node), tf.float32)
    names = labels(node, ints="classlabels_ints")
    intercepts = _floats(node, "intercepts")
    flat = _floats(node, "coefficients")
    rows = intercepts.size or flat.size // int(x.shape[-1])
    scores = tf.matmul(x, flat.reshape(rows, -1).T.copy())
    if intercepts.size:
        scores = scores + intercepts
    if rows == 1 and len(names) == 2:
        won, shown = both_classes(node, scores, positive_only=False)
    else:
        won, shown = tf.argmax(scores, 1), transform(node, scores)
    return tf.gather(names, won), shown


@lowers("Scaler", domain=ML)
def _scaler(node: Node) -> Tensor:
    x = node.tensor(0)
    x = tf.cast(x, tf.float32)
    return (x - _floats(node, "offset")) * _floats(node, "scale")


@lowers("Normalizer", domain=ML)
def _normalizer(node: Node) -> Tensor:
    x = tf.cast(node.tensor(0), tf.float32)
    how = node.attr("norm", b"MAX")
    if how == b"MAX":
        size = tf.reduce_max(x, -1, keepdims=True)
    elif how == b"L1":
        size = tf.reduce_sum(tf.abs(x), -1, keepdims=True)
    else:
        size = tf.sqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True))
    empty = tf.equal(size, 0)
    return tf.where(empty, x, x / tf.where(empty, tf.ones_like(size), size))


@lowers("Binarizer", domain=ML)
def _binarizer(node: Node) -> Tensor:
    x = node.tensor(0)
    return tf.cast(x > tf.cast(float(node.attr("threshold", 0.0)), x.dtype), x.dtype)


@lowers("Imputer", domain=ML)
def _imputer(node: Node) -> Tensor:
    x = node.tensor(0)
    if x.dtype.is_floating:
        values = np.array(node.attr("imputed_value_floats", []), x.dtype.as_numpy_dtype)
        replaced = float(node.attr("replaced_value_float", 0.0))
        absent = tf.math.is_nan(x) if np.isnan(replaced) else tf.equal(x, tf.cast(replaced, x.dtype))
    else:
        values = np.array(node.attr("imputed_value_int64s", []), x.dtype.as_numpy_dtype)
        absent = tf.equal(x, int(node.attr("replaced_value_int64", 0)))
    return tf.where(absent, tf.zeros_like(x) + values, x)


@lowers("ArrayFeatureExtractor", domain=ML)
def _array_feature_extractor(node: Node) -> Tensor:
    x = node.tensor(0)
    picked = tf.gather(x, tf.reshape(node.tensor(1), [-1]), axis=-1)
    return picked[None, :] if x.shape.rank == 1 else picked


@lowers("FeatureVectorizer", domain=ML)
def _feature_vectorizer(node: Node) -> Tensor:
    columns = [tf.cast(node.tensor(i), tf.float32) for i in range(len(node.inputs))]
    return tf.concat([c[:, None] if c.shape.rank == 1 else c for c in columns], 1)


def looked_up(x: Tensor, keys: Array, values: Array, default: Any) -> Tensor:
    """Return the value at each element's key: tables would need an initializer.

    Numbers are compared with all keys; text is looked for among the keys' hashes first.

    Args:
        x: Any shape.
        keys: The keys, of `x`'s type; NaN is a key too.
        values: One a key.
        default: For what is no key.
    """
    if x.dtype == tf.string:
        place, known = find_text(x, keys)
        given = tf.gather(tf.constant(values), place)
        return tf.where(known, given, tf.constant(default, dtype=given.dtype))
    key_row = tf.constant(keys)
    same = tf.equal(x[..., None], key_row)
    if x.dtype.is_floating:
        same = tf.logical_or(same, tf.logical_and(tf.math.is_nan(x)[..., None], tf.math.is_nan(key_row)))
    found = tf.gather(tf.constant(values), tf.argmax(tf.cast(same, tf.int32), -1))
    return tf.where(tf.reduce_any(same, -1), found, tf.constant(default, dtype=found.dtype))


_KINDS: dict[str, tuple[Any, Any]] = {
    "int64s": (np.int64, -1),
    "floats": (np.float32, -0.0),
    "strings": (object, b"_Unused"),
}


@lowers("LabelEncoder", domain=ML, since=2)
def _label_encoder(node: Node) -> Tensor:
    keys, _ = _table(node, "keys")
    values, kind = _table(node, "values")
    fallback = _KINDS.get(kind, (None, 0))[1]
    name = {"int64s": "default_int64", "floats": "default_float", "strings": "default_string"}.get(kind, "")
    default = node.attr("default_tensor", None) if kind == "tensor" else node.attr(name, fallback)
    if kind == "tensor":
        default = np.zeros((), values.dtype) if default is None else np.asarray(default).reshape(())
    return looked_up(node.tensor(0), keys, values, default)


def _table(node: Node, side: str) -> tuple[Array, str]:
    tensor = node.attr(f"{side}_tensor", None)
    if tensor is not None:
        return np.asarray(tensor), "tensor"
    for kind, (dtype, _) in _KINDS.items():
        found = node.attr(f"{side}_{kind}", None)
        if found:
            return np.array(list(found), dtype=dtype), kind
    raise node.fail(f"it has no {side}")


@lowers("CategoryMapper", domain=ML)
def _category_mapper(node: Node) -> Tensor:
    x = node.tensor(0)
    numbers = np.array(node.attr("cats_int64s", []), np.int64)
    names = np.array(list(node.attr("cats_strings", [])), dtype=object)
    if x.dtype == tf.string:
        return looked_up(x, names, numbers, int(node.attr("default_int64", -1)))
    return looked_up(x, numbers, names, node.attr("default_string", b"_Unused"))


@lowers("OneHotEncoder", domain=ML)
def _one_hot_encoder(node: Node) -> Tensor:
    x = node.tensor(0)
    names = node.attr("cats_strings", None)
    if names:
        categories: Array = np.array(list(names), dtype=object)
    else:
        categories = np.array(node.attr("cats_int64s", []), np.int64)
        x = tf.cast(x, tf.int64)
    same = tf.equal(x[..., None], tf.constant(categories))
    encoded = tf.cast(same, tf.float32)
    if not int(node.attr("zeros", 1)):
        known = tf.debugging.Assert(tf.reduce_all(tf.reduce_any(same, -1)), ["a category that training did not have"])
        with tf.control_dependencies([known]):
            return tf.identity(encoded)
    return encoded


@lowers("ZipMap", domain=ML)
def _zip_map(node: Node) -> Tensor:
    raise node.fail(
        "it makes dictionaries, which no tensor can hold; export the classifier with zipmap=False "
        "(skl2onnx: options={'zipmap': False}), so that it gives a matrix of probabilities"
    )
