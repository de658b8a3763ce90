"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from modelport_runtime.checking import Array, InvalidInput
from modelport_runtime.description import ModelDescription

from .binding import ModelError


class OnnxEngine:
    """An ONNX Runtime session; names are the graph's own."""

    def __init__(self, session: Any, description: ModelDescription) -> None:
        self._session = session
        self._outputs = [t.name for t in description.signature.outputs]
        if not self._outputs:
            self._outputs = [node.name for node in session.get_outputs()]
        for side, names, known in (
            ("input", [t.name for t in description.signature.inputs], session.get_inputs()),
            ("output", self._outputs, session.get_outputs()),
        ):
            graph = [node.name for node in known]
            strangers = [name for name in names if name not in graph]
            if strangers:
                raise ModelError(f"the ONNX graph has no {side} {strangers[0]!r}; it has {', '.join(map(repr, graph))}")

    @classmethod
    def load(cls, description: ModelDescription, source: Path) -> OnnxEngine:
        """Load a model; see `load_engine`."""
        provider = "CUDAExecutionProvider" if description.device == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise ModelError("environment.device is cuda, but this ONNX Runtime has no CUDA; install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings about the graph are the author's, not the caller's
        if description.threads is not None:
            options.intra_op_num_threads = description.threads
            options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(str(source), options, providers=[provider])
        except Exception as error:
            raise ModelError(f"{source.name}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
        return cls(session, description)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs; see `Engine.run`.

        Raises:
            InvalidInput: Text is no UTF-8: of bytes ONNX Runtime would take what Python prints, ``b'…'``.
        """
        for name, array in inputs.items():
            if array.dtype.kind == "O" and any(isinstance(element, bytes) for element in array.flat):
                raise InvalidInput(f"input {name!r} holds bytes that are no UTF-8; ONNX Runtime takes only what is")
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
