"""What a verification asks, and how answers are measured."""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from modelport.artifact import Artifact
from modelport.client.base import Overloaded
from modelport.errors import SpecError
from modelport.samples import Samples
from modelport.verify.session import Exam, Row, Tolerance, examine, examine_artifact, plan_requests

ROW = Row(backend="toy", protocol="rest")


def samples(count, labels=None):
    return Samples(inputs={"x": np.arange(count, dtype=np.float32)}, labels=labels, count=count, rows=True)


@pytest.mark.parametrize(("count", "alone", "batches"), [(1, 1, 0), (2, 1, 1), (5, 3, 1), (64, 32, 1), (100, 32, 3)])
def test_few_samples_are_asked_for_in_a_batch_too(count, alone, batches):
    spans = plan_requests(samples(count), 32)
    assert [start for start, _ in spans] == sorted({start for start, _ in spans})
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    assert (spans[:alone], len(spans)) == (tuple((i, i + 1) for i in range(alone)), alone + batches)


class Backwards:
    """Answers rightly, with the outputs in the other order."""

    def predict(self, inputs):
        return dict(reversed(right_answer(inputs).items()))


def right_answer(inputs):
    x = inputs["x"]
    return {
        "class": (x > 1).astype(np.int64),
        "scores": np.stack([1 - x, x], axis=1),
        "others": np.stack([x, 1 - x], axis=1),
        "half": (x > 9).astype(np.int64),
    }


def make_exam(asked, *, joined=False):
    spans = plan_requests(asked, 32)
    right = tuple(right_answer(asked.request(*span)) for span in spans)
    return Exam(samples=asked, spans=spans, right=right, names=(), tolerance=Tolerance(atol=0, rtol=0), joined=joined)


def test_outputs_are_measured_in_the_frameworks_order():
    row = examine(Backwards(), make_exam(samples(6, labels=np.array([0, 0, 1, 1, 1, 1]))), ROW)
    assert (row.passed, row.argmax, row.accuracy) == (True, 1.0, 1.0)


class Joining:
    """Answers rightly whoever asks alone; of two callers at the same time, each gets the other's row."""

    def __init__(self, *, alone, refuses=False):
        self._alone = alone  # calls to come that nobody else's are joined with
        self._refuses = refuses
        self._pair = threading.Barrier(2, timeout=30)

    def predict(self, inputs):
        self._alone -= 1
        if self._alone >= 0:
            return right_answer(inputs)
        self._pair.wait()
        if self._refuses:
            raise Overloaded("come back later")
        return right_answer({"x": 1 - inputs["x"]})


def test_rows_that_a_server_mixes_up_when_it_joins_requests_are_a_fault():
    row = examine(Joining(alone=3), make_exam(samples(4), joined=True), ROW)
    assert not row.passed
    assert row.faults[0].startswith("asked with others at the same time, sample ")


def test_a_server_that_has_too_much_to_do_may_say_so():
    assert examine(Joining(alone=3, refuses=True), make_exam(samples(4), joined=True), ROW).passed


class Mute:
    """A backend whose protocols cannot carry any model."""

    name = "mute"
    protocols = ("rest", "grpc")
    default_ports: ClassVar[dict[str, int]] = {}

    def service(self, artifact, settings):
        return SimpleNamespace(server="nothing")

    def unable(self, artifact):
        return {"rest": "no float16", "grpc": "no strings"}


def test_a_server_that_was_asked_nothing_did_not_pass(tmp_path):
    artifact = Artifact(backend="mute", path=tmp_path, sha256="", record={"files": {}})
    rows = examine_artifact(Mute(), artifact, make_exam(samples(2)), note=print, log=None)
    assert [(row.passed, row.faults) for row in rows] == [
        (False, ("nothing was asked: no float16",)),
        (False, ("nothing was asked: no strings",)),
    ]


def test_labels_that_no_output_answers_are_told():
    exam = make_exam(samples(4, labels=np.eye(4)))
    assert exam.warnings == ("labels: no output gives one class for each of them, so there is no accuracy",)


class Shifted:
    """Answers as wide as the request is long."""

    def predict(self, inputs):
        return {"y": np.ones((1, len(inputs["x"]))), "x": inputs["x"]}


def test_outputs_of_several_widths_are_compared_one_by_one():
    asked = samples(4)
    spans = plan_requests(asked, 32)
    right = tuple(Shifted().predict(asked.request(*span)) for span in spans)
    exam = Exam(samples=asked, spans=spans, right=right, names=(), tolerance=Tolerance(atol=0, rtol=0))
    row = examine(Shifted(), exam, ROW)
    assert (row.passed, row.argmax, exam.warnings) == (True, None, ())


def test_expected_outputs_name_their_samples():
    exam = make_exam(replace(samples(4), expected={"half": np.array([0, 0, 0, 1])}))
    (fault,) = examine(Backwards(), exam, ROW).faults
    assert fault.startswith("expected outputs of samples 2 to 3: half[1]: 0, should be 1")


def test_one_row_tells_nothing_of_several():
    assert "there is one row" in make_exam(samples(1)).warnings[0]
    assert make_exam(samples(2)).warnings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-9])
def test_a_tolerance_that_every_answer_or_none_would_meet_is_refused(value):
    with pytest.raises(SpecError, match="atol must be a finite number"):
        Tolerance(atol=value, rtol=0)
    with pytest.raises(SpecError, match="rtol must be a finite number"):
        Tolerance(atol=0, rtol=value)
