"""Text as counts of its words and of words that stand side by side, weighed or not.

skl2onnx's own converters split words at letters that are not ASCII, keep words of one letter, and leave stop words in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph
from modelport.convert.examples import Array

#: What Python takes for a character of a word, as RE2 writes it.
_CHARACTER = r"[\p{L}\p{N}_]"
_RUNS = re.compile(r"(?:\(\?u\))?(?:\\b)?((?:\\w)+)\+(?:\\b)?")
_LOCALE = "C.UTF-8"
_PAD = "#"  # no word
_UNKNOWN, _STOP = -1, -2


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

    return {
        CountVectorizer: Converter(write=_count, width=_width),
        TfidfVectorizer: Converter(write=_count_and_weigh, width=_width),
        TfidfTransformer: Converter(write=_weigh_counts, width=lambda estimator: int(estimator.n_features_in_)),
    }


def known_words(estimator: Any) -> list[str]:
    """Give the terms that text vectorizers inside an estimator know; none where there are no such."""
    if hasattr(estimator, "vocabulary_"):
        return sorted(estimator.vocabulary_)
    parts = [*getattr(estimator, "steps", ()), *getattr(estimator, "transformers_", ())]
    parts += getattr(estimator, "transformer_list", ())
    inner = [part[1] for part in parts] + [getattr(estimator, name, None) for name in ("estimator_", "best_estimator_")]
    return sorted({word for each in inner if hasattr(each, "fit") for word in known_words(each)})


def _width(vectorizer: Any) -> int:
    return len(vectorizer.vocabulary_)


def _count(graph: Subgraph, vectorizer: Any) -> Sequence[str]:
    return [_counts(graph, vectorizer)]


def _count_and_weigh(graph: Subgraph, vectorizer: Any) -> Sequence[str]:
    return [_weigh(graph, _counts(graph, vectorizer), vectorizer)]


def _weigh_counts(graph: Subgraph, transformer: Any) -> Sequence[str]:
    return [_weigh(graph, graph.matrix(), transformer)]


def _weigh(graph: Subgraph, counts: str, settings: Any) -> str:
    value = counts
    if settings.sublinear_tf:
        absent = graph.add("Equal", value, graph.number(0))
        logarithm = graph.add("Log", graph.add("Where", absent, graph.number(1), value))
        value = graph.add("Where", absent, graph.number(0), graph.add("Add", logarithm, graph.number(1)))
    if settings.use_idf:
        value = graph.add("Mul", value, graph.number(settings.idf_))
    if settings.norm is None:
        return value
    if settings.norm == "l1":
        length = graph.total(graph.add("Abs", value), 1, keepdims=True)
    else:
        length = graph.add("Sqrt", graph.total(graph.add("Mul", value, value), 1, keepdims=True))
    empty = graph.add("Equal", length, graph.number(0))
    return graph.add("Div", value, graph.add("Where", empty, graph.number(1), length))


def _counts(graph: Subgraph, vectorizer: Any) -> str:
    """Count what is in the vocabulary, [rows, terms]: words become numbers, and these are counted."""
    expression = _expression(vectorizer)
    stops = frozenset(vectorizer.get_stop_words() or ())
    numbers = {word: number for number, word in enumerate(sorted(_words(vectorizer.vocabulary_) - stops))}
    known = {**numbers, **dict.fromkeys(sorted(stops), _STOP)}
    text = graph.add("Reshape", graph.text(), graph.constant([-1], np.int64))
    if vectorizer.lowercase:
        text = graph.add("StringNormalizer", text, case_change_action="LOWER", is_case_sensitive=1, locale=_LOCALE)
    words = graph.add(
        "Tokenizer", text, domain="com.microsoft", tokenexp=expression, pad_value=_PAD, mark=0, mincharnum=1
    )
    # Texts without words have none for all: a column of no word leaves one. It also tells the type, which onnx does not
    # know of another domain's op, and without which it ends the process.
    rows = graph.add("Concat", graph.add("Shape", text), graph.constant([1], np.int64), axis=0)
    words = graph.add("Concat", graph.add("Expand", graph.constant([[_PAD]], "string"), rows), words, axis=1)
    found = graph.add(
        "LabelEncoder", words, domain="ai.onnx.ml", default_int64=_UNKNOWN,
        keys_strings=list(known), values_int64s=list(known.values()),
    )  # fmt: skip
    longest = int(vectorizer.ngram_range[1])
    if stops and longest > 1:
        found = _without_stops(graph, found)
    pool, starts, places = _pool(vectorizer, numbers)
    return graph.add(
        "TfIdfVectorizer", found, mode="IDF" if vectorizer.binary else "TF", weights=[1.0] * len(places),
        min_gram_length=int(vectorizer.ngram_range[0]), max_gram_length=longest, max_skip_count=0,
        pool_int64s=pool, ngram_counts=starts, ngram_indexes=places,
    )  # fmt: skip


def _expression(vectorizer: Any) -> str:
    """Give what finds words, for RE2.

    Raises:
        NotImplementedError: A setting has no counterpart.
    """
    for name, plain in (("analyzer", "word"), ("tokenizer", None), ("preprocessor", None), ("strip_accents", None)):
        if getattr(vectorizer, name) != plain:
            raise NotImplementedError(f"{name} of a text vectorizer has no counterpart here; leave it at {plain!r}")
    runs = _RUNS.fullmatch(vectorizer.token_pattern or "")
    if runs is None:
        raise NotImplementedError(
            rf"token_pattern {vectorizer.token_pattern!r} has no counterpart here; what has is \b\w\w+\b and \b\w+\b"
        )
    if vectorizer.lowercase and any(word.endswith("ς") for word in _words(vectorizer.vocabulary_)):
        raise NotImplementedError(
            "ONNX Runtime lower-cases the last sigma of a word in another way than Python; "
            "lower-case the texts before, and set lowercase=False"
        )
    return _CHARACTER * (len(runs[1]) // 2) + "+"


def _words(vocabulary: Mapping[str, int]) -> set[str]:
    return {word for term in vocabulary for word in term.split(" ")}


def _without_stops(graph: Subgraph, found: str) -> str:
    """Move stop words behind all others, so that their neighbours stand side by side."""
    size = graph.add("Shape", found, start=1)
    one = graph.constant([1], np.int64)
    place = graph.add("Sub", graph.add("CumSum", graph.add("Expand", one, size), graph.constant(0, np.int64)), one)
    stop = graph.cast(graph.add("Equal", found, graph.constant(_STOP, np.int64)), "int64")
    order = graph.add_second("TopK", graph.add("Add", graph.add("Mul", stop, size), place), size, axis=1, largest=0)
    return graph.add("GatherElements", found, order, axis=1)


def _pool(vectorizer: Any, numbers: Mapping[str, int]) -> tuple[list[int], list[int], list[int]]:
    """Give the terms as numbers, where those of one, two, … words begin, and each one's column.

    A term that is never found, as a stop word in a vocabulary that was given, gets a number that no word has.
    """
    shortest, longest = map(int, vectorizer.ngram_range)
    terms: list[list[tuple[list[int], int]]] = [[] for _ in range(longest)]
    for term, place in vectorizer.vocabulary_.items():
        words = term.split(" ")
        if shortest <= len(words) <= longest and all(word in numbers for word in words):
            terms[len(words) - 1].append(([numbers[word] for word in words], int(place)))
        else:
            terms[0].append(([len(numbers) + int(place)], int(place)))
    sizes: Array = np.array([len(group) * length for length, group in enumerate(terms, start=1)])
    starts = [0, *np.cumsum(sizes)[:-1].tolist()]
    pool = [number for group in terms for found, _ in group for number in found]
    return pool, starts, [place for group in terms for _, place in group]
