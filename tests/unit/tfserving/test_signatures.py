"""Which outputs Classify and Regress answer, and what is refused."""

from __future__ import annotations

import pytest

from modelport.convert.graph_ends import ExampleSignature
from modelport.errors import SpecError
from modelport.model import Model
from modelport.spec.schema import ModelSpec
from modelport_runtime.signature import Signature, TensorSpec
from modelport_tfserving.options import TFServingOptions
from modelport_tfserving.signatures import plan_signatures


def tensor(name, dtype="float32", shape=(None, 3)):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


SCORES, NAMES, VALUE = tensor("p"), tensor("names", "string"), tensor("v", "float64", (None,))


MATRIX = (tensor("x"),)


def plan(options, outputs, *, inputs=MATRIX, labels=()):
    """Plan for a model with these ends; there are no files, since none are read."""
    raw = {"modelport": 1, "name": "m", "version": "1", "model": {"framework": "onnx", "source": "m.onnx"}}
    signature = Signature(inputs=tuple(inputs), outputs=tuple(outputs))
    spec = ModelSpec.model_validate({**raw, "labels": list(labels)})
    model = Model(
        spec=spec, root=None, format="onnx", source=None, files={}, signature=signature, served=signature
    )  # fmt: skip
    return plan_signatures(model, TFServingOptions.model_validate({"signatures": options}).signatures)


def test_nothing_is_planned_where_nothing_is_asked_for():
    assert plan({}, [SCORES], inputs=[tensor("x", shape=())]) == ()


@pytest.mark.parametrize(
    ("options", "outputs", "labels", "found"),
    [
        (None, [SCORES, VALUE], (), {"scores": "p"}),
        ({}, [SCORES, NAMES], ("a",), {"classes": "names", "scores": "p"}),
        ({"scores": "q"}, [SCORES, tensor("q")], (), {"scores": "q"}),
        ({"classes": "m"}, [SCORES, NAMES, tensor("m", "string")], (), {"classes": "m", "scores": "p"}),
        ({}, [SCORES, tensor("t", "string", (None,))], (), {"scores": "p"}),
    ],
)
def test_outputs_are_found_or_named(options, outputs, labels, found):
    assert plan({"classify": options}, outputs, labels=labels) == (
        ExampleSignature(method="classify", outputs=found),
    )  # fmt: skip


def test_labels_name_the_classes_where_no_output_does():
    expected = ExampleSignature(method="classify", outputs={"scores": "p"}, labels=("a", "b", "c"))
    assert plan({"classify": {}}, [SCORES], labels=["a", "b", "c"]) == (expected,)


def test_both_methods():
    found = plan({"classify": {}, "regress": {}}, [SCORES, VALUE])
    assert [(s.method, s.outputs) for s in found] == [("classify", {"scores": "p"}), ("regress", {"outputs": "v"})]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (tensor("x", shape=(None, None)), "a row of it has no fixed shape"),
        (tensor("x", shape=(1, 3)), "its first axis is fixed"),
        (tensor("x", shape=()), "its first axis is fixed"),
        (tensor("x", "uint64"), r"an Example's integers end at 2\^63"),
    ],
)
def test_inputs_that_no_example_can_hold(given, reason):
    with pytest.raises(SpecError, match=rf"backends.tfserving.signatures: .*{reason}.*Fix its shape.*use Predict"):
        plan({"regress": {}}, [VALUE], inputs=[tensor("y"), given])


@pytest.mark.parametrize(
    ("options", "outputs", "labels", "message"),
    [
        ({"classify": {}}, [VALUE], (), r"classify.scores: left out, and no output is floats of shape"),
        ({"classify": {}}, [SCORES, tensor("q")], (), r"classify.scores: left out, and several outputs are"),
        (
            {"classify": {"scores": "z"}},
            [SCORES],
            (),
            r"classify.scores: must name an output .* got 'z'; answers hold p",
        ),
        ({"classify": {"scores": "names"}}, [SCORES, NAMES], (), "got 'names'"),
        ({"classify": {"classes": "p"}}, [SCORES], (), r"classify.classes: must name an output of text of shape"),
        ({"classify": {}}, [SCORES], ("a", "b"), "there are 2 labels, and p: .* has 3 scores"),
        ({"classify": {}}, [tensor("p", shape=(None, None))], ("a",), "has no fixed number of scores"),
        ({"regress": {}}, [SCORES], (), r"regress.output: left out, and no output is"),
        ({"regress": {"output": "p"}}, [SCORES, VALUE], (), "got 'p'"),
    ],
)
def test_outputs_that_do_not_fit(options, outputs, labels, message):
    with pytest.raises(SpecError, match=message):
        plan(options, outputs, labels=labels)
