"""What a fitted estimator tells of itself: the width of its input, its classes, what it can give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from modelport.errors import MissingTool, SpecError
from modelport.frameworks.probing import DTYPE, NAME, SHAPE, Probe, ProbedTensor, Tensors

_FREE_DTYPE = frozenset({DTYPE})
_ROWS = 2  # not one: SparsePCA gives a single row without its axis


def probe_sklearn(path: Path, kind: str, *, trust: bool) -> Probe:
    """Load an estimator and ask it.

    Args:
        path: The file.
        kind: ``skops``, ``joblib`` or ``pickle``.
        trust: The spec's ``model.trust``.

    Raises:
        SpecError: It may not be loaded, or cannot.
        MissingTool: scikit-learn, or what the file needs, is not installed.
    """
    refuse_untrusted(path, kind, trust=trust)
    try:
        from modelport_runtime.engines.sklearn import METHODS, default_outputs, load_estimator

        estimator = load_estimator(kind, path, trust=trust)
        able = {name: method for name, method in METHODS.items() if _can(estimator, method)}
        told = {method: _ask(estimator, method) for method in dict.fromkeys(able.values())}
        choosable = {name: _output(name, estimator, told[method]) for name, method in able.items()}
        outputs = tuple(choosable[name] for name in default_outputs(estimator))
    except ImportError as error:
        raise MissingTool(f"loading {path.name} needs {error.name}; pip install 'modelport[sklearn]'") from error
    except ValueError as error:
        raise SpecError(f"model.source: {error}") from error
    names = getattr(estimator, "feature_names_in_", None)
    columns = () if names is None else tuple(map(str, names))
    notes = (f"fitted on the columns {', '.join(columns)}",) if columns else ()
    return Probe(
        inputs=_inputs(estimator),
        outputs=outputs,
        choosable=tuple(choosable.values()),
        columns=columns,
        packages=_packages(estimator),
        notes=notes,
    )


def needs_trust(path: Path, kind: str) -> bool:
    """Tell whether a file is loaded only where the spec says ``trust: true``; nothing is loaded to find out."""
    if kind != "skops":
        return kind in ("joblib", "pickle")
    try:
        from modelport_runtime.engines.sklearn import unknown_types

        return bool(unknown_types(path))
    except Exception:  # noqa: BLE001 - not installed, or broken: whoever loads the file says which
        return False


def refuse_untrusted(path: Path, kind: str, *, trust: bool) -> None:
    """Refuse files that run code when they are loaded, unless the spec trusts this one.

    Raises:
        SpecError: With both ways out.
    """
    if kind in ("joblib", "pickle") and not trust:
        raise SpecError(
            f"model.source: {path}: a {kind} file runs code when it is loaded. If you know where it comes from, set "
            f"model.trust: true; else convert it where you trust it: skops.io.dump(estimator, '{path.stem}.skops')"
        )


def _packages(estimator: Any) -> tuple[str, ...]:
    """Give the libraries that the parts of an estimator come from, scikit-learn itself left out."""
    parts = [estimator, *getattr(estimator, "get_params", dict)().values()]
    names = {type(part).__module__.partition(".")[0] for part in parts if hasattr(part, "fit")}
    return tuple(sorted(names - {"sklearn"}))


def _inputs(estimator: Any) -> Tensors:
    width = getattr(estimator, "n_features_in_", None)
    if width is None:  # one that reads text, say: only its author knows what it takes
        return (ProbedTensor(name="features", free=frozenset({NAME, DTYPE, SHAPE})),)
    # An estimator takes any number type; float64 is what it computes with.
    free = frozenset({NAME, DTYPE})
    return (ProbedTensor(name="features", dtype="float64", shape=(None, width), free=free),)


def _can(estimator: Any, method: str) -> bool:
    """Tell whether an estimator has a method that gives one array: of several targets, probabilities are a list."""
    several = isinstance(getattr(estimator, "classes_", None), list)
    return hasattr(estimator, method) and not (several and method == "predict_proba")


def _ask(estimator: Any, method: str) -> Any:
    """Answer rows of ones, to see the dtype and the shape; None where the estimator takes no such rows."""
    from modelport_runtime.engines.sklearn import as_table

    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        return None
    names = getattr(estimator, "feature_names_in_", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = as_table(np.ones((_ROWS, width)), None if names is None else tuple(map(str, names)))
            answer = getattr(estimator, method)(rows)
    except Exception:  # noqa: BLE001 - text columns, say; what made-up rows do not tell is guessed, and the spec may
        return None  # say otherwise
    array = answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)
    return array if array.ndim and len(array) == _ROWS else None


def _output(name: str, estimator: Any, told: Any) -> ProbedTensor:
    """Describe an output: as an answer shows it, or, where there is none, as its name and the estimator suggest."""
    if told is None:
        return _guess(name, estimator)
    dtype = "string" if told.dtype.kind in "OUS" else str(told.dtype)
    return ProbedTensor(name=name, dtype=dtype, shape=(None, *told.shape[1:]), free=_FREE_DTYPE)


def _guess(name: str, estimator: Any) -> ProbedTensor:
    count = _class_count(estimator)
    free = frozenset({DTYPE, SHAPE})
    shape: tuple[int | None, ...] = (None, None)
    if name == "label":
        classes = getattr(estimator, "classes_", None)
        shape = (None, len(classes)) if isinstance(classes, list) else (None,)
        return ProbedTensor(name=name, dtype=_label_dtype(estimator), shape=shape, free=free)
    if name == "probabilities":
        shape = (None, count)
    elif name == "score" or (name == "decision" and count in (None, 2)):
        shape = (None,)  # two classes have one decision, outlier detectors too
    elif name == "transformed":
        shape = (None, _width(estimator))
    elif name == "prediction":
        shape = (None, _targets(estimator)) if _targets(estimator) > 1 else (None,)
    return ProbedTensor(name=name, dtype="float64", shape=shape, free=free)


def _width(estimator: Any) -> int | None:
    """Count what a transformer gives a row; None where it does not tell."""
    try:
        return len(estimator.get_feature_names_out())
    except (AttributeError, ValueError):
        return None


def _class_count(estimator: Any) -> int | None:
    classes = getattr(estimator, "classes_", None)
    return None if classes is None or isinstance(classes, list) else len(classes)


def _label_dtype(estimator: Any) -> str:
    classes = getattr(estimator, "classes_", None)
    dtype = getattr(classes[0] if isinstance(classes, list) else classes, "dtype", np.dtype("int64"))
    return "string" if dtype.kind in "USO" else str(dtype)


def _targets(estimator: Any) -> int:
    """Count a regressor's targets; 1 where it does not tell."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    count = getattr(last, "n_outputs_", None)
    if count is not None:
        return int(count)
    coefficients: Any = getattr(last, "coef_", None)
    return len(coefficients) if getattr(coefficients, "ndim", 1) == 2 else 1
