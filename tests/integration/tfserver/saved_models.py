"""Writes the SavedModels that the server's tests serve: of TensorFlow 1 and 2, with every kind of name and type."""

from __future__ import annotations

import sys
import tempfile
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
    write_v1(root / "scaled" / "1", _build_scaled, {"serving_default": {"by": 3.0}})
    write_v1(root / "adder" / "1", _build_adder)
    write_v1(root / "slow" / "1", _build_slow)
    write_v1(root / "sleeper" / "1", _build_sleeper)
    _write_functions(root / "functions" / "1")


def write_half_plus(path: Path, addend: float) -> None:
    """Write the half_plus_two of TensorFlow Serving's own tests: x / 2 + addend, also to classify and regress."""
    write_v1(path, lambda tf: _build_half_plus(tf, addend))


Tensors = Mapping[str, Any]
Signature = tuple[Tensors, Tensors, str]


def write_v1(
    path: Path,
    build: Callable[[Any], Mapping[str, Signature]],
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a SavedModel whose signatures have exactly the given names, and the defaults of inputs, by signature."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        definitions = {
            name: v1.saved_model.build_signature_def(
                {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in inputs.items()},
                {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in outputs.items()},
                f"tensorflow/serving/{method}",
            )
            for name, (inputs, outputs, method) in build(tf).items()
        }
        for name, values in (defaults or {}).items():
            for alias, value in values.items():
                definitions[name].defaults[alias].CopyFrom(tf.make_tensor_proto(value))
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=definitions,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
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


def _build_scaled(tf: Any) -> Mapping[str, Signature]:
    """An input that may be left out, and a signature without any."""
    x, by = tf.compat.v1.placeholder(tf.float32, [None]), tf.compat.v1.placeholder(tf.float32, [])
    return {
        "serving_default": ({"x": x, "by": by}, {"y": x * by}, "predict"),
        "constant": ({}, {"y": tf.constant([1.0, 2.0])}, "predict"),
    }


def _build_adder(tf: Any) -> Mapping[str, Signature]:
    """Two inputs, an output a row, and one number over all rows, which cannot be batched."""
    left = tf.compat.v1.placeholder(tf.int64, [None])
    right = tf.compat.v1.placeholder(tf.int64, [None])
    table = tf.compat.v1.placeholder(tf.float32, [None, None])
    rows = {"sum": left + right}
    return {
        "serving_default": ({"left": left, "right": right}, rows, "predict"),
        "total": ({"left": left, "right": right}, {"total": tf.reduce_sum(left + right)}, "predict"),
        "mean": ({"table": table}, {"mean": tf.reduce_mean(table)}, "predict"),
        "count": (
            {"left": left},
            {"sum": left + 0, "rows": tf.fill([tf.shape(left)[0]], tf.shape(left)[0])},
            "predict",
        ),
    }


def _build_slow(tf: Any) -> Mapping[str, Signature]:
    """Multiplies matrices for as long as `rounds` says, at about a millisecond a round; also for a batch's rows."""

    def trace(rounds: Any) -> Any:
        start = tf.fill([192, 192], 1e-3)
        _, end = tf.while_loop(lambda i, _m: i < rounds, lambda i, m: (i + 1, tf.tanh(m @ start)), [0, start])
        return tf.linalg.trace(end)

    rounds, rows = tf.compat.v1.placeholder(tf.int32, []), tf.compat.v1.placeholder(tf.int32, [None])
    traces = tf.fill(tf.shape(rows), trace(tf.reduce_max(rows)))
    return {
        "serving_default": ({"rounds": rounds}, {"trace": trace(rounds)}, "predict"),
        "rows": ({"rounds": rows}, {"traces": traces}, "predict"),
    }


def _build_sleeper(tf: Any) -> Mapping[str, Signature]:
    """Sleeps for as many milliseconds as it is told to, and tells how many of its runs have begun."""
    begun = tf.compat.v1.get_variable("begun", initializer=0, use_resource=True)
    milliseconds = tf.compat.v1.placeholder(tf.int64, [])
    with tf.control_dependencies([begun.assign_add(1)]):
        half = milliseconds * 500  # The dataset sleeps before its one element, and again before its end.
    kinds = {"output_types": [tf.int32], "output_shapes": [[]]}
    one = tf.data.Dataset.from_tensors(0)._variant_tensor
    slept = tf.raw_ops.SleepDataset(input_dataset=one, sleep_microseconds=half, **kinds)
    (done,) = tf.raw_ops.DatasetToSingleElement(dataset=slept, **kinds)
    return {
        "serving_default": ({"milliseconds": milliseconds}, {"done": done}, "predict"),
        "begun": ({}, {"begun": begun.read_value()}, "predict"),
    }


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


def write_documented(root: Path) -> None:
    """Write the models of TensorFlow Serving's own server tests, as far as they are described, version 123 each."""
    for name, addend in (("half_plus_two", 2.0), ("half_plus_three", 3.0)):
        write_v1(root / name / "00000123", lambda tf, addend=addend: _build_documented(tf, addend))
    write_v1(root / "vocabulary" / "00000123", _build_vocabulary)
    _write_half_plus_two_v2(root / "half_plus_two_tf2" / "00000123")
    _write_any_shape(root / "any_shape" / "00000123")
    _write_two_signatures(root / "two_signatures" / "00000123")
    _write_keras(root / "keras" / "00000123")
    for name, with_signature in (("tflite", False), ("tflite_with_signature", True)):
        _write_tflite(root / name / "00000123", with_signature=with_signature)


def _build_documented(tf: Any, addend: float) -> Mapping[str, Signature]:
    v1 = tf.compat.v1
    example = v1.placeholder(tf.string, None, "tf_example")
    features = {name: tf.io.FixedLenFeature([1], tf.float32, [0.0]) for name in ("x", "x2")}
    parsed = tf.io.parse_example(tf.reshape(example, [-1]), features)
    x, x2 = tf.identity(parsed["x"], "x"), tf.identity(parsed["x2"], "x2")
    half = v1.get_variable("a", initializer=0.5)
    y = tf.add(x * half, addend, "y")
    y2, y3 = tf.add(x * half, 3.0, "y2"), tf.add(x2 * half, 3.0, "y3")
    return {
        "serving_default": ({"x": x}, {"y": y}, "predict"),
        "regress_x_to_y": ({"inputs": example}, {"outputs": y}, "regress"),
        "regress_x_to_y2": ({"inputs": example}, {"outputs": y2}, "regress"),
        "regress_x2_to_y3": ({"inputs": x2}, {"outputs": y3}, "regress"),
        "classify_x_to_y": ({"inputs": example}, {"scores": y}, "classify"),
    }


def _build_vocabulary(tf: Any) -> Mapping[str, Signature]:
    """Looks words up in a table that is filled from an asset."""
    v1 = tf.compat.v1
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write("zero\none\ntwo\n")
    asset = tf.constant(file.name)
    v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
    lines = tf.lookup.TextFileInitializer(
        asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    words = v1.placeholder(tf.string, [None])
    return {
        "serving_default": ({"words": words}, {"ids": tf.lookup.StaticHashTable(lines, -1).lookup(words)}, "predict")
    }


def _write_half_plus_two_v2(path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.half = tf.Variable(0.5)

    def parse(examples: Any) -> Any:
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"] * module.half + 2.0

    examples = [tf.TensorSpec([None], tf.string, "inputs")]
    predict = tf.function(lambda x: {"y": x * module.half + 2.0}, [tf.TensorSpec([None, 1], tf.float32, "x")])
    signatures = {
        "serving_default": predict,
        "regress_x_to_y": tf.function(lambda inputs: {"outputs": parse(inputs)}, examples),
        "classify_x_to_y": tf.function(lambda inputs: {"scores": parse(inputs)}, examples),
    }
    tf.saved_model.save(module, str(path), signatures)


def _write_any_shape(path: Path) -> None:
    import tensorflow as tf

    root = tf.train.Checkpoint()
    root.v1, root.v2 = tf.Variable(3.0), tf.Variable(2.0)
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x})
    tf.saved_model.save(root, str(path), root.f.get_concrete_function(tf.TensorSpec(None, tf.float32)))


def _write_two_signatures(path: Path) -> None:
    """Signatures that do not use their input at all."""
    import tensorflow as tf

    def answer(value: float) -> Any:
        return tf.function(lambda x: {"y": value}, [tf.TensorSpec(None, tf.float32)], autograph=False)

    root = tf.train.Checkpoint()
    root.f, root.g = answer(1.0), answer(2.0)
    tf.saved_model.save(root, str(path), {"serving_default": root.f, "custom_signature_key": root.g})


def _write_keras(path: Path) -> None:
    import tensorflow as tf

    model = tf.keras.Sequential(
        [tf.keras.layers.Input(shape=(1,), name="x"), tf.keras.layers.Dense(1, kernel_initializer="ones", name="y")]
    )
    model.export(str(path), verbose=False)


def _write_tflite(path: Path, *, with_signature: bool) -> None:
    """x / 2 + 2, with its tensors called x and y; the signature rides as metadata and calls them a and b."""
    import flatbuffers
    import tensorflow as tf
    from flatbuffers import flexbuffers
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.lite.python import schema_py_generated as schema

    half_plus_two = tf.function(lambda x: x * 0.5 + 2.0).get_concrete_function(tf.TensorSpec([1], tf.float32, "x"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([half_plus_two], tf.Module())
    model = schema.ModelT.InitFromPackedBuf(bytearray(converter.convert()), 0)
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name, graph.tensors[graph.outputs[0]].name = b"x", b"y"
    if with_signature:
        signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
        for infos, alias, name in ((signature.inputs, "a", "x:0"), (signature.outputs, "b", "y")):
            infos[alias].name, infos[alias].dtype = name, tf.float32.as_datatype_enum
        table = flexbuffers.Builder()
        with table.Map():
            table.Key("serving_default")
            table.String(signature.SerializeToString().decode("ascii"))
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(table.Finish())
        entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.mkdir(parents=True)
    (path / "model.tflite").write_bytes(bytes(builder.Output()))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
