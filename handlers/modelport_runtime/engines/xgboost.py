"""Models that XGBoost's ``save_model`` wrote, as JSON or UBJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from modelport_runtime.checking import Array

from .binding import ModelError
from .ubjson import check_ubjson

SOFTMAX = ("multi:softmax", "multi:softprob")


class XGBoostBooster:
    """An XGBoost model; see `modelport_runtime.engines.boosters.Booster` for what all of them have.

    A model that ``XGBModel.save_model`` wrote after early stopping answers by its best iteration, one that
    ``Booster.save_model`` wrote by all, as each does in XGBoost itself.

    Attributes:
        native: As XGBoost loaded it.
        objective: Its objective's name.
        rounds: How many boosting rounds answer; 0 for all.
    """

    dtype = "float32"

    def __init__(self, native: Any) -> None:
        config = json.loads(native.save_config())["learner"]
        self.native = native
        self.objective = str(config["objective"]["name"])
        self.booster = str(config["learner_train_param"]["booster"])
        self.features = int(native.num_features())
        names = native.feature_names
        self.columns = None if names is None else tuple(map(str, names))
        self.rounds = self._best_rounds()
        if self.objective == "multi:softmax":  # the same trees; probabilities in place of the class alone
            native.set_param({"objective": "multi:softprob"})
        answer = self.predict(np.zeros((1, self.features), np.float32))
        width = int(answer.shape[1]) if answer.ndim == 2 else 1
        chooses = self.objective in SOFTMAX or (self.objective == "binary:logistic" and width == 1)
        self.classes = max(width, 2) if chooses else 0
        self.targets = width

    @classmethod
    def load(cls, source: Path, threads: int | None = None) -> XGBoostBooster:
        """Load a model; see `load_booster`."""
        try:
            data = source.read_bytes()
            if data[1:2].isalpha():  # as XGBoost itself tells UBJSON from JSON
                check_ubjson(data)
            else:
                json.loads(data)
            native = xgboost.Booster()
            native.load_model(bytearray(data))  # from memory: told by its content, not by its name
            if threads is not None:
                native.set_param({"nthread": threads})
            return cls(native)
        except (xgboost.core.XGBoostError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{source.name}: XGBoost {xgboost.__version__} cannot load it: {_reason(error)}"
            ) from error

    def predict(self, matrix: Array) -> Array:
        """Answer a matrix; see `Booster.predict`."""
        if self.booster == "gblinear":
            table = xgboost.DMatrix(matrix, feature_names=self.native.feature_names)
            return np.asarray(self.native.predict(table), np.float32)
        return np.asarray(self.native.inplace_predict(matrix, iteration_range=(0, self.rounds)), np.float32)

    def _best_rounds(self) -> int:
        attributes = self.native.attributes()
        best = attributes.get("best_iteration")
        if best is None or "scikit_learn" not in attributes or self.booster == "gblinear":
            return 0
        return int(best) + 1


def _reason(error: Exception) -> str:
    """Give the sentence in XGBoost's errors, without its clock, source path and stack."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return first.partition("] ")[2].partition(": ")[2] or first if first.startswith("[") else first
