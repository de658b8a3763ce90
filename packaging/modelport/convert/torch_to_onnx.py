"""PyTorch to ONNX, with PyTorch's own exporters, and a check that no size was frozen on the way.

An `nn.Module` and an exported program go through ``torch.onnx.export(dynamo=True)``. TorchScript cannot be traced by
it, so it takes the older exporter, which reads TorchScript's graph; where that gives up, the program is first turned
into an exported program.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.examples import Array, InputSpec, find_example, other_examples
from modelport.convert.onnx_names import rename_ends
from modelport.errors import ConversionError, ModelportError

if TYPE_CHECKING:
    import onnx

#: Newest opset that the older exporter writes.
_SCRIPT_OPSET = 17


def export_torch(
    path: Path,
    *,
    format: str,  # noqa: A002 - what a model's format is called everywhere
    load: Callable[[], Any],
    inputs: Sequence[InputSpec],
    sample: Mapping[str, Array] | None,
    output_names: Sequence[str],
) -> onnx.ModelProto:
    """Export a PyTorch model to ONNX, with the given names at its ends and dynamic dimensions kept dynamic.

    Args:
        path: The model's file, for messages.
        format: ``torchscript``, ``exported_program`` or ``state_dict``.
        load: Returns the module, the ScriptModule or the ExportedProgram.
        inputs: Name, dtype and shape (None for a dynamic dimension) of each positional argument, in order.
        sample: Real inputs by name, if there are any: sizes and values that the model surely takes.
        output_names: A name for each output tensor, in the order in which the model gives them. Where it gives a
            dictionary with these very keys, the keys count, not the order.

    Raises:
        ConversionError: PyTorch cannot export the model, a dimension that must be dynamic is fixed in it, or ONNX
            Runtime answers differently for another size of it.
    """
    import torch

    with quiet():
        try:
            loaded = load()
            module = loaded.module() if format == "exported_program" else loaded.cpu().eval()
            run = _runner(module)
            example = find_example(inputs, sample, run)
            arguments = tuple(torch.from_numpy(array) for array in example)
            if format == "exported_program":
                model = _export_program(loaded)
            elif format == "torchscript":
                model = _export_script(module, arguments, inputs)
            else:
                model = _export_module(module, arguments, inputs)
        except ModelportError:
            raise
        except Exception as error:
            raise ConversionError(f"{path}: PyTorch cannot export this model to ONNX: {_first(error)}") from error
        names = _output_names(module, arguments, output_names)
        if len(names) != len(model.graph.output) or len(inputs) != len(model.graph.input):
            raise ConversionError(
                f"{path}: the exported model has {len(model.graph.input)} inputs and {len(model.graph.output)} "
                f"outputs, the signature {len(inputs)} and {len(names)}; make the signature say what the model has"
            )
        rename_ends(model.graph, [spec.name for spec in inputs], names)
        _check_dimensions(path, model, inputs)
        _prove(path, model, run, [example, *other_examples(inputs, example, run)])
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' progress lines, log records and warnings to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Close the process's own output too: when the older exporter fails, its C++ part prints the whole graph."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)


def _dynamic_axes(spec: InputSpec) -> list[int]:
    return [axis for axis, size in enumerate(spec.shape) if size is None]


def _export_module(module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec]) -> Any:
    import torch

    dynamic = tuple(dict.fromkeys(_dynamic_axes(spec), torch.export.Dim.DYNAMIC) for spec in inputs)
    try:
        with torch.no_grad():
            program = torch.export.export(module, arguments, dynamic_shapes=dynamic, strict=False)
        return _export_program(program)
    except Exception as first:  # noqa: BLE001 - the exporter raises many types
        # torch.export unrolls an LSTM over time, and follows no branches on data: TorchScript does better there.
        try:
            return _export_graph(torch.jit.script(module), arguments, inputs)
        except Exception:  # noqa: BLE001 - as above
            raise first from None


def _export_program(program: Any) -> Any:
    import torch

    exported = torch.onnx.export(program, (), dynamo=True, verbose=False)
    if exported is None:
        raise ConversionError("PyTorch's exporter gave no model")
    return exported.model_proto


def _export_script(module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec]) -> Any:
    from torch._export.converter import TS2EPConverter  # no public door leads from TorchScript to a program

    try:
        return _export_graph(module, arguments, inputs)
    except Exception as first:  # noqa: BLE001 - the exporter raises many types
        try:
            program = TS2EPConverter(module, arguments).convert()
            return _export_module(program.module(), arguments, inputs)
        except Exception:  # noqa: BLE001 - as above
            raise first from None


def _export_graph(module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec]) -> Any:
    """Export TorchScript's own graph, with PyTorch's older exporter."""
    import onnx
    import torch

    names = [f"input_{i}" for i in range(len(inputs))]
    axes = {name: _dynamic_axes(spec) for name, spec in zip(names, inputs, strict=True)}
    buffer = io.BytesIO()
    with _muted():
        torch.onnx.export(
            module, arguments, buffer, dynamo=False, input_names=names, dynamic_axes=axes, opset_version=_SCRIPT_OPSET
        )
    return onnx.load_from_string(buffer.getvalue())


def _runner(module: Any) -> Callable[[Sequence[Array]], list[Array]]:
    """Return a function that runs the module on arrays and gives its outputs, flattened, as arrays."""
    import torch

    def run(arrays: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            results = module(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])
        leaves = torch.utils._pytree.tree_leaves(results)  # noqa: SLF001 - the order that the exporter uses
        return [leaf.numpy() if hasattr(leaf, "numpy") else np.asarray(leaf) for leaf in leaves if leaf is not None]

    return run


def _output_names(module: Any, arguments: tuple[Any, ...], given: Sequence[str]) -> list[str]:
    import torch

    with torch.no_grad():
        results = module(*arguments)
    if isinstance(results, Mapping) and set(results) == set(given):
        return [str(key) for key in results]
    return list(given)


def _check_dimensions(path: Path, model: Any, inputs: Sequence[InputSpec]) -> None:
    for spec, value in zip(inputs, model.graph.input, strict=True):
        shape = value.type.tensor_type.shape.dim
        for axis in _dynamic_axes(spec):
            if axis < len(shape) and shape[axis].HasField("dim_value"):
                raise ConversionError(
                    f"{path}: dimension {axis} of input {spec.name!r} is fixed to {shape[axis].dim_value} "
                    "in the model, but the signature calls it dynamic; export it with dynamic_shapes, "
                    "or declare the fixed size"
                )


def _prove(path: Path, model: Any, run: Callable[[Sequence[Array]], list[Array]], examples: list[list[Array]]) -> None:
    """Compare ONNX Runtime with the module, at other sizes too: a frozen size shows there and nowhere else."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.input]
    for example in examples:
        sizes = ", ".join(str(list(array.shape)) for array in example)
        try:
            found = session.run(None, dict(zip(names, example, strict=True)))
        except Exception as error:
            raise ConversionError(
                f"{path}: exported to ONNX, the model does not take inputs of shape {sizes}: {_first(error)}"
            ) from error
        for name, mine, theirs in zip(session.get_outputs(), found, run(example), strict=True):
            if mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=1e-2, atol=1e-3, equal_nan=True):
                raise ConversionError(
                    f"{path}: exported to ONNX, output {name.name!r} differs from PyTorch's for inputs of shape {sizes}"
                )


def _first(error: Exception) -> str:
    """Return what an exporter's error says, without pages of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:600]}"
