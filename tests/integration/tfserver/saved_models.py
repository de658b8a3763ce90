"""Writes the SavedModels that the server's tests serve: of TensorFlow 1 and 2, with every kind of name and type."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool", "string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def write_all(root: Path) -> None:
    """Write one base path a model below `root`, each with a version 1 (half_plus_two also with 2 and 3)."""
    for number in (1, 2, 3):
        write_half_plus(root / "half_plus_two" / str(number), float(number + 1))
    write_v1(root / "typed" / "1", _build_typed)
    write_v1(root / "odd names" / "1", _build_odd_names)
    write_v1(root / "words" / "1", _build_words)
    write_v1(root / "adder" / "1", _build_adder)
    write_v1(root / "slow" / "1", _build_slow)
    _write_functions(root / "functions" / "1")


def write_half_plus(path: Path, addend: float) -> None:
    """Write the half_plus_two of TensorFlow Serving's own tests: x / 2 + addend, also to classify and regress."""
    write_v1(path, lambda tf: _build_half_plus(tf, addend))


Tensors = Mapping[str, Any]
Signature = tuple[Tensors, Tensors, str]


def write_v1(path: Path, build: Callable[[Any], Mapping[str, Signature]]) -> None:
    """Write a SavedModel whose signatures have exactly the given names."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signatures = build(tf)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                name: v1.saved_model.build_signature_def(
                    {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in inputs.items()},
                    {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in outputs.items()},
                    f"tensorflow/serving/{method}",
                )
                for name, (inputs, outputs, method) in signatures.items()
            },
        )
        builder.save()


def _build_half_plus(tf: Any, addend: float) -> Mapping[str, Signature]:
    v1 = tf.compat.v1
    examples = v1.placeholder(tf.string, [None], "examples")
    parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
    x = tf.identity(parsed["x"], "parsed_x")
    plain = v1.placeholder(tf.float32, [None], "plain")
    half = v1.get_variable("half", initializer=0.5)
    y = x * half + addend
    classes = tf.tile(tf.constant([["low", "high"]]), [tf.shape(y)[0], 1])
    scores = tf.concat([y, y * 2], axis=1)
    return {
        "serving_default": ({"x": plain}, {"y": plain * half + addend}, "predict"),
        "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, "regress"),
        "classify_x_to_y": ({"inputs": examples}, {"classes": classes, "scores": scores}, "classify"),
    }


def _build_typed(tf: Any) -> Mapping[str, Signature]:
    """One signature a type, named as the type: `value` comes back as `value`."""
    signatures: dict[str, Signature] = {}
    for name in TYPES:
        given = tf.compat.v1.placeholder(tf.dtypes.as_dtype(name), None)
        signatures[name] = ({"value": given}, {"value": tf.identity(given)}, "predict")
    return signatures


def _build_odd_names(tf: Any) -> Mapping[str, Signature]:
    given = tf.compat.v1.placeholder(tf.float32, [None, 2])
    other = tf.compat.v1.placeholder(tf.float32, [None, 2])
    outputs = {"/fc/out:0": given + other, "input.1": given - other, "1": given * other}
    return {"serving_default": ({"a b": given, "input.1": other}, outputs, "predict")}


def _build_words(tf: Any) -> Mapping[str, Signature]:
    words = tf.compat.v1.placeholder(tf.string, [None])
    outputs = {"upper": tf.strings.upper(words), "length": tf.strings.length(words), "raw_bytes": tf.identity(words)}
    return {"serving_default": ({"words": words}, outputs, "predict")}


def _build_adder(tf: Any) -> Mapping[str, Signature]:
    """Two inputs, an output a row, and one number over all rows, which cannot be batched."""
    left = tf.compat.v1.placeholder(tf.int64, [None])
    right = tf.compat.v1.placeholder(tf.int64, [None])
    rows = {"sum": left + right}
    return {
        "serving_default": ({"left": left, "right": right}, rows, "predict"),
        "total": ({"left": left, "right": right}, {"total": tf.reduce_sum(left + right)}, "predict"),
        "count": (
            {"left": left},
            {"sum": left + 0, "rows": tf.fill([tf.shape(left)[0]], tf.shape(left)[0])},
            "predict",
        ),
    }


def _build_slow(tf: Any) -> Mapping[str, Signature]:
    """Multiplies matrices for as long as `rounds` says, at about a millisecond a round."""
    rounds = tf.compat.v1.placeholder(tf.int32, [])
    start = tf.fill([192, 192], 1e-3)
    _, end = tf.while_loop(lambda i, _m: i < rounds, lambda i, m: (i + 1, tf.tanh(m @ start)), [0, start])
    return {"serving_default": ({"rounds": rounds}, {"trace": tf.linalg.trace(end)}, "predict")}


def _write_functions(path: Path) -> None:
    """A SavedModel of TensorFlow 2: a variable, a static shape, and a signature that only XLA could run."""
    import tensorflow as tf

    module = tf.Module()
    module.scale = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def scale(x: Any) -> Any:
        return {"scaled": x * module.scale, "total": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], jit_compile=True)
    def compiled(x: Any) -> Any:
        return {"y": x + 1.0}

    signatures = {"serving_default": scale.get_concrete_function(), "compiled": compiled.get_concrete_function()}
    tf.saved_model.save(module, str(path), signatures=signatures)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
