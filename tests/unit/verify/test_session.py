"""What a verification asks, and how answers are measured."""

import numpy as np
import pytest

from modelport.samples import Samples
from modelport.verify.session import Exam, Row, Tolerance, examine, plan_requests

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


def test_outputs_are_measured_in_the_frameworks_order():
    asked = samples(6, labels=np.array([0, 0, 1, 1, 1, 1]))
    spans = plan_requests(asked, 32)
    right = tuple(right_answer(asked.request(*span)) for span in spans)
    exam = Exam(samples=asked, spans=spans, right=right, names=(), tolerance=Tolerance(atol=0, rtol=0))
    row = examine(Backwards(), exam, ROW)
    assert (row.passed, row.argmax, row.accuracy) == (True, 1.0, 1.0)
