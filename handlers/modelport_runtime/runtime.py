"""One model, ready to answer: checks, transform or steps, engine, in the order in which a request passes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .checking import Array, InvalidInput, ModelFailed, check_inputs, check_outputs, rows_of, to_array
from .code import load_class
from .codec import NPZ, decode
from .description import ModelDescription
from .engines import Engine, load_engine
from .engines.binding import ModelError
from .steps import Pipeline

Arrays = dict[str, Array]
Answer = Arrays | InvalidInput | ModelFailed


class Runtime:
    """A loaded model. Safe to call from several threads.

    Attributes:
        description: What it is.
    """

    def __init__(self, description: ModelDescription, engine: Engine, transform: Any = None) -> None:
        self.description = description
        self._engine = engine
        self._preprocess = getattr(transform, "preprocess", None)
        self._postprocess = getattr(transform, "postprocess", None)
        if description.preprocess:
            names = tuple(tensor.name for tensor in description.signature.inputs)
            self._preprocess = Pipeline(steps=description.preprocess, names=names)
        if description.postprocess:
            names = tuple(tensor.name for tensor in description.served.outputs)
            self._postprocess = Pipeline(steps=description.postprocess, names=names)
        self._folder = Path()

    @classmethod
    def load(cls, folder: Path) -> Runtime:
        """Load the model that ``modelport.json`` in ``folder`` describes.

        The entrypoint's module is looked for beside ``modelport.json``, then beside the model.

        Raises:
            FileNotFoundError: There is no ``modelport.json``, or a file that it names is not there.
            ModelError: The model, or code beside it, cannot be loaded.
        """
        folder = Path(folder)
        description = ModelDescription.read(folder)
        source = folder / description.source
        if not source.exists():
            raise FileNotFoundError(f"{source}: the model that modelport.json names is not there")
        code = folder
        if description.entrypoint is not None:
            code = find_code(description.entrypoint, (folder, source.parent))
        transform = None
        if description.transform is not None:
            transform = load_transform(description.transform, folder)
        runtime = cls(description, load_engine(description, source, code), transform)
        runtime._folder = folder
        return runtime

    def predict(self, inputs: Mapping[str, Any]) -> Arrays:
        """Answer one request.

        Args:
            inputs: Arrays, or what numpy makes arrays of, by the names in ``description.served``.

        Returns:
            Outputs by the names in ``description.served``, in its order, with its dtypes.

        Raises:
            InvalidInput: The request is not what the model takes.
            ModelFailed: The model or its transform failed, or gave what the signature does not declare.
        """
        return self._finish(self._run(self._prepare(inputs)))

    def answer_raw(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Give what the engine gives, unchecked and before ``postprocess``: for those who do not know the outputs yet.

        Raises:
            InvalidInput: The request is not what the model takes.
            ModelFailed: The model, or ``preprocess``, failed.
        """
        return self._call_engine(self._prepare(inputs))

    def predict_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Answer several requests, joined along the first axis where the signature allows it.

        Returns:
            For each request, in order, its outputs or the error that it alone would have had.
        """
        answers: list[Answer | None] = [None] * len(requests)
        groups: dict[Any, list[tuple[int, Arrays]]] = {}
        for index, request in enumerate(requests):
            try:
                prepared = self._prepare(request)
            except (InvalidInput, ModelFailed) as error:
                answers[index] = error
                continue
            # Requests whose other axes differ cannot be joined.
            key = tuple(a.shape[1:] for a in prepared.values()) if self.description.signature.batched else index
            groups.setdefault(key, []).append((index, prepared))
        for group in groups.values():
            for (index, _), answer in zip(group, self._answer_group([p for _, p in group]), strict=True):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def warm_up(self) -> int:
        """Answer the samples that ride with the model, one row at a time and all together.

        Returns:
            How many requests were answered; 0 when there are no samples.

        Raises:
            InvalidInput: The samples are not what the model takes.
            ModelFailed: The model cannot answer them.
        """
        if self.description.samples is None:
            return 0
        body = (self._folder / self.description.samples).read_bytes()
        tensors = self.description.served.inputs
        inputs = decode(body, NPZ, tensors, limit=max(2**31, len(body)))
        if self.description.served_known:
            inputs = {t.name: inputs[t.name] for t in tensors if t.name in inputs}
        batched = self.description.served_known and self.description.served.batched
        if not batched:
            self.predict(inputs)
            return 1
        self.predict({name: array[:1] for name, array in inputs.items()})
        most = self.description.max_batch_size
        self.predict({name: array[:most] for name, array in inputs.items()})
        return 2

    def _prepare(self, inputs: Mapping[str, Any]) -> Arrays:
        description = self.description
        limit = description.max_batch_size
        checked: Mapping[str, Any] = inputs
        if description.served_known:
            checked = check_inputs(description.served.inputs, inputs, max_batch_size=limit)
        else:
            checked = as_arrays(inputs, "input")
        if self._preprocess is not None:
            checked = self._call_preprocess(checked)
        elif description.served_known:
            return dict(checked)
        try:
            return check_inputs(description.signature.inputs, checked, max_batch_size=limit)
        except InvalidInput as error:
            if not description.served_known:
                raise
            # The request was right, so it is preprocess that gave what the model does not take.
            raise ModelFailed(f"preprocess gave what the model does not take: {error}") from error

    def _call_preprocess(self, inputs: Mapping[str, Array]) -> Mapping[str, Any]:
        assert self._preprocess is not None  # noqa: S101  # the caller asked
        try:
            prepared = self._preprocess(dict(inputs))
        except (ValueError, KeyError) as error:  # how code says that a value is not what it takes
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise InvalidInput(f"preprocess refused the input: {detail}") from error
        except Exception as error:
            raise ModelFailed(f"preprocess failed: {type(error).__name__}: {error}") from error
        if not isinstance(prepared, Mapping):
            raise ModelFailed(f"preprocess must give a dict of arrays, gave {type(prepared).__name__}")
        return prepared

    def _run(self, inputs: Arrays) -> Arrays:
        return check_outputs(self.description.signature.outputs, self._call_engine(inputs), what="the model")

    def _call_engine(self, inputs: Arrays) -> dict[str, Any]:
        try:
            return self._engine.run(inputs)
        except (InvalidInput, ModelFailed):
            raise
        except Exception as error:
            kind = type(error).__name__
            lines = str(error).strip().splitlines()
            last = lines[-1].removeprefix(f"{kind}: ") if lines else ""  # TorchScript repeats the kind
            raise ModelFailed(f"the model failed: {kind}: {last}") from error

    def _finish(self, outputs: Arrays) -> Arrays:
        if self._postprocess is None:
            return outputs
        try:
            finished = self._postprocess(dict(outputs))
        except Exception as error:
            raise ModelFailed(f"postprocess failed: {type(error).__name__}: {error}") from error
        if not isinstance(finished, Mapping):
            raise ModelFailed(f"postprocess must give a dict of arrays, gave {type(finished).__name__}")
        if self.description.served_known:
            return check_outputs(self.description.served.outputs, finished, what="postprocess")
        try:
            return as_arrays(finished, "output")
        except InvalidInput as error:
            raise ModelFailed(f"postprocess gave no arrays: {error}") from error

    def _answer_group(self, group: list[Arrays]) -> list[Answer]:
        """Answer prepared requests that can be joined; one by one when the joined answer cannot be had."""
        joined = self._try_joined(group) if len(group) > 1 else None
        answers: list[Answer] = []
        for index, prepared in enumerate(group):
            try:
                outputs = joined[index] if joined is not None else self._run(prepared)
                answers.append(self._finish(outputs))
            except (InvalidInput, ModelFailed) as error:
                answers.append(error)
        return answers

    def _try_joined(self, group: list[Arrays]) -> list[Arrays] | None:
        inputs = self.description.signature.inputs
        rows = [rows_of(inputs, prepared) for prepared in group]
        try:
            outputs = self._run({name: np.concatenate([p[name] for p in group]) for name in group[0]})
        except (InvalidInput, ModelFailed):
            return None
        if any(array.shape[0] != sum(rows) for array in outputs.values()):
            return None
        starts = np.cumsum([0, *rows])
        return [{name: array[start:stop] for name, array in outputs.items()} for start, stop in pairwise(starts)]


def as_arrays(values: Mapping[str, Any], side: str) -> Arrays:
    """Make arrays of values whose dtypes and shapes nobody declared; text becomes an object array.

    Raises:
        InvalidInput: A list is ragged, or holds what no tensor can.
    """
    arrays = {}
    for name, value in values.items():
        array = value if isinstance(value, np.ndarray) else to_array(value, None, f"{side} {name!r}")
        arrays[str(name)] = array.astype(object) if array.dtype.kind == "U" else array
    return arrays


def find_code(entrypoint: str, folders: Sequence[Path]) -> Path:
    """Give the first folder that holds the entrypoint's module.

    Raises:
        FileNotFoundError: None does.
    """
    from .code import locate_module

    module_name = entrypoint.rpartition(":")[0]
    for folder in folders:
        try:
            locate_module(module_name, folder)
        except FileNotFoundError:
            continue
        return folder
    raise FileNotFoundError(f"{entrypoint}: no such module in {', '.join(str(f) for f in folders)}")


def load_transform(reference: str, folder: Path) -> Any:
    """Make the transform ``file.py:Class`` below ``folder``.

    Raises:
        ModelError: It cannot be imported or made, or has neither ``preprocess`` nor ``postprocess``.
    """
    try:
        transform = load_class(reference, folder)()
    except Exception as error:
        raise ModelError(f"transform {reference!r} cannot be made: {type(error).__name__}: {error}") from error
    if not any(callable(getattr(transform, name, None)) for name in ("preprocess", "postprocess")):
        raise ModelError(f"transform {reference!r} has neither preprocess nor postprocess; it needs one of them")
    return transform
