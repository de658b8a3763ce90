"""Counts of n-grams, which come weighed in places of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("mode", [b"TF", b"IDF", b"TFIDF"])
def test_ngrams_are_weighed_like_onnxruntime(lower: Any, mode: bytes) -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    pool = [2, 3, 1, 0, 0, 1, 1, 1, 3, 2]  # four numbers alone, three pairs of them
    node = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=1,
        ngram_counts=[0, 4], ngram_indexes=[3, 6, 0, 5, 1, 2, 4], pool_int64s=pool,
        weights=[0.5, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0],
    )  # fmt: skip
    ends = (
        helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 7]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 7]),
    )
    graph = helper.make_graph([node], "g", [ends[0]], [ends[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.random.default_rng(0).integers(0, 4, (5, 7))
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(lower(model)({"x": x})["y"], wanted, rtol=1e-6)
