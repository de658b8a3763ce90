"""Text vectorizers: ONNX Runtime and the SavedModel count as scikit-learn does, whatever the script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport.convert.estimators.text import known_words
from modelport.convert.sklearn_to_onnx import export_sklearn
from modelport.errors import ConversionError
from modelport_runtime.signature import TensorSpec

LEARNT = [
    "A great film, I loved it", "An awful, boring film", "loved the acting and the plot", "boring plot's end, awful",
    "Ελληνικά κείμενα", "日本語 テキスト", "Отличный фильм", "naïve café", "film of the year 2024", "x² ½ is not much",
]  # fmt: skip
ASKED = [
    *LEARNT, "boring a film", "boringé film", "GREAT FILM ΕΛΛΗΝΙΚΆ ОТЛИЧНЫЙ", "loved_it film-film film",
    "cafe\u0301 NAÏVE", "😀film a plot's", "", "   ", "a", "?!", "the end of the film\n\tthe plot", "film " * 500,
]  # fmt: skip
CLASSES = [1, 0, 1, 0, 1, 0, 1, 1, 0, 0]
CASES = {
    "counts": CountVectorizer(),
    "counts of one letter": CountVectorizer(token_pattern=r"(?u)\b\w+\b", lowercase=False),
    "pairs": CountVectorizer(ngram_range=(1, 2)),
    "only pairs and triples": CountVectorizer(ngram_range=(2, 3)),
    "what stands in two texts": CountVectorizer(ngram_range=(1, 2), min_df=2),
    "binary": CountVectorizer(binary=True, max_features=9),
    "stop words": CountVectorizer(stop_words="english"),
    "pairs without stop words": CountVectorizer(stop_words=["the", "and", "of"], ngram_range=(1, 2)),
    "a vocabulary that was given": CountVectorizer(
        vocabulary=["film", "the film", "c++", "Great", "of the year 2024"], ngram_range=(1, 2), stop_words=["the"],
    ),
    "weighed": TfidfVectorizer(),
    "weighed pairs": TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, norm="l1"),
    "plainly weighed": TfidfVectorizer(use_idf=False, norm=None, sublinear_tf=True),
    "weighed afterwards": make_pipeline(CountVectorizer(), TfidfTransformer(smooth_idf=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_texts_are_counted_as_scikit_learn_counts(name: str, lower: Callable[..., Any]) -> None:
    import onnxruntime

    estimator = CASES[name].fit(LEARNT)
    right = estimator.transform(ASKED).toarray().astype(np.float32)
    outputs = [TensorSpec(name="transformed", dtype="float32", shape=(None, right.shape[1]))]
    model = export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype="string", shape=(None,))], outputs=outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    call = lower(model)
    texts = np.array(ASKED, object)
    for rows in (slice(0, 1), slice(16, 17), slice(16, 20), slice(0, len(ASKED))):
        np.testing.assert_allclose(call({"x": texts[rows]})["transformed"], right[rows], rtol=1e-5, atol=1e-7)
        found = session.run(None, {"x": texts[rows]})[0]
        np.testing.assert_allclose(found, right[rows], rtol=1e-5, atol=1e-7)


def test_a_text_goes_on_behind_its_first_nul(lower: Callable[..., Any]) -> None:
    estimator = CountVectorizer().fit(LEARNT)
    texts = ["the film\0THE PLOT\0", "\0", "ΟΔΟΣ FILM"]
    right = estimator.transform(texts).toarray()
    outputs = [TensorSpec(name="transformed", dtype="int64", shape=right.shape)]
    model = export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype="string", shape=(None,))], outputs=outputs)
    np.testing.assert_array_equal(lower(model)({"x": np.array(texts, object)})["transformed"], right)


def test_text_beside_numbers_reaches_a_classifier(lower: Callable[..., Any]) -> None:
    import pandas as pd

    frame = pd.DataFrame({"text": LEARNT, "size": np.arange(10.0)})
    columns = ColumnTransformer([("words", TfidfVectorizer(), "text"), ("numbers", StandardScaler(), ["size"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, CLASSES)
    inputs = [
        TensorSpec(name="text", dtype="string", shape=(None,)), TensorSpec(name="size", dtype="float32", shape=(None,))
    ]  # fmt: skip
    outputs = [
        TensorSpec(name="label", dtype="int64", shape=(None,)),
        TensorSpec(name="probabilities", dtype="float32", shape=(None, 2)),
    ]
    asked = pd.DataFrame({"text": ASKED, "size": np.linspace(-3, 12, len(ASKED))})
    call = lower(export_sklearn(model, inputs=inputs, outputs=outputs))
    found = call({"text": np.array(ASKED, object), "size": asked["size"].to_numpy(np.float32)})
    np.testing.assert_array_equal(found["label"], model.predict(asked))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(asked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (CountVectorizer(analyzer="char"), "analyzer of a text vectorizer has no counterpart"),
        (CountVectorizer(strip_accents="unicode"), "strip_accents of a text vectorizer has no counterpart"),
        (CountVectorizer(tokenizer=str.split, token_pattern=None), "tokenizer of a text vectorizer"),
        (CountVectorizer(token_pattern="[a-z]+"), r"token_pattern '\[a-z\]\+' has no counterpart"),
        (HashingVectorizer(n_features=8), "HashingVectorizer"),
    ],
)
def test_what_has_no_counterpart_is_refused(estimator: Any, words: str) -> None:
    estimator.fit(LEARNT)
    outputs = [TensorSpec(name="transformed", dtype="float32", shape=(None, None))]
    with pytest.raises(ConversionError, match=words):
        export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype="string", shape=(None,))], outputs=outputs)


def test_the_last_sigma_of_a_word_is_refused_where_words_are_lower_cased() -> None:
    estimator = CountVectorizer().fit(["η οδός"])
    outputs = [TensorSpec(name="transformed", dtype="float32", shape=(None, 1))]
    with pytest.raises(ConversionError, match="the last sigma of a word"):
        export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype="string", shape=(None,))], outputs=outputs)


def test_the_terms_of_a_model_are_found_wherever_its_vectorizers_stand() -> None:
    words, letters = CountVectorizer().fit(["great film"]), CountVectorizer(token_pattern=r"\w+").fit(["a b"])
    columns = ColumnTransformer([("words", words, 0), ("letters", make_pipeline(letters), 1)])
    columns.fit(np.array([["great film", "a b"]], object))
    assert known_words(make_pipeline(columns, LogisticRegression())) == ["a", "b", "film", "great"]
    assert known_words(LogisticRegression()) == []


def test_counts_may_be_fractions(lower: Callable[..., Any]) -> None:
    rows = np.array([[0.0, 0.25, 3.0], [1.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    estimator = TfidfTransformer(sublinear_tf=True).fit(rows)
    outputs = [TensorSpec(name="transformed", dtype="float64", shape=(None, 3))]
    model = export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype="float64", shape=(None, 3))], outputs=outputs)
    right = estimator.transform(rows).toarray()
    np.testing.assert_allclose(lower(model)({"x": rows})["transformed"], right, rtol=1e-12)


@pytest.mark.parametrize("expression", [r"[\W]+", "[!-~ ]+", "[\t-z]+", "[a-z]*", "ab+"])
def test_words_that_are_no_runs_without_blanks_are_refused(expression: str, lower: Callable[..., Any]) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node(
        "Tokenizer", ["x"], ["y"], domain="com.microsoft", tokenexp=expression, pad_value="#", mark=0
    )
    ends = [
        helper.make_tensor_value_info(name, TensorProto.STRING, shape) for name, shape in (("x", [2]), ("y", [2, 1]))
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)], ir_version=9
    )
    with pytest.raises(ConversionError, match="no runs of a class of characters without the blank"):
        lower(model)
