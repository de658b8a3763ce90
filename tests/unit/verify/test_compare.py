"""Differences between answers: never a green light for a wrong one."""

import numpy as np
import pytest

from modelport.verify.compare import accuracy, argmax_agreement, compare, compare_joined, join

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def one(value, dtype=np.float32):
    return {"y": np.asarray(value, dtype=dtype)}


def test_equal_answers_have_no_difference():
    found = compare(one([1.0, np.nan, np.inf, -np.inf]), one([1.0, np.nan, np.inf, -np.inf]), **CLOSE)
    assert (found.max_abs, found.max_rel, found.faults) == (0.0, 0.0, ())


@pytest.mark.parametrize(
    ("answer", "right"),
    [([1.0], [np.nan]), ([np.nan], [1.0]), ([np.inf], [-np.inf]), ([1e30], [np.inf]), ([np.inf], [1.0])],
)
def test_a_number_that_is_none_is_an_infinite_difference(answer, right):
    found = compare(one(answer), one(right), **CLOSE)
    assert found.max_abs == np.inf
    assert len(found.faults) == 1


def test_the_tolerance_grows_with_the_value():
    assert not compare(one([1000.05]), one([1000.0]), **CLOSE).faults
    assert compare(one([1.05]), one([1.0]), **CLOSE).faults


@pytest.mark.parametrize(("dtype", "off", "fits"), [("f4", 1e-6, True), ("f4", 1e-2, False), ("f2", 2e-3, True)])
def test_rows_computed_beside_others_may_be_rounded_otherwise(dtype, off, fits):
    found = compare_joined(one([1 + off], dtype), one([1.0], dtype), atol=0, rtol=0)
    assert (not found.faults) == fits
    assert found.max_abs > 0


def test_the_worst_value_is_named_with_its_place():
    found = compare(one([[0.0, 0.1], [0.0, 9.0]]), one([[0.0, 0.0], [0.0, 0.0]]), **CLOSE)
    assert "y[1, 1]: 9.0, should be 0.0; 2 of 4 values" in found.faults[0]
    assert found.max_abs == 9.0


def test_whole_numbers_must_be_equal_even_beyond_two_to_the_53():
    big = 2**62
    assert not compare(one([big], np.int64), one([big], np.int64), **CLOSE).faults
    assert compare(one([big + 1], np.int64), one([big], np.int64), **CLOSE).faults
    assert compare(one([0], np.uint64), one([2**64 - 1], np.uint64), **CLOSE).max_abs == float(2**64 - 1)


def test_text_and_truth_values_must_be_equal():
    assert not compare(one(["a", "b"], object), one(["a", "b"], object), **CLOSE).faults
    assert compare(one(["a", "c"], object), one(["a", "b"], object), **CLOSE).faults == ("y: 1 of 2 values differ",)
    assert compare(one([True], bool), one([False], bool), **CLOSE).faults


def test_missing_extra_and_misshapen_outputs_are_faults():
    assert compare({}, one([1.0]), **CLOSE).faults == ("y: missing in the answer",)
    assert compare({**one([1.0]), "z": np.zeros(1)}, one([1.0]), **CLOSE).faults
    assert compare(one([[1.0]]), one([1.0]), **CLOSE).faults == ("y: shape [1, 1], should be [1]",)


def test_another_dtype_is_a_fault_even_with_equal_values():
    found = compare(one([1.0], np.float64), one([1.0]), **CLOSE)
    assert found.faults == ("y: dtype float64, should be float32",)
    assert not compare(one(["a"], "U1"), one(["a"], object), **CLOSE).faults


def test_an_empty_answer_equals_an_empty_one():
    assert not compare(one(np.zeros((0, 3))), one(np.zeros((0, 3))), **CLOSE).faults


def test_agreement_of_the_highest_score():
    right = one([[0.1, 0.9], [0.8, 0.2]])
    assert argmax_agreement(one([[0.4, 0.6], [0.4, 0.6]]), right) == 0.5
    assert argmax_agreement(one([1.0, 2.0]), one([1.0, 2.0])) is None


def test_accuracy_by_label_by_score_and_by_name():
    truth = np.array([1, 0, 1])
    assert accuracy({"label": np.array([1, 0, 0])}, truth, ()) == pytest.approx(2 / 3)
    assert accuracy(one([[0, 1], [1, 0], [0, 1]]), truth, ()) == 1.0
    assert accuracy(one([[0, 1], [1, 0]]), np.array(["cat", "dog"], object), ("dog", "cat")) == 1.0
    assert accuracy(one([1.0, 2.0, 3.0]), truth, ()) is None


@pytest.mark.parametrize(
    ("answer", "truth", "names", "share"),
    [
        ([[0.1, 0.9], [0.8, 0.2]], [1.0, 0.0], (), 1.0),
        ([[0.1, 0.9], [0.8, 0.2]], [[1], [1]], (), 0.5),
        ([True, False], [1.0, 0.0], (), 1.0),
        ([1, 0], [True, False], (), 1.0),
        ([[1], [0]], [1, 0], (), 1.0),
        (["b", "b"], [1.0, 0.0], ("a", "b"), 0.5),
        (["1", "0"], [1, 0], (), 1.0),
        ([1, 7], ["b", "a"], ("a", "b"), 0.0),
        ([b"b", b"a"], ["b", "a"], (), 1.0),
        ([0, 1], [0.5, 1.0], (), 0.5),
    ],
)
def test_classes_are_the_same_however_they_are_written(answer, truth, names, share):
    kept = [object if isinstance(values[0], str | bytes) else None for values in (answer, truth)]
    assert accuracy({"y": np.array(answer, kept[0])}, np.array(truth, kept[1]), names) == share


def test_answers_are_joined_along_rows():
    assert join([one([[1, 2]]), one([[3, 4]])])["y"].tolist() == [[1, 2], [3, 4]]
    assert join([one(1.0), one(2.0)])["y"].tolist() == [1.0, 2.0]
