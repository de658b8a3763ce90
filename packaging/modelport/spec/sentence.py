"""What pydantic found, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from modelport.spec.fault import one_line, show
from modelport.spec.node import Node, Scalar, read_plain
from modelport.spec.section import PATTERN_WORDS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

WANTED = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type"), "must be a mapping"),
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 can hold",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "none_required": "must be left out",
}
"""Begins of sentences by pydantic's error type, with the limits from its context."""

SAID_OTHERWISE = {
    "float": "float32",
    "half": "float16",
    "double": "float64",
    "int": "int64",
    "long": "int64",
    "boolean": "bool",
    **dict.fromkeys(("str", "text", "object", "bytes"), "string"),
    **dict.fromkeys(("torch", "torchscript"), "pytorch"),
    **dict.fromkeys(("keras", "tf", "saved_model"), "tensorflow"),
    "scikit-learn": "sklearn",
    "xgb": "xgboost",
    **dict.fromkeys(("lgb", "lgbm"), "lightgbm"),
    "onnxruntime": "onnx",
    "gpu": "cuda",
}
"""What people write for a choice, and the choice that they mean."""


def compose_sentence(errors: Sequence[ErrorDetails], node: Node | None) -> str:
    """Say what is wrong with one value.

    Args:
        errors: Everything that pydantic says about it; more than one where a union's branches each refuse it.
        node: The value in the text, or None where it is not to be found.
    """
    error = errors[0]
    if len(errors) == 1 and error["type"] in ("value_error", "assertion_error"):
        return one_line(str(error.get("ctx", {}).get("error", error["msg"])))
    wanted = _join(dict.fromkeys(_wanted(each) for each in errors))
    got = _got(error, node)
    hint = _hint(error, node) if len(errors) == 1 else ""
    return one_line(f"{wanted}, got {got}{hint}")


def compose_unknown(key: str, known: Iterable[str], elsewhere: str | None = None) -> str:
    """Say that a key is not known, and which one may be meant.

    Args:
        key: The key.
        known: Keys that can stand here.
        elsewhere: Section that has a key of this name, if another one does.
    """
    names = list(known)
    if near := suggest(key, names):
        return f"unknown key; did you mean {near!r}?"
    if elsewhere is not None:
        return f"unknown key here; it belongs under {elsewhere}"
    return f"unknown key; known here: {', '.join(names)}" if names else "unknown key"


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """Give the choice that is most likely meant, or None."""
    names = list(choices)
    if (meant := SAID_OTHERWISE.get(word.lower())) in names:
        return meant
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(word.lower().replace("-", "_"), by_lower, n=1)
    return by_lower[near[0]] if near else None


def _wanted(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    kind = error["type"]
    if kind in ("too_short", "string_too_short") and context.get("min_length") == 1:
        return "must not be empty"
    if kind in ("too_short", "too_long"):
        return f"must have at {_limit(context)} entries"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return f"must be {PATTERN_WORDS.get(pattern, f'text that matches {pattern}')}"
    if kind == "literal_error":
        choices = _choices(error)
        return f"must be one of {', '.join(choices)}" if len(choices) > 1 else f"must be {context['expected']}"
    if kind in WANTED:
        return WANTED[kind].format_map({key: f"{v:g}" if isinstance(v, float) else v for key, v in context.items()})
    message = error["msg"].removeprefix("Input should ")
    return message if message.startswith("must ") else f"must {message}"


def _limit(context: dict[str, Any]) -> str:
    return f"least {context['min_length']}" if "min_length" in context else f"most {context['max_length']}"


def _choices(error: ErrorDetails) -> list[str]:
    return re.findall(r"'((?:[^'\\]|\\.)*)'", error["ctx"]["expected"])


def _join(wanted: Iterable[str]) -> str:
    sentences = list(wanted)
    return " or ".join([sentences[0], *(sentence.removeprefix("must be ") for sentence in sentences[1:])])


def _got(error: ErrorDetails, node: Node | None) -> str:
    if error["type"] in ("too_short", "too_long"):
        return str(error["ctx"]["actual_length"])
    if error["type"] in ("string_too_short", "string_too_long"):
        return str(len(error["input"]))
    if isinstance(node, Scalar) and not isinstance(node.value, str) and node.text:
        return show(node.text)[1:-1]
    return show(error["input"])


def _hint(error: ErrorDetails, node: Node | None) -> str:
    """Say what to write instead, where that can be told."""
    kind = error["type"]
    if kind == "literal_error":
        near = suggest(str(error["input"]), _choices(error))
        return f"; did you mean {near}?" if near else ""
    if not isinstance(node, Scalar):
        return ""
    if kind == "string_type" and node.value is not None:
        return f"; put it in quotes: {show(node.text)}"
    if kind in ("list_type", "tuple_type"):
        return f"; write [{show(node.value)}]"
    if kind in ("int_type", "float_type", "bool_type"):
        return _number_hint(node, of_shape="shape" in error["loc"])
    return ""


def _number_hint(node: Scalar, *, of_shape: bool) -> str:
    if isinstance(node.value, str) and not isinstance(read_plain(node.text), str):
        return "; take the quotes off"
    return "; -1 stands where any size is taken" if of_shape else ""
