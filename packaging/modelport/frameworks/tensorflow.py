"""What SavedModels and .keras files tell of themselves, read without importing TensorFlow."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from modelport.console import muted
from modelport.errors import MissingTool, SpecError
from modelport.frameworks.probing import NAME, SHAPE, Probe, ProbedTensor, Tensors
from modelport.frameworks.wire import messages, read_fields, signed

SIGNATURE = "serving_default"
_INTERNAL = "__saved_model_init_op"
_VARIABLES = {b"VarHandleOp", b"Variable", b"VariableV2"}
_ANY_NAME = frozenset({NAME})
# tensorflow.DataType by number.
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip


def probe_saved_model(path: Path) -> Probe:
    """Read the signature ``serving_default`` from ``saved_model.pb``.

    Raises:
        SpecError: The file is broken, has no such signature, or files beside it are missing.
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
    """Refuse a folder that was copied in part: without the variables or the assets that its graph reads."""
    operations = messages(read_fields(messages(read_fields(messages(graph, 1)[0]), 2)[0]), 1)
    used = {messages(read_fields(operation), 1)[0] for operation in operations}
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
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read("config.json"))
        config = model["config"]
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise SpecError(f"model.source: {path}: no Keras model that can be read ({error})") from error
    layers = {layer["config"].get("name"): layer for layer in config.get("layers", ())}
    if model.get("class_name") == "Functional":
        names = _layer_names(config["input_layers"])
        return Probe(
            inputs=tuple(_input_layer(name, layers[layer]) for name, layer in names),
            outputs=tuple(ProbedTensor(name=name, free=_ANY_NAME) for name, _ in _layer_names(config["output_layers"])),
        )
    first = next((layer for layer in config.get("layers", ()) if layer["class_name"] == "InputLayer"), None)
    if model.get("class_name") == "Sequential" and first is not None:
        last = config["layers"][-1]["config"]["name"]
        outputs = (ProbedTensor(name=last, free=_ANY_NAME),)
        return Probe(inputs=(_input_layer(first["config"]["name"], first),), outputs=outputs)
    return Probe()


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
        raise SpecError(f"model.source: {error}") from error
    try:
        ends = name_ends(model)
    except (AttributeError, TypeError):  # a subclassed model knows its ends only once it was called
        return Probe()
    inputs, outputs = (
        tuple(ProbedTensor(name=name, dtype=str(t.dtype), shape=tuple(t.shape), free=_ANY_NAME) for name, t in side)
        for side in ends
    )
    return Probe(inputs=inputs, outputs=outputs)


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
