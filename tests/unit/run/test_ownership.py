"""The earlier state of what one manager touched."""

from modelport.run.ownership import earlier_fields


def deployment(image, replicas, fields, **container):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "digits",
            "namespace": "ml",
            "uid": "1",
            "labels": {"a": "1", "b": "2"},
            "managedFields": [
                {"manager": "modelport", "operation": "Apply", "fieldsV1": fields},
                {"manager": "modelport", "operation": "Update", "fieldsV1": {"f:status": {}}},
                {"manager": "autoscaler", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ],
        },
        "spec": {
            "replicas": replicas,
            "finalizers": ["one", "two"],
            "containers": [
                {"name": "server", "image": image, "terminationMessagePath": "/dev/x", **container},
                {"name": "injected", "image": "mesh:1"},
            ],
        },
    }


def owns(*names, **more):
    entry = {".": {}, "f:name": {}, **{f"f:{name}": {} for name in names}}
    return {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:containers": {'k:{"name":"server"}': entry}, "f:finalizers": {'v:"two"': {}}, **more},
    }


def test_only_what_the_manager_owns_is_in_it():
    before = deployment("digits:1", 3, owns("image"))
    now = deployment("digits:2", 5, owns("image"))
    assert earlier_fields(before, now, "modelport") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits", "namespace": "ml", "labels": {"a": "1"}},
        "spec": {"finalizers": ["two"], "containers": [{"name": "server", "image": "digits:1"}]},
    }


def test_what_was_added_since_is_not_in_it():
    before = deployment("digits:1", 3, owns("image"))
    now = deployment("digits:2", 3, owns("image", "workingDir"), workingDir="/x")
    container = earlier_fields(before, now, "modelport")["spec"]["containers"][0]
    assert container == {"name": "server", "image": "digits:1"}


def test_what_was_taken_from_another_has_its_earlier_value():
    before = deployment("digits:1", 3, owns("image"))
    now = deployment("digits:2", 1, owns("image", **{"f:replicas": {}}))
    assert earlier_fields(before, now, "modelport")["spec"]["replicas"] == 3


def test_an_object_that_was_never_the_managers():
    before = deployment("digits:0", 3, {})
    now = deployment("digits:1", 3, owns("image"))
    before["metadata"]["managedFields"] = []
    assert earlier_fields(before, now, "modelport")["spec"]["containers"] == [{"name": "server", "image": "digits:0"}]


def test_an_object_of_which_nothing_was_touched():
    before = deployment("digits:0", 3, {})
    before["metadata"]["managedFields"] = []
    assert earlier_fields(before, before, "modelport") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits", "namespace": "ml"},
    }
