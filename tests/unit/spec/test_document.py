"""YAML's corners: what is refused with a sentence, and what plain scalars mean."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from modelport.spec.document import MAX_DEPTH, MAX_VALUES, read_document
from modelport.spec.node import to_value


def read(text: str) -> Any:
    root, faults = read_document("s.yaml", text, {})
    assert not faults
    assert root is not None
    return to_value(root)


def wrong(text: str) -> list[str]:
    _, faults = read_document("s.yaml", text, {})
    return [str(fault).removeprefix("s.yaml:") for fault in faults]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1), ("-1", -1), ("+7", 7), ("0777", 777), ("1_000", "1_000"), ("0x10", "0x10"), ("1:30", "1:30"),
        ("1.5", 1.5), (".5", 0.5), ("1e-5", 1e-5), ("1.", 1.0), (".inf", math.inf), ("-.inf", -math.inf),
        ("1.2.0", "1.2.0"),
        ("true", True), ("False", False), ("yes", "yes"), ("NO", "NO"), ("on", "on"),
        ("null", None), ("~", None), ("", None), ("2024-01-01", "2024-01-01"), ("'1'", "1"), ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"), ("!!str 1.10", "1.10"), ("! 5", "5"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_rules(written: str, value: Any) -> None:
    found = read(f"k: {written}")["k"]
    assert (found, type(found)) == (value, type(value))


def test_long_digits_are_no_work() -> None:
    assert read("k: " + "1" * 100_000) == {"k": math.inf}


def test_keys_are_text() -> None:
    assert read("{1: a, true: b, 1.0: c}") == {"1": "a", "true": "b", "1.0": "c"}


def test_anchors_and_merged_keys() -> None:
    text = "a: &x {p: 1, q: [2]}\nb: *x\nc:\n  q: 3\n  <<: *x\nd:\n  <<: [*x, {r: 4, p: 5}]\n"
    assert read(text) == {
        "a": {"p": 1, "q": [2]},
        "b": {"p": 1, "q": [2]},
        "c": {"q": 3, "p": 1},
        "d": {"p": 1, "q": [2], "r": 4},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nb:\n  c: 2\n  c: 3\na: 4\n",
            [
                "4:3: b.c: stands twice; the first is on line 3. Keep one of them",
                "5:1: a: stands twice; the first is on line 1. Keep one of them",
            ],
        ),
        ("a:\n  b: 1\n\tc: 2\n", ["3:1: a tab in the indentation; YAML indents with spaces"]),
        ("a:\n\tb: 1\n", ["2:1: a tab in the indentation; YAML indents with spaces"]),
        ("a:\n  \tb: 1\n", ["2:3: a tab in the indentation; YAML indents with spaces"]),
        ("a: 1\n---\nb: 2\n", ["2:1: a second document begins; one file holds one spec"]),
        (
            "a: !!python/object/apply:os.system [ls]\nb: !!int '1'\nc: !mine {}\n",
            [
                "1:4: a: the tag !!python/object/apply:os.system is not read: a spec holds plain values; remove it",
                "2:4: b: the tag !!int is not read: a spec holds plain values; remove it",
                "3:4: c: the tag !mine is not read: a spec holds plain values; remove it",
            ],
        ),
        (
            "!!python/name:os.system a: 1\n",
            ["1:1: a: the tag !!python/name:os.system is not read: a spec holds plain values; remove it"],
        ),
        ("&x a: 1\n", ["1:1: a: an anchor stands before a value, not before a key"]),
        ("a: &x [*x]\n", ["1:8: a[0]: *x stands inside what &x names, so it never ends"]),
        ("a: *x\n", ["1:4: a: no anchor &x stands before *x"]),
        ("? [a]\n: b\n", ["1:3: a key must be plain text"]),
        ("a:\n  <<: 5\n", ['2:3: a["<<"]: takes an alias of a mapping, or a list of such']),
        (
            "a: b: c\n",
            [
                (
                    "1:5: is no YAML: a colon where none can stand: put the value in quotes, or check the indentation "
                    "(mapping values are not allowed in this context)"
                )
            ],
        ),
        (
            "a: 'b\n",
            [
                (
                    "2:1: is no YAML: a quote that is opened is never closed "
                    "(while scanning a quoted scalar, found unexpected end of stream)"
                )
            ],
        ),
        (
            "a: @b\n",
            [
                (
                    '1:4: is no YAML: a value that begins with "@" must stand in quotes '
                    "(while scanning for the next token, found character that cannot start any token)"
                )
            ],
        ),
        ("a: {b: ${N}}\n", ["1:9: inside { } and [ ] a ${…} must stand in quotes"]),
        ("a: {b: 1\n", ["2:1: is no YAML: while parsing a flow mapping, did not find expected ',' or '}'"]),
        ("%YAML 9.0\n---\na: 1", ["1:1: is no YAML: found incompatible YAML document"]),
    ],
)
def test_what_is_refused_and_where(text: str, expected: list[str]) -> None:
    assert wrong(text) == expected


def test_depth_is_limited() -> None:
    depth = MAX_DEPTH
    assert read("[" * depth + "]" * depth)
    assert wrong("[" * 100_000) == [f"1:{depth + 2}: nested deeper than {depth} levels"]
    assert wrong("{a: " * 100_000)[0].endswith(f"nested deeper than {depth} levels")
    assert wrong("- " * 100_000)[0].endswith(f"nested deeper than {depth} levels")


def test_anchors_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    begin = time.process_time()
    (line,) = wrong("\n".join(lines))
    assert line.endswith(f"holds more than {MAX_VALUES} values, counting each use of an anchor")
    assert time.process_time() - begin < 1


def test_a_mebibyte_of_values_is_refused_soon() -> None:
    begin = time.process_time()
    assert f"holds more than {MAX_VALUES} values" in wrong("[" + "a," * 500_000 + "]")[0]
    assert time.process_time() - begin < 5
