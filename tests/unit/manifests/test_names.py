"""Names in a cluster: valid, stable, and never shared by two models."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.spec.schema import NAME, VERSION
from modelport_manifests.names import config_name, label_value, object_name, project_name, track_name

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
model_names = st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= 63)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "digits-bentoml"),
        ("digits-v1", "digits-v1-bentoml"),
        ("digits.v1", "digits-v1-bentoml-43e50d87"),
        ("Digits", None),
        ("9lives", None),
        ("a" * 63, None),
        ("a-0123abcd", "a-0123abcd-bentoml"),
    ],
)
def test_a_name_is_kept_where_it_can_be(make_spec, name, expected):
    found = object_name(make_spec(name=name), "bentoml")
    assert expected is None or found == expected
    assert LABEL.fullmatch(found)


@given(first=model_names, second=model_names)
def test_names_are_valid_and_differ(make_spec, first, second):
    names = {object_name(make_spec(name=name), "tfserving") for name in (first, second)}
    assert len(names) == len({first, second})
    for name in names:
        assert LABEL.fullmatch(track_name(name, "canary"))
        assert re.fullmatch(r"[-a-z0-9]{1,253}", config_name(track_name(name, "canary"), b"content"))


def test_no_plain_name_looks_like_one_with_a_digest(make_spec):
    dotted = project_name(make_spec(name="digits.v1"))
    assert project_name(make_spec(name=dotted)) != dotted


def test_a_backend_with_a_dash_does_not_run_into_the_model(make_spec):
    assert object_name(make_spec(name="a-b"), "c") != object_name(make_spec(name="a"), "b-c")


@given(st.from_regex(VERSION, fullmatch=True).filter(lambda text: len(text) <= 63))
def test_every_version_is_a_label(version):
    assert VALUE.fullmatch(label_value(version))


def test_versions_that_differ_by_what_labels_cannot_hold_differ():
    assert label_value("1.2.0") == "1.2.0"
    assert label_value("1.2.0+a") != label_value("1.2.0-a")
