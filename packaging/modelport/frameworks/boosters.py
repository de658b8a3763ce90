"""What boosters tell of themselves: XGBoost's and LightGBM's own files, which run no code when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelport.errors import MissingTool, SpecError
from modelport.frameworks.probing import DTYPE, NAME, Probe, ProbedTensor

if TYPE_CHECKING:
    from modelport_runtime.engines.boosters import Booster

_FREE = frozenset({NAME, DTYPE})


def probe_booster(path: Path, kind: str) -> Probe:
    """Load a booster in its own library and ask it.

    Args:
        path: The file.
        kind: ``xgboost_json``, ``xgboost_ubj`` or ``lightgbm_text``.

    Raises:
        SpecError: It cannot be loaded.
        MissingTool: The library is not installed.
    """
    extra = kind.partition("_")[0]
    try:
        from modelport_runtime.engines.binding import ModelError
        from modelport_runtime.engines.boosters import default_outputs, load_booster

        booster = load_booster(kind, path)
    except ImportError as error:
        raise MissingTool(f"loading {path.name} needs {error.name}; pip install 'modelport[{extra}]'") from error
    except ModelError as error:
        raise SpecError(f"model.source: {error}") from error
    columns = booster.columns or ()
    features = ProbedTensor(name="features", dtype=booster.dtype, shape=(None, booster.features), free=_FREE)
    notes = (f"fitted on the columns {', '.join(columns)}",) if columns else ()
    outputs = tuple(_output(name, booster) for name in default_outputs(booster))
    return Probe(inputs=(features,), outputs=outputs, choosable=outputs, columns=columns, notes=notes)


def _output(name: str, booster: Booster) -> ProbedTensor:
    if name == "label":
        return ProbedTensor(name=name, dtype="int64", shape=(None,), free=_FREE)
    width = booster.classes or booster.targets
    shape = (None, width) if width > 1 else (None,)
    return ProbedTensor(name=name, dtype=booster.dtype, shape=shape, free=_FREE)
