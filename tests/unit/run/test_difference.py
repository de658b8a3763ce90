"""Differences, without secrets."""

from modelport.run.difference import Change, render_changes


def test_each_kind_of_change():
    changes = (
        Change(name="Service new", before=None, after={"port": 1}),
        Change(name="Service old", before={"port": 1}, after=None),
        Change(name="Service other", before={"port": 1}, after={"port": 2}),
        Change(name="Service same", before={"port": 1}, after={"port": 1}),
    )
    text = render_changes(changes)
    assert "+++ Service new (wanted)\n@@ -0,0 +1 @@\n+port: 1" in text
    assert "--- Service old (runs)" in text
    assert "-port: 1\n+port: 2" in text
    assert "Service same" not in text
    assert text.endswith("1 to create, 1 to change, 1 to remove, 1 as they are")


def shown(before, after):
    return render_changes([Change(name="x", before=before, after=after)])


def test_a_secret_shows_that_it_changed_not_what_it_is():
    text = shown(
        {"kind": "Secret", "data": {"a": "old-value", "b": "same-value"}},
        {"kind": "Secret", "data": {"a": "new-value", "b": "same-value"}},
    )
    assert "-  a: '*** (before)'\n+  a: '*** (after)'" in text
    assert "  b: '***'" in text
    assert "value" not in text


def test_a_secret_that_is_new():
    text = shown(None, {"kind": "Secret", "stringData": {"a": "new-value"}})
    assert "*** (after)" in text
    assert "new-value" not in text


def test_variables_that_sound_like_secrets_are_hidden_in_every_form():
    def container(value):
        return {
            "env": [{"name": "API_TOKEN", "value": value}, {"name": "LEVEL", "value": "info"}],
            "other": {"environment": {"DB_PASSWORD": value, "LEVEL": "info"}},
            "third": {"environment": [f"SECRET_KEY={value}", "LEVEL=info"]},
        }

    text = shown(container("first-one"), {**container("second-one"), "more": 1})
    assert "first-one" not in text
    assert "second-one" not in text
    assert text.count("*** (before)") == text.count("*** (after)") == 3
    assert "info" in text


def test_a_variable_from_elsewhere_has_nothing_to_hide():
    source = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    assert "secretKeyRef" in shown(None, source)
