"""PyTorch to ONNX, with PyTorch's own exporters, and a proof that nothing was lost or frozen on the way.

Where one exporter gives up, or writes what answers differently, the next one that takes the model is tried.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.examples import Array, InputSpec, find_example, other_examples
from modelport.convert.onnx_names import rename_ends
from modelport.convert.torch_exporters import Export, Exporters, dynamic_axes, whole_embeddings
from modelport.errors import ConversionError, ModelportError
from modelport.frameworks.onnx_trial import import_runtime
from modelport_runtime.checking import show_shape
from modelport_runtime.engines.binding import bind_outputs

if TYPE_CHECKING:
    import onnx

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WAY_OUT = (
    "Write that part with other ops, save TorchScript with torch.export.save instead, or serve the model by its own "
    "framework (--backend bentoml or torchserve)"
)
_FROZEN = (
    "The model or its export fixed a size that the signature calls dynamic: export it with that size dynamic "
    "(dynamic_shapes; no int(x.shape[i]) in the model), or declare the fixed size"
)


def export_torch(  # noqa: PLR0913 - all keywords: the two sides of a model, and how it is called
    path: Path,
    *,
    format: str,  # noqa: A002 - what a model's format is called everywhere
    load: Callable[[], Any],
    inputs: Sequence[InputSpec],
    sample: Mapping[str, Array] | None,
    output_names: Sequence[str],
    call: Callable[..., Any] | None = None,
    positional: bool = True,
    declared: Sequence[InputSpec] = (),
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
        declared: What the signature says of the outputs, in the order of ``output_names``; held against an answer.

    Raises:
        ConversionError: PyTorch cannot export the model, a dimension that must be dynamic is fixed in it, ONNX
            Runtime answers differently for another size of it, or an output is not as it is declared.
    """
    strings = [spec.name for spec in inputs if spec.dtype == "string"]
    if strings:
        raise ConversionError(f"{path}: input {strings[0]!r} is of strings, which PyTorch does not know")
    with quiet():
        with _spoken(path):
            loaded = load()
            if format == "torchscript":
                _refuse_gaps(positional=positional)
            module = loaded.module() if format == "exported_program" else loaded.cpu().eval()
            call = call or module
            run = _runner(call, output_names)
            with whole_embeddings():
                example = find_example(inputs, sample, run)
                answer = run(example)
            _refuse_moods(answer, run(example), output_names)
            for spec, array in zip(declared, answer, strict=bool(declared)):
                _check_output(spec, array)
            examples = [example, *other_examples(inputs, example, run)]
        types = {name: array.dtype for name, array in zip(output_names, answer, strict=True)}
        exporters = Exporters(loaded, module, call, example, inputs, output_names)

        def check(model: onnx.ModelProto, names: Sequence[str]) -> None:
            _name_ends(path, model, inputs, names, types)
            _check_dimensions(path, model, inputs)
            _prove(path, model, run, examples, output_names)

        return _first_that_holds(path, exporters.that_take(format, positional=positional), check)


def _first_that_holds(
    path: Path, exports: Sequence[Export], check: Callable[[onnx.ModelProto, Sequence[str]], None]
) -> onnx.ModelProto:
    """Return the first export that passes a check; or say what is wrong with the first, the one that PyTorch favours.

    Raises:
        ConversionError: None passes.
    """
    problems = []
    for export in exports:
        try:
            with _spoken(path):
                model, names = export()
            check(model, names)
        except ConversionError as error:
            problems.append(error)
        else:
            return model
    raise problems[0]


@contextlib.contextmanager
def _spoken(path: Path) -> Iterator[None]:
    """Turn whatever PyTorch raises, which is of many types, into a sentence with a way out."""
    try:
        yield
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
    except ModelportError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{path}: PyTorch cannot export this model to ONNX: {_first(error)}. {_WAY_OUT}"
        ) from error


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


def _refuse_gaps(*, positional: bool) -> None:
    """Refuse what the exporter of TorchScript, which binds by position, would bind wrongly."""
    if not positional:
        raise ConversionError(
            "the signature leaves out an optional argument that stands before another of its inputs, and "
            "TorchScript is exported by position; name all arguments up to the last, or save with torch.export.save"
        )


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
    plain = value.detach()  # a view of a weight asks for gradients even where none are kept
    array: Array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def _name_ends(
    path: Path, model: Any, inputs: Sequence[InputSpec], names: Sequence[str], types: Mapping[str, np.dtype[Any]]
) -> None:
    if len(names) != len(model.graph.output) or len(inputs) != len(model.graph.input):
        raise ConversionError(
            f"{path}: the exported model has {len(model.graph.input)} inputs and {len(model.graph.output)} "
            f"outputs, the signature {len(inputs)} and {len(names)}; make the signature say what the model has"
        )
    for name, value in zip(names, model.graph.output, strict=True):
        _cast(model.graph, value, types[name])
    rename_ends(model.graph, [spec.name for spec in inputs], names)


def _cast(graph: Any, output: Any, dtype: np.dtype[Any]) -> None:
    """Give an output in the type that the engine gives: bfloat16 as float32, and not what an exporter makes of it."""
    from onnx import helper

    declared = output.type.tensor_type
    wanted = helper.np_dtype_to_tensor_dtype(dtype)
    if declared.elem_type == wanted:
        return
    cast = f"{output.name}__cast"
    graph.node.append(helper.make_node("Cast", [output.name], [cast], name=cast, to=wanted))
    output.name = cast
    declared.elem_type = wanted


def _check_dimensions(path: Path, model: Any, inputs: Sequence[InputSpec]) -> None:
    for spec, value in zip(inputs, model.graph.input, strict=True):
        shape = value.type.tensor_type.shape.dim
        for axis in dynamic_axes(spec):
            if axis < len(shape) and shape[axis].HasField("dim_value"):
                raise ConversionError(
                    f"{path}: dimension {axis} of input {spec.name!r} is fixed to {shape[axis].dim_value} "
                    "in the model, but the signature calls it dynamic; export it with dynamic_shapes, "
                    "or declare the fixed size"
                )


def _check_output(declared: InputSpec, found: Array) -> None:
    """Refuse a signature that says of an output what the model does not give."""
    fits = found.ndim == len(declared.shape) and all(
        size in (None, has) for size, has in zip(declared.shape, found.shape, strict=True)
    )
    if not fits or found.dtype.name != declared.dtype:
        raise ConversionError(
            f"signature.outputs: {declared.name!r}: the spec says {declared.dtype} "
            f"{show_shape(declared.shape)}, but an answer of the model is {found.dtype.name} {list(found.shape)}; "
            "write what it gives, and -1 for a size that varies"
        )


def _refuse_moods(answer: Sequence[Array], second: Sequence[Array], outputs: Sequence[str]) -> None:
    """Refuse a model that answers otherwise when asked again: nothing can be compared with it."""
    for name, first, again in zip(outputs, answer, second, strict=True):
        if not _alike(first, again):
            raise ConversionError(
                f"asked twice for the same, the model gives two answers in output {name!r}; a served model "
                "cannot be compared with one that draws random numbers or remembers what it was asked: take the "
                "numbers, or what it remembers, as an input"
            )


def _prove(
    path: Path,
    model: Any,
    run: Callable[[Sequence[Array]], list[Array]],
    examples: list[list[Array]],
    outputs: Sequence[str],
) -> None:
    """Compare ONNX Runtime with the module, at other sizes too: a frozen size shows there and nowhere else."""
    answer = _runner_of_graph(path, model)
    names = [value.name for value in model.graph.input]
    for example in examples:
        sizes = ", ".join(str(list(array.shape)) for array in example)
        try:
            found = answer(list(outputs), dict(zip(names, example, strict=True)))
        except Exception as error:
            raise ConversionError(
                f"{path}: exported to ONNX, the model does not take inputs of shape {sizes}: {_first(error)}. {_FROZEN}"
            ) from error
        for name, mine, theirs in zip(outputs, found, run(example), strict=True):
            if mine.shape != theirs.shape:
                raise ConversionError(
                    f"{path}: exported to ONNX, output {name!r} has the shape {list(mine.shape)} for inputs of shape "
                    f"{sizes}, PyTorch's {list(theirs.shape)}. {_FROZEN}"
                )
            if not _alike(mine, theirs):
                raise ConversionError(
                    f"{path}: exported to ONNX, output {name!r} differs from PyTorch's for inputs of shape {sizes}: "
                    f"PyTorch's exporter left a setting out, or froze a number that follows from the inputs. {_WAY_OUT}"
                )


def _runner_of_graph(path: Path, model: Any) -> Callable[[list[str], Mapping[str, Array]], list[Array]]:
    """Load a graph into ONNX Runtime; where that lacks a kernel for a type, into ONNX's own slow evaluator."""
    from onnx.reference import ReferenceEvaluator

    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        session = ReferenceEvaluator(model)
    except Exception as error:
        raise ConversionError(
            f"{path}: exported to ONNX, ONNX Runtime does not take the model, so that its answers cannot be compared: "
            f"{_first(error)}. {_WAY_OUT}"
        ) from error
    run: Callable[[list[str], Mapping[str, Array]], list[Array]] = session.run
    return run


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
