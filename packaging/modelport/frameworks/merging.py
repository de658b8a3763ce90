"""One signature from two: what the spec declares and what the model tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelport.errors import SpecError
from modelport.frameworks.probing import DTYPE, NAME, SHAPE, Probe, ProbedTensor, Tensors, complete
from modelport.samples import LABELS, name_dtype, read_arrays
from modelport_runtime.checking import show_shape
from modelport_runtime.signature import TensorSpec

Declared = tuple[TensorSpec, ...]


def merge_inputs(declared: Declared, probe: Probe) -> Declared | None:
    """Give the model's inputs; None where neither side tells all of them.

    Raises:
        SpecError: The spec contradicts the model.
    """
    if probe.columns and (len(declared) > 1 or any(tensor.name in probe.columns for tensor in declared)):
        return _merge_columns(declared, probe.columns)
    return _merge("inputs", declared, probe.inputs)


def merge_outputs(declared: Declared, probe: Probe) -> Declared | None:
    """Give the model's outputs; None where neither side tells all of them.

    Raises:
        SpecError: The spec contradicts the model.
    """
    known = {tensor.name: tensor for tensor in probe.choosable}
    chosen = [known[tensor.name] for tensor in declared if tensor.name in known]
    if chosen and len(chosen) < len(declared):
        stranger = next(tensor.name for tensor in declared if tensor.name not in known)
        raise SpecError(f"signature.outputs: the model gives no {stranger!r}; it can give {_names(probe.choosable)}")
    return _merge("outputs", declared, tuple(chosen) or probe.outputs)


def _merge(side: str, declared: Declared, probed: Tensors | None) -> Declared | None:
    if not declared:
        return complete(probed)
    if probed is None:
        return declared
    pairs = _pair_by_name(declared, probed) or _pair_by_position(side, declared, probed)
    for spec, model in pairs:
        _compare(side, spec, model)
    return tuple(spec for spec, _ in pairs)


def _pair_by_name(declared: Declared, probed: Tensors) -> list[tuple[TensorSpec, ProbedTensor]] | None:
    """Pair tensors by name, in the model's order, where the names are the same."""
    by_name = {tensor.name: tensor for tensor in declared}
    needed = {tensor.name for tensor in probed if not tensor.optional}
    if not needed <= by_name.keys() <= {tensor.name for tensor in probed}:
        return None
    return [(by_name[model.name], model) for model in probed if model.name in by_name]


def _pair_by_position(side: str, declared: Declared, probed: Tensors) -> list[tuple[TensorSpec, ProbedTensor]]:
    names = {tensor.name for tensor in probed}
    shared = [tensor.name for tensor in declared if tensor.name in names]
    needed = sum(not tensor.optional for tensor in probed)
    verb = "takes" if side == "inputs" else "gives"
    if not needed <= len(declared) <= len(probed):
        raise SpecError(
            f"signature.{side}: the spec declares {len(declared)} ({_names(declared)}), "
            f"but the model {verb} {len(probed)}: {_names(probed)}"
        )
    # Names that are the model's beside names that are not: neither rule would be safe.
    if shared or any(NAME not in tensor.free for tensor in probed):
        wrong = ", ".join(repr(tensor.name) for tensor in declared if tensor.name not in names)
        left = ", ".join(repr(t.name) for t in probed if t.name not in {d.name for d in declared})
        raise SpecError(f"signature.{side}: the model has no {side[:-1]} called {wrong}; write {left} instead")
    return list(zip(declared, probed, strict=False))


def _compare(side: str, spec: TensorSpec, model: ProbedTensor) -> None:
    what = f"signature.{side}: {spec.name!r}"
    if model.dtype is not None and DTYPE not in model.free and spec.dtype != model.dtype:
        raise SpecError(
            f"{what}: the spec says {spec.dtype}, but the model has {model.dtype}; write dtype: {model.dtype}"
        )
    if model.shape is None or SHAPE in model.free:
        return
    fits = len(spec.shape) == len(model.shape) and all(
        has is None or has == says for says, has in zip(spec.shape, model.shape, strict=True)
    )
    if not fits:
        raise SpecError(
            f"{what}: the spec says {show_shape(spec.shape)}, but the model has {show_shape(model.shape)}; "
            f"write shape: {_as_yaml(model.shape)}"
        )


def _merge_columns(declared: Declared, columns: Sequence[str]) -> Declared:
    by_name = {tensor.name: tensor for tensor in declared}
    if by_name.keys() != set(columns):
        wrong = sorted(by_name.keys() ^ set(columns))
        raise SpecError(
            f"signature.inputs: the model was fitted on the columns {', '.join(columns)}; "
            f"{', '.join(map(repr, wrong))} stands on one side only. Declare every column, or one matrix"
        )
    for tensor in declared:
        if tensor.shape not in ((None,), (None, 1)):
            raise SpecError(f"signature.inputs: {tensor.name!r} is one column; write shape: [-1]")
    return tuple(by_name[name] for name in columns)


def fill_from_samples(probed: Tensors | None, samples: Path) -> Tensors | None:
    """Fill in what samples suggest of the inputs, for a proposal: whether an axis is dynamic they cannot tell."""
    arrays = read_arrays(samples)
    suggested = {
        name: ProbedTensor(name=name, dtype=name_dtype(array), shape=(None, *array.shape[1:]))
        for name, array in arrays.items()
        if array.ndim
    }
    if probed is not None:
        return tuple(suggested.get(tensor.name, tensor) for tensor in probed)
    return tuple(tensor for name, tensor in suggested.items() if name not in LABELS) or None


def render_signature(inputs: Tensors | Declared | None, outputs: Tensors | Declared | None) -> str:
    """Give YAML to paste into a spec; what nobody knows is marked."""
    lines = ["signature:"]
    for side, tensors in (("inputs", inputs), ("outputs", outputs)):
        lines.append(f"  {side}:")
        for tensor in tensors or (ProbedTensor(name="NAME"),):
            shape = "[-1, SIZE]" if tensor.shape is None else _as_yaml(tensor.shape)
            name = tensor.name if _plain(tensor.name) else quote(tensor.name)
            lines.append(f"    - {{name: {name}, dtype: {tensor.dtype or 'DTYPE'}, shape: {shape}}}")
    return "\n".join(lines)


def render_missing(inputs: Tensors | Declared | None, outputs: Tensors | Declared | None) -> str:
    """Say what must be written into a spec whose model does not tell all."""
    text = render_signature(inputs, outputs)
    marks = [mark for mark in ("NAME", "DTYPE", "SIZE") if mark in text.replace("{name", "")]
    ask = f" with {', '.join(marks)} filled in" if marks else ""
    return f"write this into the spec{ask} (-1 stands for any size):\n{text}"


def quote(text: str) -> str:
    """Write a YAML string in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(name: str) -> bool:
    words = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
    return name.replace("_", "a").isalnum() and not name[0].isdigit() and name.lower() not in words


def _as_yaml(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("-1" if size is None else str(size) for size in shape) + "]"


def _names(tensors: Sequence[TensorSpec | ProbedTensor]) -> str:
    return ", ".join(repr(tensor.name) for tensor in tensors)
