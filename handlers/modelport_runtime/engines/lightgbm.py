"""Models that LightGBM's ``Booster.save_model`` wrote, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from modelport_runtime.checking import Array

from .binding import ModelError
from .lightgbm_text import END, Forest, read_forest


class LightGBMBooster:
    """A LightGBM model; see `modelport_runtime.engines.boosters.Booster` for what all of them have.

    Attributes:
        native: As LightGBM loaded it.
        forest: The same, as read from the file.
    """

    dtype = "float64"

    def __init__(self, native: Any, forest: Forest, threads: int | None = None) -> None:
        self.native = native
        self.forest = forest
        self.features = forest.features
        plain = tuple(f"Column_{index}" for index in range(forest.features))
        self.columns = None if forest.names == plain else forest.names
        several = forest.objective[0] in ("multiclass", "multiclassova")
        self.classes = forest.targets if several else 2 if forest.objective[0] == "binary" else 0
        self.targets = forest.targets
        self._options = {} if threads is None else {"num_threads": threads}

    @classmethod
    def load(cls, source: Path, threads: int | None = None) -> LightGBMBooster:
        """Load a model; see `load_booster`."""
        try:
            text = source.read_text(encoding="utf-8")
            # LightGBM ends the whole process on a file that was cut off, so it is read here first; what follows the
            # trees tells how they were trained, and is of no use to their answers.
            forest = read_forest(text)
            trees = text.partition(f"\n{END}")[0]
            native = lightgbm.Booster(model_str=f"{trees}\n{END}\n\n")
            return cls(native, forest, threads)
        except (lightgbm.basic.LightGBMError, ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{source.name}: not a whole LightGBM model: {error}; save it again") from error

    def predict(self, matrix: Array) -> Array:
        """Answer a matrix; see `Booster.predict`."""
        return np.asarray(self.native.predict(matrix, **self._options), np.float64)
