"""What ``torch.save`` put into a file, read without torch and without running anything that the file names."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterable
from typing import Any

from modelport.errors import SpecError

#: What DataParallel and torch.compile put before every key, and what in the code tells that the class does so too.
_WRAPPERS = {
    "module.": re.compile(r"self\.module\b|DataParallel|[\"']module[\"']"),
    "_orig_mod.": re.compile(r"_orig_mod|torch\.compile|\.compile\("),
}


class _Object:
    """Stands for an object of a class that is not loaded; takes whatever its pickle does to it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take an item of a list."""

    def extend(self, _: Any) -> None:
        """Take items of a list."""

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


class _Tensor(_Object):
    """Stands for a tensor."""


class _Mapping(dict[Any, Any]):
    """Stands for an OrderedDict, which has attributes too."""


class _Reader(pickle.Unpickler):
    """Builds the structure alone: every class and function that the pickle names is replaced."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("collections", "OrderedDict"), ("collections", "defaultdict"), ("builtins", "dict")}:
            return _Mapping if name != "defaultdict" else lambda *_: _Mapping()
        if module.partition(".")[0] == "torch" and name.startswith("_rebuild"):
            return _Tensor
        return _Object

    def persistent_load(self, _: Any) -> _Object:
        return _Object()


def read_keys(data: bytes, path: object) -> tuple[str, ...]:
    """Give the keys of a state dict.

    Args:
        data: The pickle in the file.
        path: The file, for messages.

    Raises:
        SpecError: It holds something else, or more than tensors; the message says where the weights are.
    """
    held = _Reader(io.BytesIO(data)).load()
    if isinstance(held, dict) and all(isinstance(value, _Tensor) for value in held.values()):
        return tuple(map(str, held))
    if not isinstance(held, dict):
        what = "a tensor" if isinstance(held, _Tensor) else f"a {type(held).__name__}"
        raise SpecError(f"model.source: {path}: holds {what}, no state dict; write torch.save(model.state_dict(), …)")
    inner = [key for key, value in held.items() if _is_state(value)]
    shown = ", ".join(map(repr, list(held)[:6]))
    if any(str(key).endswith("_packed_params") for key in held):
        raise SpecError(
            f"model.source: {path}: the weights of a quantized model, which are no plain tensors; save the model as "
            "TorchScript (torch.jit.save) and serve it with --backend bentoml or torchserve, or save the float model"
        )
    mend = (
        f"the weights are under {inner[0]!r}: save them alone, by "
        f"torch.save(torch.load(path, weights_only=True)[{inner[0]!r}], 'weights.pt')"
        if inner
        else "write torch.save(model.state_dict(), …)"
    )
    raise SpecError(f"model.source: {path}: no state dict, which holds tensors alone (it holds {shown}); {mend}")


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(tensor, _Tensor) for tensor in value.values())


def refuse_wrapped(keys: Iterable[str], code: Iterable[str], path: object) -> None:
    """Refuse weights of a wrapped model, where the code wraps none.

    Args:
        keys: The keys of a state dict.
        code: Texts of the files in which the class is defined.
        path: The file, for messages.

    Raises:
        SpecError: Each key begins with what a wrapper put there.
    """
    names, text = tuple(keys), "\n".join(code)
    for prefix, sign in _WRAPPERS.items():
        if names and all(name.startswith(prefix) for name in names) and not sign.search(text):
            raise SpecError(
                f"model.source: {path}: each key begins with {prefix!r}, as torch.nn.DataParallel and torch.compile "
                "write them; save the weights of the model inside: torch.save({key.removeprefix("
                f"{prefix!r}): value for key, value in torch.load(path, weights_only=True).items()}}, 'weights.pt')"
            )
