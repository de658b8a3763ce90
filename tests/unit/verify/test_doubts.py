"""Answers of the framework that no server can be held to."""

import itertools

import numpy as np
import pytest

from modelport.errors import CheckFailed
from modelport.samples import Samples
from modelport.verify.doubts import (
    find_sameness,
    find_weaknesses,
    refuse_neighbourly,
    refuse_numberless,
    refuse_unsteady,
)

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
ROWS = Samples(inputs={"x": np.arange(6, dtype=np.float32)}, count=6, rows=True)


def outputs(*parts):
    return tuple({"y": np.array(part, np.float32)} for part in parts)


def test_a_model_that_answers_otherwise_the_second_time_is_refused():
    calls = itertools.count()

    def answer(request):
        return {"y": request["x"] + next(calls)}

    request = ROWS.request(0, 1)
    right = answer(request)
    with pytest.raises(CheckFailed, match=r"y\[0\]: 1.0, should be 0.0.*draws random numbers or keeps a state"):
        refuse_unsteady(answer, request, right, **CLOSE)


def test_a_model_that_answers_alike_is_asked_on():
    refuse_unsteady(lambda request: {"y": request["x"]}, ROWS.request(0, 1), {"y": ROWS.inputs["x"][:1]}, **CLOSE)
    refuse_neighbourly(lambda request: {"y": request["x"]}, ROWS, 32, **CLOSE)


@pytest.mark.parametrize("most", [2, 32])
def test_a_row_whose_answer_depends_on_the_rows_beside_it_is_refused(most):
    with pytest.raises(CheckFailed, match="depend on who else asks; leave batching out"):
        refuse_neighbourly(lambda request: {"y": request["x"] - request["x"].mean()}, ROWS, most, **CLOSE)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: {"y": np.ones((len(request["x"]), 1 + int(request["x"].max())))},  # as wide as the widest
        lambda request: {"y": np.append(request["x"], [0.0] * (len(request["x"]) > 1))},  # a row too many
    ],
)
def test_answers_whose_shape_depends_on_the_rows_beside_them_are_refused(answer):
    with pytest.raises(CheckFailed, match=r"otherwise when others stand beside it: y: shape"):
        refuse_neighbourly(answer, ROWS, 32, **CLOSE)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"y": [[1.0, np.nan]] * 3}, ["y"]),
        ({"y": [0.5, 0.5, 0.6], "class": [1, 1, 1]}, []),
        ({"y": [0.5, 0.5, 0.5], "class": [1, 1, 2]}, ["y"]),
        ({"y": [0.5, 0.5, 0.5], "name": np.array(["a"] * 3, object)}, ["y", "name"]),
        ({"total": [1.0, 1.0], "y": [1.0, 2.0, 3.0]}, []),
    ],
)
def test_outputs_that_do_not_tell_samples_apart_are_named(values, told):
    found = find_sameness(({name: np.array(value) for name, value in values.items()},), 3)
    assert [sentence.partition(": the same for all 3 samples")[0] for sentence in found] == told


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_without_a_number_is_refused(value):
    with pytest.raises(CheckFailed, match="y: the framework's own answers hold no finite number"):
        refuse_numberless(outputs([[value, value]], [[value, value]]))


@pytest.mark.parametrize("parts", [([np.nan], [0.0]), ([], []), ([0.0],)])
def test_some_numbers_are_enough(parts):
    refuse_numberless(outputs(*parts))


def test_values_below_the_tolerance_are_told():
    assert "no value is larger than 2.0e-06" in find_weaknesses(outputs([1e-6], [-2e-6]), 1e-5)[0]
    assert not find_weaknesses(outputs([0.0], [0.0]), 1e-5)
    assert not find_weaknesses(outputs([1e-6, np.inf], [1.0, np.nan]), 1e-5)
    assert not find_weaknesses(({"y": np.array([1])},), 1e-5)
