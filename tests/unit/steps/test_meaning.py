"""What each step computes, beside numpy by hand and beside PyTorch."""

import numpy as np
import pytest

from modelport_runtime.steps import STEPS, step_from_json, step_to_json

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)


def floats(*shape, dtype="float32"):
    return RNG.normal(0, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scale_and_normalize_stay_in_the_dtype(run_steps, dtype):
    x = floats(3, 4, 2, dtype=dtype)
    found = run_steps(
        [
            {"scale": {"tensor": "x", "to": "scaled", "factor": 0.1, "offset": -2}},
            {"normalize": {"tensor": "x", "to": "last", "mean": [1, 2], "std": [0.5, 4]}},
            {"normalize": {"tensor": "x", "to": "middle", "mean": [1, 2, 3, 4], "std": [2], "axis": 1}},
        ],
        {"x": x},
    )
    np.testing.assert_array_equal(found["scaled"], x * np.dtype(dtype).type(0.1) + np.dtype(dtype).type(-2))
    np.testing.assert_array_equal(found["last"], (x - np.array([1, 2], dtype)) / np.array([0.5, 4], dtype))
    np.testing.assert_array_equal(found["middle"], (x - np.array([[1], [2], [3], [4]], dtype)) / 2)


def test_a_cast_to_float16_rounds_by_way_of_float32(run_steps):
    # Half-way between two float16 in float32, a little above it in float64.
    x = np.array([[1 + 2**-11 + 2**-40, 1e9, NAN]], np.float64)
    found = run_steps([{"cast": {"tensor": "x", "dtype": "float16"}}], {"x": x})["x"]
    np.testing.assert_array_equal(found, np.array([[1, INF, NAN]], np.float16))


def test_integers_and_truth_values_are_cast(run_steps):
    steps = [
        {"cast": {"tensor": "n", "dtype": "float32"}},
        {"cast": {"tensor": "u", "dtype": "int64"}},
        {"cast": {"tensor": "b", "dtype": "uint8"}},
    ]
    arrays = {
        "n": np.array([[2**63 - 1]]), "u": np.array([[255]], np.uint8), "b": np.array([[True], [False]])[:1],
    }  # fmt: skip
    found = run_steps(steps, arrays)
    assert [found[name].item() for name in "nub"] == [float(2**63), 255, 1]


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 1), (3, 16), (16, 3)])
def test_resize_is_that_of_pytorch_without_smoothing(run_steps, layout, height, width):
    torch = pytest.importorskip("torch")
    image = floats(2, 3, 6, 9)
    given = image if layout == "nchw" else image.transpose(0, 2, 3, 1)
    settings = {"tensor": "x", "size": [height, width], "layout": layout}
    for method, options in (("bilinear", {"align_corners": False, "antialias": False}), ("nearest", {})):
        found = run_steps([{"resize": {**settings, "method": method}}], {"x": given})["x"]
        mode = {"bilinear": "bilinear", "nearest": "nearest-exact"}[method]
        right = torch.nn.functional.interpolate(torch.from_numpy(image), size=(height, width), mode=mode, **options)
        found = found if layout == "nchw" else found.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, right.numpy(), rtol=1e-5, atol=1e-5)


def test_resize_to_the_same_size_changes_nothing(run_steps):
    x = floats(2, 4, 5, 1)
    for method in ("bilinear", "nearest"):
        step = {"resize": {"tensor": "x", "size": [4, 5], "method": method}}
        np.testing.assert_array_equal(run_steps([step], {"x": x})["x"], x)


def test_nearest_takes_whole_numbers_and_text(run_steps):
    x = np.array([["a", "b"], ["c", "d"]], object).reshape(1, 2, 2, 1)
    step = {"resize": {"tensor": "x", "size": [1, 4], "method": "nearest"}}
    assert run_steps([step], {"x": x})["x"].ravel().tolist() == ["c", "c", "d", "d"]


def test_an_image_without_pixels_is_refused_when_it_comes(run_steps, plan_steps):
    from modelport_runtime.signature import TensorSpec
    from modelport_runtime.steps import Pipeline

    tensor = TensorSpec(name="x", dtype="float32", shape=(None, None, 3, 1))
    steps, _ = plan_steps([{"resize": {"tensor": "x", "size": [2, 2]}}], [tensor])
    with pytest.raises(ValueError, match="no pixels"):
        Pipeline(steps=steps, names=("x",))({"x": np.zeros((1, 0, 3, 1), np.float32)})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softmax_and_sigmoid_are_those_of_pytorch(run_steps, dtype):
    torch = pytest.importorskip("torch")
    x = floats(4, 5, 3, dtype=dtype)
    x[0, 0], x[1, 0, 1], x[2, 0], x[3, 0] = 1e4, NAN, -INF, [INF, 1, 2]
    found = run_steps(
        [
            {"softmax": {"tensor": "x", "to": "last"}},
            {"softmax": {"tensor": "x", "to": "middle", "axis": 1}},
            {"sigmoid": {"tensor": "x", "to": "each"}},
        ],
        {"x": x},
    )
    tensor = torch.from_numpy(x)
    tolerance = {"rtol": 1e-3 if dtype == "float16" else 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(found["last"], torch.softmax(tensor, -1).numpy(), **tolerance)
    np.testing.assert_allclose(found["middle"], torch.softmax(tensor, 1).numpy(), **tolerance)
    np.testing.assert_allclose(found["each"], torch.sigmoid(tensor).numpy(), **tolerance)


def test_of_equal_scores_the_first_comes_first_and_nan_is_infinity(run_steps):
    x = np.array([[1, 3, 3, 2], [NAN, 1, INF, NAN], [INF, NAN, 1, 0], [0.0, -0.0, -1, -0.0]], np.float32)
    found = run_steps(
        [{"argmax": {"tensor": "x", "to": "best"}}, {"top_k": {"tensor": "x", "k": 3, "indices": "i"}}], {"x": x}
    )
    assert found["best"].tolist() == [1, 0, 0, 0]
    assert found["i"].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 2], [0, 1, 3]]
    np.testing.assert_array_equal(found["x"], np.take_along_axis(x, found["i"], -1))


def test_extreme_integers_are_ordered(run_steps):
    x = np.array([[-(2**63), 2**63 - 1, 0]])
    u = np.array([[0, 2**64 - 1, 2**63]], np.uint64)
    steps = [{"top_k": {"tensor": name, "k": 3, "indices": f"{name}_places"}} for name in "xu"]
    found = run_steps(steps, {"x": x, "u": u})
    assert found["x_places"].tolist() == [[1, 2, 0]]
    assert found["u_places"].tolist() == [[1, 2, 0]]


def test_a_threshold_is_reached_by_what_equals_it(run_steps):
    x = np.array([[0.1, 0.2, NAN, INF]], np.float32)
    found = run_steps([{"threshold": {"tensor": "x", "at": 0.1}}], {"x": x})["x"]
    assert found.tolist() == [[True, True, False, True]]


def test_labels_name_classes_and_truth_values(run_steps):
    found = run_steps(
        [
            {"argmax": {"tensor": "x", "to": "best"}},
            {"labels": {"tensor": "best"}},
            {"threshold": {"tensor": "x", "at": 1}},
            {"labels": {"tensor": "x", "names": ["no", "ja ✓"]}},
        ],
        {"x": np.array([[0, 2, 1], [5, 0, 0]], np.float32)},
    )
    assert found["best"].tolist() == ["dog", "cat"]
    assert found["x"].tolist() == [["no", "ja ✓", "ja ✓"], ["ja ✓", "no", "no"]]


@pytest.mark.parametrize("number", [-1, 3, 2**62])
def test_a_class_without_a_name_is_an_error(run_steps, number):
    with pytest.raises(ValueError, match=f"class {number} has no name; there are 3"):
        run_steps([{"labels": {"tensor": "n"}}], {"n": np.array([[0, number]])})


def test_an_empty_batch_gives_an_empty_answer(run_steps):
    found = run_steps(
        [
            {"softmax": {"tensor": "x"}},
            {"top_k": {"tensor": "x", "k": 2, "indices": "i"}},
            {"labels": {"tensor": "i"}},
            {"argmax": {"tensor": "x", "to": "best"}},
        ],
        {"x": np.zeros((0, 3), np.float32)},
    )
    assert {name: array.shape for name, array in found.items()} == {"x": (0, 2), "i": (0, 2), "best": (0,)}


def test_results_take_the_place_of_what_they_replace(run_steps):
    arrays = {"a": floats(2, 3), "b c/d:0": floats(2, 3)}
    steps = [{"rename": {"tensor": "a", "to": "first"}}, {"sigmoid": {"tensor": "b c/d:0", "to": "more"}}]
    assert list(run_steps(steps, arrays)) == ["first", "b c/d:0", "more"]
    assert list(run_steps(steps, arrays, outputs=["more", "first"])) == ["more", "first"]


def test_steps_survive_their_way_through_json(plan_steps):
    from modelport_runtime.signature import TensorSpec

    raw = [
        {"cast": {"tensor": "x", "dtype": "float64"}},
        {"scale": {"tensor": "x", "factor": 0.1}},
        {"normalize": {"tensor": "x", "mean": [0.1], "std": [2]}},
        {"resize": {"tensor": "x", "size": [3, 3]}},
        {"transpose": {"tensor": "x", "order": [0, 3, 1, 2]}},
        {"softmax": {"tensor": "x"}},
        {"sigmoid": {"tensor": "x", "to": "s"}},
        {"threshold": {"tensor": "s"}},
        {"top_k": {"tensor": "x", "k": 2, "to": "best", "indices": "i"}},
        {"argmax": {"tensor": "x"}},
        {"labels": {"tensor": "x", "names": ["a", "b", "c"]}},
        {"rename": {"tensor": "x", "to": "y"}},
    ]
    steps, _ = plan_steps(raw, [TensorSpec(name="x", dtype="uint8", shape=(None, 4, 4, 1))])
    assert {step.kind for step in steps} == set(STEPS)
    assert tuple(step_from_json(step_to_json(step)) for step in steps) == steps
