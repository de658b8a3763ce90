"""The fast walk through forests against a plain one, node by node."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
COLUMNS, TREES = 5, 7


def grow(generator: np.random.Generator, mode: int, depth: int) -> Any:
    """Return a random forest with few different thresholds, so that inputs often equal them."""
    from modelport.convert.onnx_to_tf.ops.trees import Forest

    rows: list[list[Any]] = []

    def add(level: int) -> int:
        place = len(rows)
        rows.append([0, 0.0, [place, place], -1, False])
        if level < depth and generator.random() < 0.9:
            threshold = generator.integers(-4, 5) / 2
            rows[place] = [generator.integers(COLUMNS), threshold, [], mode, generator.random() < 0.5]
            rows[place][2] = [add(level + 1), add(level + 1)]
        return place

    roots = [add(0) for _ in range(TREES)]
    features, thresholds, children, modes, missing = (list(column) for column in zip(*rows, strict=True))
    return Forest(
        features=np.array(features, np.int32),
        thresholds=np.array(thresholds, np.float32),
        children=np.array(children, np.int32),
        modes=np.array(modes, np.int32),
        missing=np.array(missing, bool),
        roots=np.array(roots, np.int32),
        depth=depth,
    )


def leaf(forest: Any, row: Any, node: int) -> int:
    while forest.modes[node] >= 0:
        value, threshold = row[forest.features[node]], forest.thresholds[node]
        holds = value < threshold if forest.modes[node] else value <= threshold
        node = forest.children[node][int(holds or (np.isnan(value) and forest.missing[node]))]
    return node


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", [0, 1], ids=["at most", "below"])
@pytest.mark.parametrize("depth", [1, 3, 9, 14])
def test_each_row_reaches_its_leaf(depth: int, mode: int, dtype: type) -> None:
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.ops.ranked import walk_ranked

    generator = np.random.default_rng(depth)
    forest = grow(generator, mode, depth)
    for batch in (0, 1, 40):
        x = (generator.integers(-5, 6, (batch, COLUMNS)) / 2).astype(dtype)
        for special in (np.nan, np.inf, -np.inf, -0.0):
            x[generator.random(x.shape) < 0.1] = special
        found = walk_ranked(tf.constant(x), forest, np.arange(len(forest.modes)))
        assert found is not None
        assert found.shape == (batch, TREES)
        assert found.numpy().tolist() == [[leaf(forest, row, root) for root in forest.roots] for row in x]
