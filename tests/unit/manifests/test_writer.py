"""The YAML writer: what is put in comes out of every reader, in one style."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelport._version import VERSION
from modelport_manifests.writer import header_lines, render_yaml

DISPUTED = [
    *("on", "off", "yes", "No", "y", "N", "true", "null", "~", ""),
    *("1e3", "+1E-3", "0o7", "017", "089", "0x1f", "12:30:00", "1_000", ".5", "5.", "1.10", "-1", ".inf", "2001-01-01"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("text", DISPUTED)
def test_a_string_that_readers_disagree_on_is_in_double_quotes(text):
    assert render_yaml([{"key": text}]) == f'key: "{text}"\n'


def test_the_on_of_a_workflow_is_quoted_as_a_key():
    assert render_yaml([{"on": {"push": {}}}]) == '"on":\n  push: {}\n'


@pytest.mark.parametrize(
    "text", ["digits", "1.2.0", "100m", "2Gi", "registry.example.com/digits:1.2", "a b", "ü", "1e"]
)
def test_plain_words_stay_plain(text):
    assert render_yaml([{"key": text}]) == f"key: {text}\n"


def test_a_text_of_several_lines_is_a_literal_block():
    assert render_yaml([{"key": "a: 1\n\nb # no comment\n"}]) == "key: |\n  a: 1\n\n  b # no comment\n"


def test_keys_keep_their_order_and_lists_are_blocks():
    assert render_yaml([{"b": [1, {"z": True, "a": None}], "a": []}]) == "b:\n- 1\n- z: true\n  a: null\na: []\n"


def test_what_stands_twice_is_written_twice():
    same = {"x": [1]}
    text = render_yaml([{"a": same, "b": same}])
    assert "&" not in text
    assert "*" not in text


def test_long_text_is_not_folded():
    text = "word " * 100 + "end"
    assert render_yaml([{"key": text}]) == f"key: {text}\n"


@given(st.lists(st.dictionaries(st.text(), values, max_size=4), min_size=1, max_size=3))
def test_every_document_is_read_back_as_it_was(documents):
    text = render_yaml(documents, ["where it came from"])
    assert list(yaml.safe_load_all(text)) == documents


def test_a_value_of_another_type_is_refused():
    with pytest.raises(yaml.representer.RepresenterError):
        render_yaml([{"key": object()}])


def test_the_header_tells_where_the_file_came_from(make_release):
    lines = header_lines(make_release("bentoml"), "compose", ["A note."])
    assert lines[0] == f"Made by modelport {VERSION} (target compose) from digits/modelport.yaml: digits 1.2.0."
    assert lines[-1] == "A note."
    assert render_yaml([{"a": 1}], lines).startswith(f"# {lines[0]}\n# ")


def test_a_path_with_a_line_break_stays_in_its_comment(make_release):
    from dataclasses import replace

    release = replace(make_release("bentoml"), spec_path="a\nb: 1")
    assert "\n" not in header_lines(release, "compose")[0]
