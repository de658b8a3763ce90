"""Which of the signature's names goes where: arguments of a model, and what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from modelport_runtime.checking import ModelFailed


class ModelError(ValueError):
    """A model's file cannot be loaded, or contradicts what is said of it."""


def bind_inputs(names: Sequence[str], arguments: Sequence[str]) -> dict[str, str]:
    """Tell which of the signature's inputs each argument of the model gets.

    Names bind where they are the arguments' names (an argument with a default may be left out), by position where
    none of them is.

    Args:
        names: The signature's inputs, in order.
        arguments: The model's own argument names, in order.

    Returns:
        The signature's name by argument, in the arguments' order.

    Raises:
        ModelError: Some names are arguments and some are not, so that neither rule is safe; or there are more
            inputs than arguments.
    """
    known = [name for name in names if name in arguments]
    strangers = [name for name in names if name not in arguments]
    if known and strangers:
        raise ModelError(
            f"inputs {', '.join(map(repr, strangers))} of the signature are no arguments of the model "
            f"({', '.join(arguments)}), but {', '.join(map(repr, known))} are: "
            "use the arguments' names for all inputs, or for none"
        )
    if len(names) > len(arguments):
        raise ModelError(
            f"the signature has {len(names)} inputs, but the model takes {len(arguments)}: {', '.join(arguments)}"
        )
    if known:
        return {name: name for name in arguments if name in known}
    return dict(zip(arguments, names, strict=False))


def bind_outputs(result: Any, names: Sequence[str]) -> dict[str, Any]:
    """Give what a model returned by the signature's output names.

    Without names, everything comes by its keys, or as ``output_0`` and so on.
    A mapping (or a dataclass, a named tuple) binds by its keys when they are the names; everything else by position.

    Raises:
        ModelFailed: There are more or fewer values than names.
    """
    values = _flatten(result)
    if not names:
        numbered = {f"output_{index}": value for index, value in enumerate(values)}
        return dict(values) if isinstance(values, Mapping) else numbered
    if isinstance(values, Mapping):
        if values.keys() == set(names):
            return {name: values[name] for name in names}
        shared = [name for name in names if name in values]
        if shared:
            raise ModelFailed(
                f"the model gave outputs {', '.join(map(repr, values))}; "
                f"the signature declares {', '.join(map(repr, names))}"
            )
        values = list(values.values())
    if len(values) != len(names):
        raise ModelFailed(
            f"the model gave {len(values)} output(s); the signature declares {len(names)}: "
            f"{', '.join(map(repr, names))}"
        )
    return dict(zip(names, values, strict=True))


def _flatten(result: Any) -> Mapping[str, Any] | Sequence[Any]:
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items() if value is not None}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        return {name: value for name, value in fields.items() if value is not None}
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        named: dict[str, Any] = result._asdict()
        return named
    if isinstance(result, tuple | list):
        return result
    return [result]
