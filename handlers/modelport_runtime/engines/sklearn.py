"""scikit-learn estimators: which of their methods gives which output."""

from __future__ import annotations

import contextlib
import importlib
import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from modelport_runtime.checking import Array, ModelFailed
from modelport_runtime.description import ModelDescription

from .binding import ModelError, bind_outputs
from .columns import choose_columns, take_columns

logger = logging.getLogger(__name__)

# What an output of a signature may be called, and the method that gives it.
METHODS = {
    "label": "predict",
    "prediction": "predict",
    "probabilities": "predict_proba",
    "decision": "decision_function",
    "score": "score_samples",
    "transformed": "transform",
}

# skops lists this with what it does not know, but it describes numbers, and every table of columns holds it.
_HARMLESS = ("numpy.dtype",)


class SklearnEngine:
    """A fitted estimator (or pipeline).

    Attributes:
        estimator: As scikit-learn made it.
    """

    def __init__(self, estimator: Any, description: ModelDescription) -> None:
        self.estimator = estimator
        self._inputs = tuple(t.name for t in description.signature.inputs)
        self._columns = _columns_of(estimator)
        self._outputs = choose_methods(estimator, [t.name for t in description.signature.outputs])
        self._tables = {t.name for t in description.signature.outputs if len(t.shape) == 2}
        width = getattr(estimator, "n_features_in_", "n")
        self._taken = choose_columns(self._inputs, self._columns, width)
        if self._columns is not None and _pandas() is None:
            warnings.filterwarnings("ignore", "X does not have valid feature names")

    @classmethod
    def load(cls, description: ModelDescription, source: Path) -> SklearnEngine:
        """Load a model; see `load_engine`."""
        if description.device != "cpu":
            raise ModelError("environment.device is cuda, but scikit-learn computes on the CPU; write cpu")
        return cls(load_estimator(description.format, source, trust=description.trust), description)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs; see `Engine.run`."""
        table = self._build_table(inputs)
        rows = len(table)
        results: dict[str, Any] = {}
        for method in dict.fromkeys(self._outputs.values()):
            results[method] = getattr(self.estimator, method)(table)
        outputs = {name: results[method] for name, method in self._outputs.items()}
        arrays = {name: _dense(value) for name, value in outputs.items()}
        for name in self._tables & arrays.keys():
            if arrays[name].ndim == 1:  # SparsePCA gives a single row without its axis
                arrays[name] = arrays[name].reshape(rows, -1)
        return bind_outputs(arrays, tuple(outputs))

    def _build_table(self, inputs: Mapping[str, Array]) -> Any:
        if self._taken is None:
            matrix = inputs[self._inputs[0]]
            return as_table(matrix, self._columns)
        columns = take_columns(inputs, self._taken)
        pandas = _pandas()
        if pandas is not None:
            return pandas.DataFrame(columns)
        same = len({column.dtype for column in columns.values()}) == 1
        return np.column_stack([c if same else c.astype(object) for c in columns.values()])


def load_estimator(kind: str, source: Path, *, trust: bool) -> Any:
    """Load a fitted estimator; one that another version of scikit-learn wrote is told of in the log, once.

    Args:
        kind: ``skops``, ``joblib`` or ``pickle``; the last two run the file's code, which whoever calls has allowed.
        source: The file.
        trust: Take types that skops does not know to be safe.

    Raises:
        ModelError: The file cannot be loaded; a skops file names the types that are not known to be safe.
        ImportError: skops or joblib is not installed.
    """
    with _versions_told(source.name):
        return _load_skops(source, trust=trust) if kind == "skops" else _unpickle(kind, source)


def _unpickle(kind: str, source: Path) -> Any:
    try:
        if kind == "joblib":
            import joblib

            return joblib.load(source)
        with source.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301  # the spec says trust: true
    except ImportError:
        raise
    except Exception as error:
        raise ModelError(f"{source.name} cannot be loaded as {kind}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _versions_told(name: str) -> Iterator[None]:
    """Say in one sentence what scikit-learn says in three lines for each part of an estimator."""
    try:
        from sklearn.exceptions import InconsistentVersionWarning
    except ImportError:  # before 1.3 it had no such class
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InconsistentVersionWarning)
        yield
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            _tell_version(name, warning.message.original_sklearn_version, warning.message.current_sklearn_version)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@lru_cache
def _tell_version(name: str, old: str, new: str) -> None:
    logger.warning(
        "%s was fitted with scikit-learn %s, and %s is installed here: it may answer otherwise, or fail. Install "
        "scikit-learn==%s and write it into environment.requirements, or fit the model anew",
        name,
        old,
        new,
        old,
    )


def unknown_types(source: Path) -> list[str]:
    """Name the types in a skops file that are not known to be safe."""
    import skops.io

    return [name for name in skops.io.get_untrusted_types(file=source) if name not in _HARMLESS]


def _load_skops(source: Path, *, trust: bool) -> Any:
    import skops.io

    try:
        unknown = unknown_types(source)
        if trust or not unknown:
            return skops.io.load(source, trusted=[*unknown, *_HARMLESS])
    except Exception as error:
        raise ModelError(f"{source.name} cannot be loaded as skops: {type(error).__name__}: {error}") from error
    raise ModelError(
        f"{source.name} holds types that skops does not know to be safe: {', '.join(unknown)}. "
        "If you know where the file comes from, set model.trust: true"
    )


def default_outputs(estimator: Any) -> tuple[str, ...]:
    """Name what an estimator gives when the spec does not say."""
    if _is(estimator, "outlier_detector"):
        return ("label", "score") if hasattr(estimator, "score_samples") else ("label",)
    if _is(estimator, "classifier"):
        several = isinstance(getattr(estimator, "classes_", None), list)  # one list of probabilities a target
        return ("label", "probabilities") if hasattr(estimator, "predict_proba") and not several else ("label",)
    if _is(estimator, "regressor"):
        return ("prediction",)
    if hasattr(estimator, "predict"):
        return ("label",)
    for name in ("transformed", "score"):
        if hasattr(estimator, METHODS[name]):
            return (name,)
    raise ModelError(
        f"a {type(estimator).__name__} has none of {', '.join(dict.fromkeys(METHODS.values()))}; it can answer nothing"
    )


def choose_methods(estimator: Any, names: list[str]) -> dict[str, str]:
    """Choose the estimator's method for every output of a signature.

    Names with a meaning (`METHODS`) bind by it. Where none has one, the default outputs bind by position.

    Raises:
        ModelError: A name means what this estimator cannot give, or nothing.
    """
    if not any(name in METHODS for name in names):
        defaults = default_outputs(estimator)
        if len(names) == len(defaults):
            return {name: METHODS[default] for name, default in zip(names, defaults, strict=True)}
    chosen = {}
    for name in names:
        method = METHODS.get(name)
        if method is None or not hasattr(estimator, method):
            able = [known for known, needed in METHODS.items() if hasattr(estimator, needed)]
            raise ModelError(
                f"output {name!r}: a {type(estimator).__name__} does not give that; it gives {', '.join(able)}"
            )
        chosen[name] = method
    return chosen


def _is(estimator: Any, kind: str) -> bool:
    """Ask what an estimator is, in the words of old and of new versions of scikit-learn."""
    if getattr(estimator, "_estimator_type", None) == kind:
        return True
    from sklearn import base

    ask = getattr(base, f"is_{kind}")
    return bool(ask(estimator))


def _columns_of(estimator: Any) -> tuple[str, ...] | None:
    with contextlib.suppress(AttributeError, IndexError):
        return tuple(str(name) for name in estimator.feature_names_in_)
    return None


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        return None


def as_table(matrix: Array, columns: tuple[str, ...] | None) -> Any:
    """Give a matrix as the estimator wants it: a data frame where it was fitted on named columns and pandas is here."""
    pandas = _pandas() if columns is not None else None
    return matrix if pandas is None else pandas.DataFrame(matrix, columns=list(columns or ()))


def _dense(value: Any) -> Any:
    if isinstance(value, list):
        raise ModelFailed("an estimator of several targets gives a list of probabilities; declare label alone")
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "US" else array
