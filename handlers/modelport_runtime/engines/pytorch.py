"""TorchScript, exported programs and state dicts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelport_runtime.checking import Array, ModelFailed
from modelport_runtime.code import load_class
from modelport_runtime.description import ModelDescription

from .binding import ModelError, bind_inputs, bind_outputs


class TorchEngine:
    """A PyTorch module that answers in inference mode, from its first call on.

    Attributes:
        native: The module, the ScriptModule or the ExportedProgram.
        order: Names of the signature's inputs in the order of forward's arguments.
        positional: Whether these are forward's first arguments, so that position alone binds them.
    """

    def __init__(self, program: Program, description: ModelDescription) -> None:
        names = [t.name for t in description.signature.inputs]
        arguments = program.arguments
        self._module = program.call
        self._bound = None if arguments is None else bind_inputs(names, arguments)
        self.native = program.native
        self.order = tuple(names if self._bound is None else self._bound.values())
        self.positional = self._bound is None or tuple(self._bound) == (arguments or ())[: len(self._bound)]
        self._outputs = tuple(t.name for t in description.signature.outputs)
        self._device = torch.device(description.device)
        for tensor in description.signature.inputs:
            if tensor.dtype == "string":
                raise ModelError(f"input {tensor.name!r} is text, which PyTorch has no tensors for; use a transform")

    @classmethod
    def load(cls, description: ModelDescription, source: Path, code: Path) -> TorchEngine:
        """Load a model; see `load_engine`."""
        if description.device == "cuda" and not torch.cuda.is_available():
            raise ModelError("environment.device is cuda, but PyTorch finds no CUDA device here; use a GPU, or cpu")
        if description.threads is not None:
            torch.set_num_threads(description.threads)
        device = torch.device(description.device)
        try:
            program = _LOADERS[description.format](description, source, code, device)
        except ModelError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"{source.name}: PyTorch {torch.__version__} cannot load it as {description.format}: "
                f"{reason[0] if reason else type(error).__name__}"
            ) from error
        return cls(program, description)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs; see `Engine.run`."""
        with torch.inference_mode():
            # torch.tensor copies: a model that writes into its input must not change the caller's array.
            result = self.call(*(torch.tensor(inputs[name], device=self._device) for name in self.order))
            return {name: _to_array(name, value) for name, value in bind_outputs(result, self._outputs).items()}

    def call(self, *tensors: torch.Tensor) -> Any:
        """Run the model on tensors in the order of ``order``; gives what the model returns."""
        if self._bound is None:
            return self._module(*tensors)
        return self._module(**dict(zip(self._bound, tensors, strict=True)))


def _to_array(name: str, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        if plain.dtype == torch.bfloat16:  # numpy has none; every bfloat16 is a float32
            plain = plain.float()
        return plain.numpy()
    if isinstance(value, int | float | bool | str | list):
        return value
    raise ModelFailed(f"output {name!r} is a {type(value).__name__}; the model must give tensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A loaded model.

    Attributes:
        native: As PyTorch gives it.
        call: What answers.
        arguments: Names of what ``call`` takes; None where it takes any.
    """

    native: Any
    call: Callable[..., Any]
    arguments: tuple[str, ...] | None


def _load_torchscript(_: ModelDescription, source: Path, __: Path, device: torch.device) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that TorchScript ages is no news to who serves it
        module = torch.jit.load(str(source), map_location=device).eval()
    arguments = tuple(argument.name for argument in module.forward.schema.arguments[1:])
    return Program(native=module, call=module, arguments=arguments)


def _load_exported(_: ModelDescription, source: Path, __: Path, device: torch.device) -> Program:
    program = torch.export.load(str(source))
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    positional, keywords = _exported_arguments(program)

    def call(**tensors: torch.Tensor) -> Any:
        # An exported program insists on being called as it was exported.
        return module(*(tensors[name] for name in positional), **{name: tensors[name] for name in keywords})

    return Program(native=program, call=call, arguments=(*positional, *keywords))


def _exported_arguments(program: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    signature = program.module_call_graph[0].signature
    args, kwargs = signature.in_spec.children()
    if any(not child.is_leaf() for child in (*args.children(), *kwargs.children())):
        raise ModelError("the exported program takes lists or dicts of tensors; export it with one argument a tensor")
    keywords = tuple(str(name) for name in kwargs.context or ())
    names = tuple(signature.forward_arg_names or program.graph_signature.user_inputs)
    return names[: args.num_children], keywords


def _load_state_dict(description: ModelDescription, source: Path, code: Path, device: torch.device) -> Program:
    state = torch.load(source, map_location=device, weights_only=True)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        held = ", ".join(map(str, list(state)[:5])) if isinstance(state, Mapping) else type(state).__name__
        raise ModelError(f"{source.name} is no state dict (it holds {held}); write torch.save(model.state_dict(), …)")
    entrypoint = description.entrypoint or ""
    try:
        module = load_class(entrypoint, code)()
    except Exception as error:
        hint = "; it is called without arguments, so give each a default" if isinstance(error, TypeError) else ""
        raise ModelError(
            f"model.entrypoint {entrypoint!r} cannot be made: {type(error).__name__}: {error}{hint}"
        ) from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = " ".join(line.strip() for line in str(error).splitlines())
        raise ModelError(f"{source.name} does not fit {entrypoint}: {lines[:500]}") from error
    module = module.to(device).eval()
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return Program(native=module, call=module, arguments=None)
    return Program(native=module, call=module, arguments=tuple(p.name for p in parameters))


_LOADERS: dict[str, Callable[[ModelDescription, Path, Path, torch.device], Program]] = {
    "torchscript": _load_torchscript,
    "exported_program": _load_exported,
    "state_dict": _load_state_dict,
}
