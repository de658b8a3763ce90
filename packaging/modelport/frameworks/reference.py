"""The framework's own answer, transform included, by the engines that also ride in artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from modelport.codefiles import code_folder
from modelport.describe import describe_model, transform_folder
from modelport.errors import MissingTool, SpecError
from modelport.model import Model
from modelport_runtime.checking import Array, InvalidInput, ModelFailed
from modelport_runtime.engines import Engine, load_engine
from modelport_runtime.runtime import Runtime, load_transform

Reference = Callable[[Mapping[str, Any]], dict[str, Array]]

_EXTRAS = {
    "torch": "pytorch",
    "tensorflow": "tfserving",
    "keras": "tfserving",
    "onnxruntime": "onnx",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "joblib": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}


def reference(model: Model) -> Reference:
    """Load a model in its own framework, in this process.

    Returns:
        A function from the inputs of ``model.served`` to its outputs. It raises a SpecError when the model cannot
        answer.

    Raises:
        SpecError: The model cannot be loaded; the message says why.
        MissingTool: The framework is not installed.
    """
    runtime = load_runtime(model)

    def answer(inputs: Mapping[str, Any]) -> dict[str, Array]:
        try:
            return runtime.predict(inputs)
        except (InvalidInput, ModelFailed) as error:
            raise SpecError(f"the model, run in its own framework: {error}") from error

    return answer


def load_runtime(model: Model) -> Runtime:
    """Load a model where it lies, as `Runtime.load` loads it from an artifact.

    Raises:
        SpecError: It cannot be loaded.
        MissingTool: The framework is not installed.
    """
    description = describe_model(model, source=model.source.name)
    transform = None
    if model.transform is not None and description.transform is not None:
        with _spoken(model):
            transform = load_transform(description.transform, transform_folder(model))
    return Runtime(description, load_model(model), transform)


def load_model(model: Model) -> Engine:
    """Load the model itself, without its transform.

    Raises:
        SpecError: It cannot be loaded.
        MissingTool: The framework is not installed.
    """
    entrypoint = model.spec.model.entrypoint
    code = code_folder(entrypoint, model.root) if entrypoint else model.root
    with _spoken(model):
        return load_engine(describe_model(model, source=model.source.name), model.source, code)


@contextmanager
def _spoken(model: Model) -> Iterator[None]:
    """Turn what loading raises into sentences for whoever wrote the spec."""
    try:
        yield
    except ImportError as error:
        raise _missing(error, model.spec.model.framework) from error
    except (ValueError, OSError) as error:
        raise SpecError(f"model.source: {error}") from error


def _missing(error: ImportError, framework: str) -> MissingTool:
    name = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(name)
    if extra is None:
        return MissingTool(f"running the {framework} model needs {name or error}; install it with pip")
    return MissingTool(f"running the {framework} model needs {name}; pip install 'modelport[{extra}]'")
