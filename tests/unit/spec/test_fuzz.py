"""Whatever stands in a file: a spec, or a `SpecError` with one line a fault."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport.errors import SpecError
from modelport.spec.loading import check_spec, load_spec
from modelport.spec.schema import ModelSpec

BOUNDED = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
KEYS = st.sampled_from(
    [
        "modelport",
        "name",
        "version",
        "model",
        "framework",
        "source",
        "signature",
        "inputs",
        "outputs",
        "dtype",
        "shape",
        "labels",
        "transform",
        "environment",
        "requirements",
        "serving",
        "batching",
        "max_size",
        "workers",
        "resources",
        "deploy",
        "autoscale",
        "min",
        "max",
        "strategy",
        "canary",
        "steps",
        "verify",
        "atol",
        "backends",
        "tfserving",
        "<<",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["pytorch", "model.pt", "1.0", "a.py:B", "${A}", "${B:-1}", "float32", -1, 1]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=5),
    max_leaves=25,
)
PIECES = st.sampled_from(
    [
        "a",
        "1",
        "name",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&x ",
        "*x",
        "!!str ",
        "!t ",
        "'",
        '"',
        "|\n",
        ">",
        "#",
        "?",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "<<: ",
        "${A}",
        "${",
        "$${",
        "\\",
        "é",
        "\u2028",
        "\x85",
        "=",
        "modelport: 1\n",
        "model:\n",
        "serving:\n",
        "backends:\n",
        "\r\n",
        "@",
        "`",
    ]
)


def load_or_refuse(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        path.write_bytes(data)
        try:
            spec = load_spec(path, environment={"A": "7"})
        except SpecError as error:
            lines = str(error).split("\n")
            assert all(line.startswith(str(path)) and line.isprintable() for line in lines)
            faults = check_spec(path, environment={"A": "7"})
            assert len(faults) >= len(lines) - 1
            json.dumps([fault.to_json() for fault in faults])
        else:
            assert isinstance(spec, ModelSpec)


@BOUNDED
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    load_or_refuse(data)


@BOUNDED
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    load_or_refuse(text.encode("utf-8", errors="surrogatepass"))


@BOUNDED
@given(st.lists(PIECES, max_size=60))
def test_pieces_of_yaml(pieces: list[str]) -> None:
    load_or_refuse("".join(pieces).encode())


@BOUNDED
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_values_under_known_keys(values: dict[str, Any]) -> None:
    # JSON is YAML, but for surrogates and the words for infinities, which are text here.
    load_or_refuse(json.dumps({"modelport": 1, **values}).encode())
