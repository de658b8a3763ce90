"""What SavedModels and .keras files tell of themselves, read without importing TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelport.console import muted
from modelport.errors import MissingTool, SpecError
from modelport.frameworks.checksums import check_archive
from modelport.frameworks.probing import NAME, SHAPE, Probe, ProbedTensor, Tensors
from modelport.frameworks.tensorflow_variables import check_variables
from modelport.frameworks.wire import messages, read_fields, signed

SIGNATURE = "serving_default"
_INTERNAL = "__saved_model_init_op"
_VARIABLES = {b"VarHandleOp", b"Variable", b"VariableV2"}
_PYTHON = {b"PyFunc", b"EagerPyFunc", b"PyFuncStateless"}
_ANY_NAME = frozenset({NAME})
_EXPORT = "write the model where that code is by model.export('folder'), and name that folder"
# tensorflow.DataType by number.
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip


def probe_saved_model(path: Path) -> Probe:
    """Read the signature ``serving_default`` from ``saved_model.pb``.

    Raises:
        SpecError: The file is broken, has no such signature, or files beside it are missing or damaged.
    """
    file = path / "saved_model.pb"
    try:
        graphs = [read_fields(graph) for graph in messages(read_fields(file.read_bytes()), 2)]
    except ValueError as error:
        raise SpecError(f"model.source: {file}: no SavedModel that can be read, or truncated ({error})") from error
    serving = [graph for graph in graphs if b"serve" in messages(read_fields(messages(graph, 1)[0]), 4)]
    if not serving:
        raise SpecError(f"model.source: {file}: holds no graph with the tag 'serve'; save it with tf.saved_model.save")
    _refuse_parts(path, serving[0])
    signatures = {}
    for entry in messages(serving[0], 5):
        fields = read_fields(entry)
        signatures[messages(fields, 1)[0].decode()] = read_fields(messages(fields, 2)[0])
    names = sorted(signatures.keys() - {_INTERNAL})
    if SIGNATURE not in signatures:
        raise SpecError(
            f"model.source: {path}: has no signature {SIGNATURE!r} (it has {', '.join(names) or 'none'}); "
            f"save it with signatures={{'{SIGNATURE}': …}}"
        )
    others = [name for name in names if name != SIGNATURE]
    notes = (f"served is {SIGNATURE}; further signatures: {', '.join(others)}",) if others else ()
    chosen = signatures[SIGNATURE]
    return Probe(inputs=_read_side(chosen, 1, "input"), outputs=_read_side(chosen, 2, "output"), notes=notes)


def _refuse_parts(path: Path, graph: dict[int, Any]) -> None:
    """Refuse a graph that needs more than is there: Python, or variables and assets of a folder copied in part."""
    operations = messages(read_fields(messages(read_fields(messages(graph, 1)[0]), 2)[0]), 1)
    used = {messages(read_fields(operation), 1)[0] for operation in operations}
    python = sorted(used & _PYTHON)
    if python:
        raise SpecError(
            f"model.source: {path}: its graph calls back into the Python program that saved it ({python[0].decode()}), "
            "which no server can; write tf.py_function and tf.numpy_function with TensorFlow's own ops"
        )
    index = path / "variables" / "variables.index"
    wanted = [index] if used & _VARIABLES else []
    wanted += [path / "assets" / messages(read_fields(entry), 2)[0].decode() for entry in messages(graph, 6)]
    missing = next((file for file in wanted if not file.is_file()), None)
    if missing is None and index.is_file():
        missing = _missing_shard(index.parent)
    if missing is not None:
        raise SpecError(
            f"model.source: {path}: the SavedModel needs {missing.relative_to(path)}, which is not there; "
            "copy the whole folder again"
        )
    if index.is_file():
        check_variables(index.parent)


def _missing_shard(folder: Path) -> Path | None:
    """Give a file of values that is not beside the index of variables; its siblings tell how many there are."""
    shards = sorted(folder.glob("variables.data-*-of-*"))
    count = int(shards[0].name.rpartition("-")[2]) if shards else 1
    names = (f"variables.data-{number:05d}-of-{count:05d}" for number in range(count))
    return next((folder / name for name in names if not (folder / name).is_file()), None)


def _read_side(signature: dict[int, Any], number: int, side: str) -> Tensors:
    tensors = []
    for entry in messages(signature, number):
        fields = read_fields(entry)
        name = messages(fields, 1)[0].decode()
        tensors.append(_read_tensor(name, read_fields(messages(fields, 2)[0]), side))
    # A protobuf map has no order of its own.
    return tuple(sorted(tensors, key=lambda tensor: tensor.name))


def _read_tensor(name: str, info: dict[int, Any], side: str) -> ProbedTensor:
    if 4 in info or 5 in info:
        raise SpecError(f"model.source: {side} {name!r} is sparse or ragged; export a signature of dense tensors")
    number = signed(info.get(2, [0])[0])
    if number not in _DTYPES:
        raise SpecError(f"model.source: {side} {name!r} has a dtype (TensorFlow {number}) that no server carries")
    shape = read_fields(messages(info, 3)[0]) if 3 in info else {}
    if shape.get(3):
        return ProbedTensor(name=name, dtype=_DTYPES[number], shape=None, free=frozenset({SHAPE}))
    sizes = [signed(read_fields(dim).get(1, [0])[0]) for dim in messages(shape, 2)]
    return ProbedTensor(name=name, dtype=_DTYPES[number], shape=tuple(None if s < 0 else s for s in sizes))


def probe_keras(path: Path) -> Probe:
    """Read the input layers from the file's ``config.json``; output names too, for functional models.

    Raises:
        SpecError: The file is broken.
    """
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read("config.json"))
        config = model["config"]
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise SpecError(f"model.source: {path}: no Keras model that can be read ({error})") from error
    _refuse_code(path, model)
    layers = {layer["config"].get("name"): layer for layer in config.get("layers", ())}
    if model.get("class_name") == "Functional":
        taken, given = (_layer_names(config[side]) for side in ("input_layers", "output_layers"))
        _refuse_twins(path, [name for name, _ in given])
        return Probe(
            inputs=tuple(_input_layer(name, layers[layer]) for name, layer in taken),
            outputs=tuple(ProbedTensor(name=name, free=_ANY_NAME) for name, _ in given),
        )
    first = next((layer for layer in config.get("layers", ()) if layer["class_name"] == "InputLayer"), None)
    if model.get("class_name") == "Sequential" and first is not None:
        last = config["layers"][-1]["config"]["name"]
        outputs = (ProbedTensor(name=last, free=_ANY_NAME),)
        return Probe(inputs=(_input_layer(first["config"]["name"], first),), outputs=outputs)
    return Probe()


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    """Refuse outputs of one name, of which an answer can hold but one."""
    twins = sorted(name for name, count in Counter(names).items() if count > 1)
    if twins:
        raise SpecError(
            f"model.source: {path}: {names.count(twins[0])} outputs come from one layer, {twins[0]!r}, and have its "
            "name; build the model with names of your own: keras.Model(inputs, {'first': …, 'second': …})"
        )


def _refuse_code(path: Path, config: Any) -> None:
    """Refuse layers that are Python code: a lambda rides in the file, another class is not in it at all."""
    for layer in _objects(config):
        name = repr(layer.get("config", {}).get("name") or layer["class_name"])
        if layer["class_name"] == "__lambda__":
            raise SpecError(
                f"model.source: {path}: holds a Lambda layer, which is code that loading would run; {_EXPORT}"
            )
        module = (layer.get("module") or "").partition(".")[0]
        if layer.get("registered_name") and module != "keras" and not _importable(module):
            raise SpecError(
                f"model.source: {path}: layer {name} is of the class {layer['registered_name']!r} of the module "
                f"{layer.get('module')!r}, which is not in the file and not installed; {_EXPORT}"
            )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in a model's configuration that Keras makes an object of, the outer first."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _importable(module: str) -> bool:
    try:
        return bool(module) and module != "__main__" and find_spec(module) is not None
    except ValueError:
        return False


def probe_loaded_keras(path: Path) -> Probe:
    """Load a Keras model and read what it takes and gives.

    Raises:
        SpecError: It cannot be loaded.
        MissingTool: Keras or TensorFlow is not installed.
    """
    from modelport_runtime.engines.binding import ModelError

    try:
        with muted():
            from modelport_runtime.engines.tensorflow import load_keras, name_ends

            model = load_keras(path)
    except ImportError as error:
        raise MissingTool(f"loading {path.name} needs {error.name}; pip install 'modelport[tfserving]'") from error
    except ModelError as error:
        raise SpecError(f"model.source: {error}; where code is missing, {_EXPORT}") from error
    try:
        taken, given = name_ends(model)
    except (AttributeError, TypeError):  # a subclassed model knows its ends only once it was called
        return Probe()
    _refuse_twins(path, [name for name, _ in given])
    with muted():
        answers = _trace(model, taken, given)
    inputs, outputs = (
        tuple(ProbedTensor(name=name, dtype=_dtype(t), shape=tuple(t.shape), free=_ANY_NAME) for name, t in side)
        for side in (taken, answers)
    )
    return Probe(inputs=inputs, outputs=outputs)


def _trace(model: Any, taken: Sequence[tuple[str, Any]], given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Give the outputs as the model's graph has them: Keras guesses wrongly at what its lookup layers give."""
    import tensorflow as tf

    names = [name for name, _ in taken]

    keyed = isinstance(getattr(model, "input", None), dict)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def run(*tensors: Any) -> list[Any]:
        one = tensors[0] if len(tensors) == 1 else list(tensors)
        results = model(dict(zip(names, tensors, strict=True)) if keyed else one, training=False)
        return [results[name] for name, _ in given] if isinstance(results, dict) else tf.nest.flatten(results)

    found = run.get_concrete_function(*(tf.TensorSpec(tensor.shape, tensor.dtype) for _, tensor in taken)).outputs
    return [
        (name, tf.TensorSpec(_known(tensor.shape, guess.shape), tensor.dtype.name))
        for (name, guess), tensor in zip(given, found, strict=True)
    ]


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _known(shape: Any, guess: Sequence[int | None]) -> list[int | None]:
    """Fill in what a graph leaves open of a shape from what Keras says, where both have the same rank."""
    if shape.rank != len(guess):
        return list(guess) if shape.rank is None else shape.as_list()
    return [size if size is not None else other for size, other in zip(shape.as_list(), guess, strict=True)]


def _layer_names(layers: Any) -> list[tuple[str, str]]:
    """Give name and layer of each end of a model: a reference, a list of them, or a dict."""
    if isinstance(layers, dict):
        return [(str(key), str(reference[0])) for key, reference in layers.items()]
    if layers and isinstance(layers[0], str):
        return [(layers[0], layers[0])]
    return [(str(reference[0]), str(reference[0])) for reference in layers]


def _input_layer(name: str, layer: dict[str, Any]) -> ProbedTensor:
    config = layer["config"]
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    return ProbedTensor(
        name=name,
        dtype=config.get("dtype", "float32"),
        shape=None if shape is None else tuple(shape),
        free=_ANY_NAME,
    )
