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
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.examples import Array, InputSpec, find_example, other_examples
from modelport.convert.onnx_names import rename_ends
from modelport.errors import ConversionError, ModelportError
from modelport_runtime.engines.binding import bind_outputs

if TYPE_CHECKING:
    import onnx

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WAY_OUT = "Write that part with other ops, or serve the model by its own framework (--backend bentoml or torchserve)"
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
    call: Callable[..., Any] | None = None,
    positional: bool = True,
) -> onnx.ModelProto:
    """Export a PyTorch model to ONNX, with the given names at its ends and dynamic dimensions kept dynamic.

    Args:
        path: The model's file, for messages.
        format: ``torchscript``, ``exported_program`` or ``state_dict``.
        load: Returns the module, the ScriptModule or the ExportedProgram.
        inputs: Name, dtype and shape (None for a dynamic dimension) of each positional argument, in order.
        sample: Real inputs by name, if there are any: sizes and values that the model surely takes.
        output_names: A name for each output tensor, in the order in which the model gives them. Where it gives a
            dictionary (or a dataclass, a named tuple) with these very keys, the keys count, not the order.
        call: Runs the model on tensors in the order of ``inputs``, where calling it by position does not.
        positional: Whether ``inputs`` are the first of the model's arguments, so that position alone binds them.

    Raises:
        ConversionError: PyTorch cannot export the model, a dimension that must be dynamic is fixed in it, or ONNX
            Runtime answers differently for another size of it.
    """
    import torch

    with quiet():
        try:
            loaded = load()
            module = loaded.module() if format == "exported_program" else loaded.cpu().eval()
            call = call or module
            run = _runner(call, output_names)
            example = find_example(inputs, sample, run)
            arguments = tuple(torch.from_numpy(array) for array in example)
            if format == "exported_program":
                model = _export_program(loaded)
                names = _names_of_leaves(call, arguments, output_names)
            elif format == "torchscript":
                _refuse_gaps(path, positional=positional)
                model = _export_script(module, arguments, inputs)
                names = _names_of_leaves(call, arguments, output_names)
            else:
                model, names = _export_state_dict(module, call, arguments, inputs, output_names, positional=positional)
        except ModelportError:
            raise
        except Exception as error:
            raise ConversionError(
                f"{path}: PyTorch cannot export this model to ONNX: {_first(error)}. {_WAY_OUT}"
            ) from error
        if len(names) != len(model.graph.output) or len(inputs) != len(model.graph.input):
            raise ConversionError(
                f"{path}: the exported model has {len(model.graph.input)} inputs and {len(model.graph.output)} "
                f"outputs, the signature {len(inputs)} and {len(names)}; make the signature say what the model has"
            )
        rename_ends(model.graph, [spec.name for spec in inputs], names)
        _check_dimensions(path, model, inputs)
        _prove(path, model, run, [example, *other_examples(inputs, example, run)], output_names)
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


def _export_state_dict(
    module: Any,
    call: Callable[..., Any],
    arguments: tuple[Any, ...],
    inputs: Sequence[InputSpec],
    names: Sequence[str],
    *,
    positional: bool,
) -> tuple[Any, list[str]]:
    """Export a module behind a forward that takes and gives just the signature's tensors, in its order."""
    import torch

    class Bound(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
        def __init__(self) -> None:
            super().__init__()
            self.module = module  # registered, so that its weights are the program's

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            return tuple(bind_outputs(call(*tensors), names).values())

    try:
        return _export_module(Bound(), arguments, inputs, together=True), list(names)
    except Exception as first:
        # torch.export unrolls an LSTM over time, and follows no branches on data: TorchScript does better there.
        if not positional:
            raise
        try:
            model = _export_graph(torch.jit.script(module), arguments, inputs)
            return model, _names_of_leaves(call, arguments, names)
        except Exception:  # noqa: BLE001 - as above
            raise first from first.__cause__


def _export_module(
    module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec], *, together: bool = False
) -> Any:
    """Trace and export a module whose forward takes the inputs one by one, or ``together`` as ``*tensors``."""
    import torch

    dynamic: Any = tuple(dict.fromkeys(_dynamic_axes(spec), torch.export.Dim.DYNAMIC) for spec in inputs)
    with torch.no_grad():
        program = torch.export.export(
            module, arguments, dynamic_shapes=(dynamic,) if together else dynamic, strict=False
        )
    return _export_program(program)


def _refuse_gaps(path: Path, *, positional: bool) -> None:
    """Refuse what the exporter of TorchScript, which binds by position, would bind wrongly."""
    if not positional:
        raise ConversionError(
            f"{path}: the signature leaves out an optional argument that stands before another of its inputs, and "
            "TorchScript is exported by position; name all arguments up to the last, or save with torch.export.save"
        )


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
            raise first from first.__cause__


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


def _runner(call: Callable[..., Any], names: Sequence[str]) -> Callable[[Sequence[Array]], list[Array]]:
    """Return a function that runs the model on arrays and gives its outputs as arrays, in the order of ``names``."""
    import torch

    def run(arrays: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            # Copies: a model may write into its inputs.
            results = bind_outputs(call(*[torch.tensor(array) for array in arrays]), names)
        return [_to_array(value) for value in results.values()]

    return run


def _to_array(value: Any) -> Array:
    import torch

    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    array: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _names_of_leaves(call: Callable[..., Any], arguments: tuple[Any, ...], given: Sequence[str]) -> list[str]:
    """Give the outputs' names in the order in which the exporters flatten them."""
    import torch

    with torch.no_grad():
        results = call(*[argument.clone() for argument in arguments])
    left = dict(bind_outputs(results, given))
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(results) if leaf is not None]  # noqa: SLF001 - their order
    names = []
    for leaf in leaves:
        name = next((name for name, value in left.items() if value is leaf), None)
        if name is None:  # nested outputs
            return list(given)
        names.append(name)
        del left[name]
    return names


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


def _prove(
    path: Path,
    model: Any,
    run: Callable[[Sequence[Array]], list[Array]],
    examples: list[list[Array]],
    outputs: Sequence[str],
) -> None:
    """Compare ONNX Runtime with the module, at other sizes too: a frozen size shows there and nowhere else."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ConversionError(
            f"{path}: exported to ONNX, ONNX Runtime does not take the model, so that its answers cannot be compared: "
            f"{_first(error)}; a model in bfloat16 or float16 is taken after model.float()"
        ) from error
    names = [value.name for value in model.graph.input]
    for example in examples:
        sizes = ", ".join(str(list(array.shape)) for array in example)
        try:
            found = session.run(list(outputs), dict(zip(names, example, strict=True)))
        except Exception as error:
            raise ConversionError(
                f"{path}: exported to ONNX, the model does not take inputs of shape {sizes}: {_first(error)}"
            ) from error
        for name, mine, theirs in zip(outputs, found, run(example), strict=True):
            if not _alike(mine, theirs):
                again = dict(zip(outputs, run(example), strict=True))[name]
                raise ConversionError(
                    f"{path}: exported to ONNX, output {name!r} differs from PyTorch's for inputs of shape {sizes}"
                    if _alike(theirs, again)
                    else f"{path}: asked twice for the same, the model gives two answers in output {name!r}; a served "
                    "model cannot be compared with one that draws random numbers: take them as an input"
                )


def _alike(mine: Array, theirs: Array) -> bool:
    """Compare loosely, and not at all where PyTorch gives NaN: ONNX Runtime's own kernels may drop it."""
    if mine.shape != theirs.shape:
        return False
    known = ~np.isnan(theirs) if theirs.dtype.kind == "f" else np.ones(theirs.shape, bool)
    return bool(np.allclose(mine[known], theirs[known], rtol=1e-2, atol=1e-3))


def _first(error: BaseException) -> str:
    """Return what an exporter's error says, without pages of advice: torch.onnx's own point to their cause."""
    while type(error).__module__.startswith("torch.onnx") and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:600]}"
