"""The fast walk through forests against a plain one, node by node."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelport.errors import ConversionError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
COLUMNS = 5


def grow(generator: np.random.Generator, mode: int, depth: int, trees: int, columns: int) -> Any:
    """Return a random forest with few different thresholds, so that inputs often equal them."""
    from modelport.convert.onnx_to_tf.ops.forest import Forest

    rows: list[list[Any]] = []

    def add(level: int) -> int:
        place = len(rows)
        rows.append([0, 0.0, [place, place], -1, False])
        if level < depth and generator.random() < 0.9:
            threshold = generator.integers(-4, 5) / 2
            rows[place] = [generator.integers(columns), threshold, [], mode, generator.random() < 0.5]
            rows[place][2] = [add(level + 1), add(level + 1)]
        return place

    roots = [add(0) for _ in range(trees)]
    features, thresholds, children, modes, missing = (list(column) for column in zip(*rows, strict=True))
    return Forest(
        features=np.array(features, np.int32),
        thresholds=np.array(thresholds, np.float32),
        children=np.array(children, np.int32),
        modes=np.array(modes, np.int32),
        missing=np.array(missing, bool),
        roots=np.array(roots, np.int32),
    )


def leaf(forest: Any, row: Any, node: int) -> int:
    while forest.modes[node] >= 0:
        value, threshold = row[forest.features[node]], forest.thresholds[node]
        holds = value < threshold if forest.modes[node] else value <= threshold
        node = forest.children[node][int(holds or (np.isnan(value) and forest.missing[node]))]
    return node


def stands_where_it_should(forest: Any, generator: np.random.Generator, columns: int, dtype: type, batch: int) -> None:
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.ops.ranked import walk_ranked

    x = (generator.integers(-5, 6, (batch, columns)) / 2).astype(dtype)
    for special in (np.nan, np.inf, -np.inf, -0.0):
        x[generator.random(x.shape) < 0.1] = special
    found = walk_ranked(tf.constant(x), forest, np.arange(len(forest.modes)))
    assert found is not None
    assert found.shape == (batch, len(forest.roots))
    assert found.numpy().tolist() == [[leaf(forest, row, root) for root in forest.roots] for row in x]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", [0, 1], ids=["at most", "below"])
@pytest.mark.parametrize("depth", [1, 3, 9, 14])
def test_each_row_reaches_its_leaf(depth: int, mode: int, dtype: type) -> None:
    generator = np.random.default_rng(depth)
    forest = grow(generator, mode, depth, trees=7, columns=COLUMNS)
    for batch in (0, 1, 40):
        stands_where_it_should(forest, generator, COLUMNS, dtype, batch)


@pytest.mark.parametrize("columns", [1, 13, 48, 49])
@pytest.mark.parametrize("trees", [1, 128, 140])
def test_treetops_of_many_trees_and_columns(trees: int, columns: int) -> None:
    generator = np.random.default_rng(columns)
    forest = grow(generator, 0, 8, trees, columns)
    stands_where_it_should(forest, generator, columns, np.float32, 5)


def test_treetops_are_taken_where_they_pay() -> None:
    from modelport.convert.onnx_to_tf.ops.treetops import cut_treetops

    generator = np.random.default_rng(0)
    few, many = (grow(generator, 0, 9, 30, columns) for columns in (48, 200))
    tops = cut_treetops(few, few.thresholds, few.heights())
    assert tops is not None
    assert np.diff(np.append(tops.first, len(tops.exits))).max() == 64
    assert few.depth(tops.exits) < few.depth(few.roots)
    assert cut_treetops(many, many.thresholds, many.heights()) is None


def test_a_forest_with_more_ways_down_than_nodes_is_left_to_the_general_walk() -> None:
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.ops.ranked import walk_ranked

    forest = grow(np.random.default_rng(1), 0, 0, 40, COLUMNS)
    forest.modes[:39] = 0
    forest.children[:39] = np.arange(1, 40)[:, None]
    chain = replace(forest, roots=forest.roots[:1])
    assert walk_ranked(tf.zeros([1, COLUMNS]), chain, np.arange(40)) is None


def test_nodes_that_go_round_in_a_circle_are_refused() -> None:
    forest = grow(np.random.default_rng(1), 0, 3, 1, COLUMNS)
    forest.children[forest.children[0]] = 0
    with pytest.raises(ConversionError, match="circle"):
        forest.depth(forest.roots)
