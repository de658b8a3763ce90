"""SavedModels and .keras files, run by TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import tensorflow as tf

from modelport_runtime.checking import Array
from modelport_runtime.description import ModelDescription

from .binding import ModelError, bind_inputs, bind_outputs

SIGNATURE = "serving_default"


class TensorFlowEngine:
    """A TensorFlow function of named tensors."""

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], names: tuple[str, ...], device: str, keep_alive: Any
    ) -> None:
        self._function = function
        self._names = names
        self._device = "/GPU:0" if device == "cuda" else "/CPU:0"
        self._keep_alive = keep_alive  # a loaded SavedModel frees its variables with its last reference

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs; see `Engine.run`."""
        with tf.device(self._device):
            tensors = {name: tf.convert_to_tensor(array) for name, array in inputs.items()}
            outputs = bind_outputs(self._function(tensors), self._names)
        return {name: value.numpy() for name, value in outputs.items()}


def load_tensorflow(description: ModelDescription, source: Path) -> TensorFlowEngine:
    """Load a model; see `load_engine`."""
    if description.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise ModelError("environment.device is cuda, but TensorFlow finds no GPU here; use a GPU, or cpu")
    if description.threads is not None:
        _limit_threads(description.threads)
    load = _load_saved_model if description.format == "saved_model" else _load_keras
    try:
        function, model = load(description, source)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{source.name}: TensorFlow {tf.__version__} cannot load it: {_first_line(error)}") from error
    names = tuple(t.name for t in description.signature.outputs)
    return TensorFlowEngine(function, names, description.device, model)


def _limit_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow already runs in this process; its threads stay as they are
        return


def _load_saved_model(description: ModelDescription, source: Path) -> tuple[Callable[[dict[str, Any]], Any], Any]:
    model = tf.saved_model.load(str(source))
    if SIGNATURE not in model.signatures:
        raise ModelError(
            f"{source.name} has no signature {SIGNATURE!r}; it has {', '.join(model.signatures) or 'none'}"
        )
    function = model.signatures[SIGNATURE]
    taken = set(function.structured_input_signature[1])
    wanted = {t.name for t in description.signature.inputs}
    if taken != wanted:
        raise ModelError(f"{source.name} takes {', '.join(sorted(taken))}, not {', '.join(sorted(wanted))}")
    return lambda tensors: function(**tensors), model


def load_keras(source: Path) -> Any:
    """Load a Keras model; code that rides in it is refused.

    Raises:
        ModelError: It cannot be loaded.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    try:
        return keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelError(f"{source.name}: Keras {keras.__version__} cannot load it: {_first_line(error)}") from error


Ends = list[tuple[str, Any]]


def name_ends(model: Any) -> tuple[Ends, Ends]:
    """Give a Keras model's input and output tensors by name, in the order in which it takes and gives them.

    Raises:
        AttributeError, TypeError: The model (a subclassed one) does not know them.
    """
    if not hasattr(model, "output_names"):  # a sequential model: one of each
        return [(model.inputs[0].name, model.inputs[0])], [(model.layers[-1].name, model.outputs[0])]
    taken, given = model.input, model.output
    return (
        list(taken.items()) if isinstance(taken, dict) else [(t.name, t) for t in tf.nest.flatten(taken)],
        list(given.items())
        if isinstance(given, dict)
        else list(zip(model.output_names, tf.nest.flatten(given), strict=True)),
    )


def _load_keras(description: ModelDescription, source: Path) -> tuple[Callable[[dict[str, Any]], Any], Any]:
    model = load_keras(source)
    names = [t.name for t in description.signature.inputs]
    try:
        inputs, outputs = ([name for name, _ in ends] for ends in name_ends(model))
    except (AttributeError, TypeError):  # a subclassed model, whose signature is all that is known
        inputs, outputs = names, []
    order = list(bind_inputs(names, inputs).values())
    if len(order) != len(inputs):
        raise ModelError(f"{source.name} takes {', '.join(inputs)}; the signature declares {', '.join(names)}")
    by_key = hasattr(model, "output_names") and isinstance(model.input, dict)
    specs = {t.name: tf.TensorSpec(t.shape, tf.as_dtype(t.dtype)) for t in description.signature.inputs}

    # One trace for all shapes and dtypes that the signature allows; it is safe to call from several threads.
    @tf.function(input_signature=[[specs[name] for name in order]])  # type: ignore[untyped-decorator, unused-ignore]
    def call(tensors: list[Any]) -> Any:
        given: Any = tensors[0] if len(tensors) == 1 else tensors
        if by_key:
            given = dict(zip(inputs, tensors, strict=True))
        result = model(given, training=False)
        flat = tf.nest.flatten(result)
        if isinstance(result, dict) or len(flat) != len(outputs):
            return result
        return dict(zip(outputs, flat, strict=True))

    return lambda tensors: call([tensors[name] for name in order]), model


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
