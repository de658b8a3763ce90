"""PyTorch's own exporters to ONNX, and in which form of a model each takes it.

An `nn.Module` and an exported program go through ``torch.onnx.export(dynamo=True)``. TorchScript cannot be traced by
it, so it takes the older exporter, which reads TorchScript's graph.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelport.convert.examples import Array, InputSpec
from modelport.convert.torch_decompositions import decompose
from modelport.convert.torch_recurrence import unpacking
from modelport.errors import ConversionError
from modelport_runtime.engines.binding import bind_outputs

#: Newest opset that the older exporter writes.
_SCRIPT_OPSET = 17


#: Gives a graph, and the names of its outputs in its own order.
Export = Callable[[], tuple[Any, list[str]]]


class Exporters:
    """The ways from a loaded model to ONNX."""

    def __init__(
        self,
        loaded: Any,
        module: Any,
        call: Callable[..., Any],
        example: Sequence[Array],
        inputs: Sequence[InputSpec],
        names: Sequence[str],
    ) -> None:
        import torch

        self._loaded = loaded
        self._module = module
        self._call = call
        self._arguments = tuple(torch.from_numpy(array) for array in example)
        self._inputs = inputs
        self._names = names

    def that_take(self, kind: str, *, positional: bool) -> Sequence[Export]:
        """Give the exporters for a format, the best first.

        Args:
            kind: ``torchscript``, ``exported_program`` or ``state_dict``.
            positional: Whether position alone binds the inputs; TorchScript's exporter goes by that.
        """
        if kind == "exported_program":
            return (self.take_program,)
        if kind == "torchscript":
            return (self.convert_script,) if self._has_bags() else (self.take_script, self.convert_script)
        return (self.trace_module, self.script_module) if positional else (self.trace_module,)

    def trace_module(self) -> tuple[Any, list[str]]:
        """Export a module behind a forward that takes and gives just the signature's tensors, in its order."""
        import torch

        call, names = self._call, list(self._names)

        class Bound(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
            def __init__(self, module: Any) -> None:
                super().__init__()
                self.module = module  # registered, so that its weights are the program's

            def forward(self, *tensors: Any) -> tuple[Any, ...]:
                return tuple(bind_outputs(call(*tensors), names).values())

        return _export_module(Bound(self._module), self._arguments, self._inputs, together=True), names

    def script_module(self) -> tuple[Any, list[str]]:
        """Make TorchScript of a module: torch.export unrolls an LSTM over time, and follows no branches on data."""
        import torch

        return _export_graph(torch.jit.script(self._module), self._arguments, self._inputs), self._leaves()

    def take_program(self) -> tuple[Any, list[str]]:
        """Export an exported program."""
        return _export_program(self._loaded), self._leaves()

    def take_script(self) -> tuple[Any, list[str]]:
        """Export TorchScript's own graph."""
        return _export_graph(self._module, self._arguments, self._inputs), self._leaves()

    def convert_script(self) -> tuple[Any, list[str]]:
        """Make an exported program of TorchScript, and export that."""
        from torch._export.converter import TS2EPConverter  # no public door leads from TorchScript to a program

        program = TS2EPConverter(self._module, self._arguments).convert()
        return _export_module(program.module(), self._arguments, self._inputs), self._leaves()

    def _has_bags(self) -> bool:
        """Tell whether bags of embeddings begin where an input says: the older exporter makes NaN of empty ones."""
        offsets = any(len(spec.shape) == 1 and spec.dtype.startswith("int") for spec in self._inputs)
        return offsets and "aten::embedding_bag" in str(self._module.inlined_graph)

    def _leaves(self) -> list[str]:
        return _names_of_leaves(self._call, self._arguments, self._names)


def _export_module(
    module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec], *, together: bool = False
) -> Any:
    """Trace and export a module whose forward takes the inputs one by one, or ``together`` as ``*tensors``."""
    import torch

    dynamic: Any = tuple(dict.fromkeys(dynamic_axes(spec), torch.export.Dim.DYNAMIC) for spec in inputs)
    # An order of contraction chosen by sizes would fix those sizes.
    with torch.no_grad(), unpacking(module), torch.backends.opt_einsum.flags(enabled=False):
        program = torch.export.export(
            module, arguments, dynamic_shapes=(dynamic,) if together else dynamic, strict=False
        )
    return _export_program(program)


def _export_program(program: Any) -> Any:
    import torch

    exported = torch.onnx.export(decompose(program), (), dynamo=True, verbose=False)
    if exported is None:
        raise ConversionError("PyTorch's exporter gave no model")
    return exported.model_proto


def _export_graph(module: Any, arguments: tuple[Any, ...], inputs: Sequence[InputSpec]) -> Any:
    """Export TorchScript's own graph, with PyTorch's older exporter."""
    import onnx
    import torch

    names = [f"input_{i}" for i in range(len(inputs))]
    axes = {name: dynamic_axes(spec) for name, spec in zip(names, inputs, strict=True)}
    buffer = io.BytesIO()
    with _muted():
        torch.onnx.export(
            module, arguments, buffer, dynamo=False, input_names=names, dynamic_axes=axes, opset_version=_SCRIPT_OPSET
        )
    return onnx.load_from_string(buffer.getvalue())


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


def dynamic_axes(spec: InputSpec) -> list[int]:
    """Give the axes of an input that may have any size."""
    return [axis for axis, size in enumerate(spec.shape) if size is None]


def whole_embeddings() -> Any:
    """Give a context in which an embedding with ``max_norm`` shortens all its rows, not only those that are asked for.

    PyTorch shortens rows when they are used, and in place, so that this changes no answer. Exporters of TorchScript
    leave that step out.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    renorm = torch.ops.aten.embedding_renorm_.default

    class Whole(TorchDispatchMode):  # type: ignore[misc]  # torch's types are not read
        def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is renorm:
                weight, asked, *norm = args
                args = (weight, torch.arange(len(weight), dtype=asked.dtype), *norm)
            return function(*args, **(kwargs or {}))

    return Whole()


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
