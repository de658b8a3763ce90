"""An ONNX file held against ONNX Runtime before anything is planned from it: does it load, and give what it declares?

Two of the servers run the file in ONNX Runtime, and the third's answers are compared with those. What a file says of
its outputs is a note beside the graph, which ONNX Runtime does not heed; servers do.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelport.errors import ConversionError, MissingTool, SpecError
from modelport.frameworks.onnx_apart import NEEDED
from modelport.frameworks.probing import ProbedTensor, complete
from modelport_runtime.checking import show_shape

Array = np.ndarray[Any, Any]

_FRAME = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S+:\d+ .*\) (?=\w))?")

#: Seconds after which a run on made-up inputs is given up: a loop may end only for inputs that make sense.
LONGEST_S = 10.0


def try_graph(path: Path, inputs: Sequence[ProbedTensor], outputs: Sequence[ProbedTensor]) -> None:
    """Load a graph and run it once on made-up inputs.

    Inputs that the graph refuses, and inputs of unknown rank, prove nothing: then loading is all that is tried.

    Args:
        path: The file.
        inputs: What it declares to take.
        outputs: What it declares to give.

    Raises:
        SpecError: ONNX Runtime does not load it, or an output is not as it is declared.
        MissingTool: onnxruntime is not installed.
    """
    session = _load(path)
    specs = complete(tuple(inputs))
    if specs is None:
        return
    from modelport.convert.examples import find_example

    run = _runner(session, [tensor.name for tensor in specs], [tensor.name for tensor in outputs])
    try:
        example = find_example(specs, None, run)
    except ConversionError:
        return
    answer = run(example)
    for index, (tensor, found) in enumerate(zip(outputs, answer, strict=True)):
        if not _fits(tensor, found):
            sizes = ", ".join(f"{spec.name} {list(array.shape)}" for spec, array in zip(specs, example, strict=True))
            raise SpecError(
                f"model.source: {path}: output {tensor.name!r} is declared as {tensor.dtype} "
                f"{show_shape(tensor.shape or ())}, but for inputs of shape {sizes} the graph gives "
                f"{_dtype(found)} {list(found.shape)}; export the model anew, or correct the file "
                f"(graph.output[{index}].type, by onnx.load and onnx.save)"
            )


def import_runtime() -> Any:
    """Import ONNX Runtime with its telemetry off, which would leave a file behind and speak to its makers.

    Raises:
        MissingTool: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingTool(NEEDED) from error
    return onnxruntime


def _load(path: Path) -> Any:
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SpecError(
            f"model.source: {path}: ONNX Runtime {onnxruntime.__version__} does not load it: {_reason(error)}; "
            "export the model anew, and look at it with onnx.checker.check_model(path, full_check=True)"
        ) from error


def _reason(error: Exception) -> str:
    """Give what ONNX Runtime says, without its codes, the model's path, and its own source files and functions."""
    return _FRAME.sub("", " ".join(str(error).split()))[:600].rstrip(". ")


def _runner(session: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[[Sequence[Array]], list[Array]]:
    onnxruntime = import_runtime()

    def run(arrays: Sequence[Array]) -> list[Array]:
        settings = onnxruntime.RunOptions()
        settings.log_severity_level = 4
        alarm = threading.Timer(LONGEST_S, setattr, (settings, "terminate", True))
        alarm.start()
        try:
            return list(session.run(list(outputs), dict(zip(inputs, arrays, strict=True)), settings))
        finally:
            alarm.cancel()

    return run


def _fits(tensor: ProbedTensor, found: Array) -> bool:
    if tensor.dtype != _dtype(found):
        return False
    return tensor.shape is None or (
        len(tensor.shape) == found.ndim
        and all(size in (None, has) for size, has in zip(tensor.shape, found.shape, strict=True))
    )


def _dtype(array: Array) -> str:
    return "string" if array.dtype.kind in "OSU" else array.dtype.name
