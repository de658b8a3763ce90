"""TensorFlow Lite models (`model.tflite`), with the signatures that the real server gives them."""

from __future__ import annotations

import logging
import queue
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelport_tfserving.server.statuses import Code, ServingError, from_exception, invalid_argument
from modelport_tfserving.server.tensors import Array

_log = logging.getLogger(__name__)
_SIGNATURES_METADATA = b"signature_defs_metadata"


class TfliteRunner:
    """Runs a TensorFlow Lite model by tensor name, on as many interpreters as may work at once."""

    def __init__(self, interpreters: Sequence[Any]) -> None:
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._idle.put(interpreter)
        self.inputs = {detail["name"]: detail for detail in interpreters[0].get_input_details()}
        self.outputs = {detail["name"]: detail for detail in interpreters[0].get_output_details()}

    def __call__(self, feeds: Mapping[str, Array], fetches: Sequence[str], deadline: float | None) -> list[Array]:
        """Run the model; an input of another shape than the model's resizes it."""
        details = [(find_tensor(self.inputs, name), array) for name, array in feeds.items()]
        wanted = [find_tensor(self.outputs, name)["index"] for name in fetches]
        try:
            interpreter = self._idle.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed before the model ran") from None
        try:
            _feed(interpreter, details)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in wanted]
        except (RuntimeError, ValueError) as error:
            raise from_exception(error) from error
        finally:
            self._idle.put(interpreter)

    def close(self) -> None:
        """Free the interpreters."""
        while not self._idle.empty():
            self._idle.get()


def _feed(interpreter: Any, details: Sequence[tuple[Any, Array]]) -> None:
    for detail, array in details:
        if array.dtype != detail["dtype"] and not array.dtype.hasobject:
            raise invalid_argument(
                f"TensorFlow Lite tensor {detail['name']} is of {detail['dtype'].__name__}, not {array.dtype}"
            )
        if interpreter.get_tensor(detail["index"]).shape != array.shape:
            interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in details:
        interpreter.set_tensor(detail["index"], array)


def find_tensor(tensors: Mapping[str, Any], name: str) -> Any:
    """Return the tensor of a name; early converters dropped the `:0` that TensorFlow's names end in."""
    found = tensors.get(name) or tensors.get(_legacy_name(name))
    if found is None:
        raise ServingError(Code.INTERNAL, f"Unknown tensor '{name}'.")
    return found


def _legacy_name(name: str) -> str:
    return name.partition(":")[0]


def load_tflite(file: Path, interpreters: int) -> tuple[dict[str, Any], TfliteRunner]:
    """Load a TensorFlow Lite model; returns its SignatureDefs by name, and its runner.

    Raises INVALID_ARGUMENT for a file that is no such model, INTERNAL for signatures on tensors that it does not have.
    """
    content = file.read_bytes()
    try:
        runner = TfliteRunner([_make_interpreter(content) for _ in range(interpreters)])
    except (RuntimeError, ValueError) as error:
        raise invalid_argument(f"Cannot build Interpreter from {file}: {error}") from error
    signatures = _read_signatures(content)
    if not signatures:
        _log.warning("No signature def found in TFLite model. Generating one.")
        return {"serving_default": _make_signature(runner)}, runner
    for signature in signatures.values():
        for infos, tensors in ((signature.inputs, runner.inputs), (signature.outputs, runner.outputs)):
            for info in infos.values():
                info.name = find_tensor(tensors, info.name)["name"]
    return signatures, runner


def _make_interpreter(content: bytes) -> Any:
    import tensorflow as tf

    with warnings.catch_warnings():
        # That the class is to move to another package is no news for who runs this server.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _make_signature(runner: TfliteRunner) -> Any:
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2

    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, tensors in ((signature.inputs, runner.inputs), (signature.outputs, runner.outputs)):
        for name, detail in tensors.items():
            info = infos[_legacy_name(name)]
            info.name = name
            info.dtype = tf.as_dtype(detail["dtype"]).as_datatype_enum
            info.tensor_shape.SetInParent()
            for size in detail["shape"]:
                info.tensor_shape.dim.add(size=int(size))
    return signature


def _read_signatures(content: bytes) -> dict[str, Any]:
    """Return the SignatureDefs that the model carries as metadata, the one place where the real server looks."""
    from flatbuffers import flexbuffers
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == _SIGNATURES_METADATA:
            data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            table = flexbuffers.GetRoot(bytearray(data)).AsMap
            return {
                name.AsKey: meta_graph_pb2.SignatureDef.FromString(value.AsStringBytes)
                for name, value in zip(table.Keys, table.Values, strict=True)
            }
    return {}
