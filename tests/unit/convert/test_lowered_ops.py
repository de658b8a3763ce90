"""Ops of ONNX at the edges of what they take, lowered and compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, ValueInfoProto, helper, numpy_helper, shape_inference

from modelport.convert.onnx_to_tf import write_saved_model
from modelport.convert.onnx_to_tf.saved_model import write_variables
from modelport.errors import ConversionError

Lower = Callable[..., Any]
NAN, INF = np.nan, np.inf


def reals(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def whole(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


@dataclass(frozen=True)
class Case:
    """One node: what is fed, what is constant by its position, and the shapes that the model declares."""

    op: str
    inputs: tuple[Any, ...]
    fixed: tuple[int, ...] = ()
    opset: int = 21
    outputs: int = 1
    open: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)

    def model(self) -> tuple[Any, dict[str, Any]]:
        names = ["" if array is None else f"x{i}" for i, array in enumerate(self.inputs)]
        results = [f"y{i}" for i in range(self.outputs)]
        given = {name: array for name, array in zip(names, self.inputs, strict=True) if name}
        constants = {names[i]: given.pop(names[i]) for i in self.fixed}
        graph = helper.make_graph(
            [helper.make_node(self.op, names, results, **self.attributes)],
            "g",
            [
                helper.make_tensor_value_info(
                    name,
                    helper.np_dtype_to_tensor_dtype(array.dtype),
                    [None] * array.ndim if self.open else array.shape,
                )
                for name, array in given.items()
            ],
            [ValueInfoProto(name=name) for name in results],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        inferred = shape_inference.infer_shapes(model).graph.output
        for output, found in zip(model.graph.output, inferred, strict=True):
            output.type.tensor_type.elem_type = found.type.tensor_type.elem_type
        return model, given


def case(op: str, *inputs: Any, fixed: tuple[int, ...] = (), opset: int = 21, outputs: int = 1, **rest: Any) -> Any:
    is_open = rest.pop("open", False)
    made = Case(op, inputs, fixed, opset, outputs, is_open, rest)
    shape = next(array.shape for array in inputs if array is not None)
    return pytest.param(made, id="-".join([op, *("x".join(map(str, shape)),), *map(str, rest.values())])[:60])


def run_onnx(model: Any, inputs: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found: list[Any] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)
    return found


PICTURE = reals(2, 3, 7, 8)


@pytest.mark.parametrize(
    "one",
    [
        case("Softmax", np.array([[NAN, 1, 2], [INF, 1, 2], [-INF, -INF, -INF], [-INF, 1, 2]], np.float32)),
        case("Conv", PICTURE, reals(4, 3, 3, 3), fixed=(1,), open=True, auto_pad="SAME_LOWER", strides=[2, 3]),
        case("Conv", reals(1, 1, 6, 7, 3), reals(2, 1, 2, 2, 2), fixed=(1,), strides=[1, 1, 2]),
        case("AveragePool", PICTURE, open=True, auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 2]),
        case("AveragePool", PICTURE, open=True, ceil_mode=1, strides=[3, 2], kernel_shape=[2, 3], pads=[1, 1, 1, 1]),
        case("MaxPool", PICTURE, open=True, ceil_mode=1, strides=[3, 2], kernel_shape=[2, 3], pads=[0, 1, 1, 0]),
        case("ConvTranspose", PICTURE, reals(3, 2, 3, 3), fixed=(1,), strides=[2, 2], output_shape=[14, 16]),
        case("ConvTranspose", PICTURE, reals(3, 2, 3, 3), fixed=(1,), open=True, strides=[2, 2], output_shape=[14, 16]),
        case("ConvTranspose", PICTURE, reals(3, 2, 3, 3), fixed=(1,), open=True, strides=[2, 2], auto_pad="SAME_UPPER"),
        case("Pad", reals(5, 4), whole(-1, 1, 2, -1), open=True, mode="edge"),
        case("Pad", reals(5, 4), whole(-1, 1, 2, -1), open=True),
        case("Split", reals(7, 2), outputs=3, open=True, num_outputs=3),
        case("Split", reals(6, 2), whole(1, 5), outputs=2, open=True),
        case("Split", reals(2, 6), outputs=3, opset=13, open=True, axis=-1),
        case("Range", np.array(5), np.array(0), np.array(2)),
        case("Range", np.array(5, np.int16), np.array(0, np.int16), np.array(-2, np.int16)),
        case("CumSum", reals(2, 3), np.array(-1)),
        case("Pow", np.array([2, 1, -1, -1], np.int32), np.array([-1, -1, -1, -2], np.int32)),
        case("RMSNormalization", reals(2, 3, 8), reals(8), opset=23, open=True),
        case("DynamicQuantizeLinear", np.zeros(3, np.float32), outputs=3),
        case("DequantizeLinear", np.ones((2, 4), np.int8), reals(2, 2), fixed=(1,), open=True, axis=1, block_size=2),
        case("Cast", np.array([0, 1.5, NAN, INF, -INF, 123456.789, 1e-7, 1 / 3], np.float64), opset=19, to=8),
        case("Cast", np.array([True, False]), opset=19, to=8),
        case("Tile", np.ones((2, 3), np.uint16), whole(2, 2)),
        case("NonZero", np.ones((), np.float32)),
        case(
            "Resize", (reals(1, 1, 4, 5) * 40 + 100).astype(np.uint8), None, np.array([1, 1, 2, 2], np.float32),
            fixed=(2,), mode="linear",
        ),
        case("Resize", reals(1, 1, 4, 5), None, None, whole(1, 1, 7, 3), fixed=(3,), open=True, mode="linear"),
        case(
            "Resize", reals(1, 1, 5, 5), None, np.array([1, 1, 0.2, 2], np.float32), fixed=(2,), open=True,
            mode="linear", coordinate_transformation_mode="pytorch_half_pixel",
        ),
        case(
            "Resize", reals(1, 1, 5, 6), np.array([1, 1, 0.6, 1.7], np.float32), fixed=(1,), opset=10, open=True,
            mode="nearest",
        ),
        case("Resize", PICTURE, None, None, whole(2, 3, 9, 4), mode="linear"),
        case("ReduceSum", reals(2, 3, 4), whole(1, -1), open=True, keepdims=0),
        case("ReduceL2", reals(2, 3, 4), whole(0), keepdims=1),
        case("ReduceMax", reals(2, 3, 4), whole(), open=True, keepdims=0),
        case("ReduceSumSquare", reals(2, 3, 4), whole(), noop_with_empty_axes=1),
        case("Squeeze", reals(1, 3, 1), whole(0, -1), open=True),
        case("Unsqueeze", reals(2, 3), whole(-1, 0), open=True),
        case("Slice", reals(4, 5), whole(3, 4), whole(-99, 1), whole(0, -1), whole(-1, -2), open=True),
        case("Slice", reals(4, 5), whole(-(2**63), 2), whole(2**63 - 1, -1), open=True),
        case("Slice", reals(4, 5), whole(1, 0), whole(4, 5), None, whole(1, 3)),
        case("Pad", reals(2, 3, 4), whole(1, -1, 0, 2), None, whole(0, -1), open=True),
        case("Pad", reals(2, 3, 4), whole(1, 2, 0, 1), None, whole(-2, -1), mode="reflect"),
        case("GatherND", reals(3, 0, 2), whole(0, -1).reshape(2, 1), fixed=(1,), open=True),
        case("GatherND", reals(2, 3, 0), whole(0, -1).reshape(2, 1), fixed=(1,), open=True, batch_dims=1),
        *(
            case(
                "ScatterND", reals(3, 0, 2), whole(0, -1).reshape(2, 1), reals(2, 0, 2), fixed=(1,), open=True,
                reduction=reduction,
            )
            for reduction in ("none", "mul")
        ),
        case(
            "LSTM", reals(4, 3, 2), reals(2, 20, 2), reals(2, 20, 5), fixed=(1, 2), opset=14, outputs=3, hidden_size=5,
            direction="bidirectional", activation_alpha=[0.5, 0.2, 0.1], activation_beta=[0.3],
            activations=["LeakyRelu", "Tanh", "Tanh", "HardSigmoid", "Tanh", "LeakyRelu"],
        ),
    ],
)  # fmt: skip
def test_answers_like_onnxruntime(lower: Lower, one: Case) -> None:
    model, inputs = one.model()
    wanted = run_onnx(model, inputs)
    found = lower(model)(inputs)
    for i, theirs in enumerate(wanted):
        mine = found[f"y{i}"]
        assert mine.shape == theirs.shape
        if theirs.dtype == object:
            assert [item.decode() for item in mine.reshape(-1)] == theirs.reshape(-1).tolist()
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (Case("Erf", (np.array([INF, -INF, NAN, 30]),)), np.array([1, -1, NAN, 1])),
        (Case("Abs", (np.array([2**64 - 1], np.uint64),)), np.array([2**64 - 1], np.uint64)),
        (Case("Sign", (np.array([2**64 - 1, 0], np.uint64),)), np.array([1, 0], np.uint64)),
        (
            Case("Mod", (np.array([2**64 - 1], np.uint64), np.array([4], np.uint64)), attributes={"fmod": 1}),
            np.array([3], np.uint64),
        ),
        (
            Case("MaxPool", (np.full((1, 1, 2, 2), -INF, np.float32),), attributes={"kernel_shape": [2, 2]}),
            np.full((1, 1, 1, 1), -INF, np.float32),
        ),
        (
            Case("Pad", (reals(0, 2, 3), whole(0, 0, 1, 0, 0, 1)), (1,), attributes={"mode": "reflect"}),
            np.zeros((0, 2, 5), np.float32),
        ),
        (
            Case("Pad", (reals(3), whole(5, 4)), (1,), attributes={"mode": "reflect"}),
            np.pad(reals(3), (5, 4), mode="reflect"),
        ),
    ],
    ids=["Erf", "Abs", "Sign", "Mod", "MaxPool", "Pad-empty", "Pad-wide"],
)
def test_extremes(lower: Lower, one: Case, wanted: Any) -> None:
    model, inputs = one.model()
    found = lower(model)(inputs)["y0"]
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (Case("ReduceSum", (reals(2, 3), whole(2))), "ReduceSum .* names an axis that its input lacks"),
        (Case("Slice", (reals(2, 3), whole(0), whole(1), whole(-3))), "Slice .* names an axis that its input lacks"),
        (Case("Unsqueeze", (reals(2, 3), whole(3))), "Unsqueeze .* names an axis that its input lacks"),
        (Case("Squeeze", (reals(1, 3), whole(1))), "Squeeze .* drops a dimension that is not one"),
    ],
    ids=["ReduceSum", "Slice", "Unsqueeze", "Squeeze"],
)
def test_computed_axes_that_are_wrong_fail_when_they_come(lower: Lower, one: Case, told: str) -> None:
    model, inputs = one.model()
    with pytest.raises(Exception, match=told):
        lower(model)(inputs)


def test_numbers_that_may_be_complex_are_refused(tmp_path: Path) -> None:
    model, _ = Case("DFT", (reals(1, 8, 2),), opset=17, open=True).model()
    with pytest.raises(ConversionError, match="declare the size of its last dimension"):
        write_saved_model(model, tmp_path / "m", input_names=["x"], output_names=["y"])


def test_activations_without_constants_are_refused(tmp_path: Path) -> None:
    inputs = (reals(4, 3, 2), reals(1, 5, 2), reals(1, 5, 5))
    model, _ = Case("RNN", inputs, (1, 2), attributes={"hidden_size": 5, "activations": ["ScaledTanh"]}).model()
    with pytest.raises(ConversionError, match="'ScaledTanh' comes without constants"):
        write_saved_model(model, tmp_path / "m", input_names=["x"], output_names=["y"])


def refers(node: Any, name: str, to: str) -> Any:
    """Let an attribute of a function's node stand for one of the function."""
    node.attribute.append(AttributeProto(name=name, ref_attr_name=to, type=AttributeProto.FLOAT))
    return node


def test_functions_keep_their_attributes_defaults_and_opsets(lower: Lower) -> None:
    leaky = helper.make_function(
        "own", "Leaky", ["a"], ["b"], [refers(helper.make_node("LeakyRelu", ["a"], ["b"]), "alpha", "slope")],
        [helper.make_opsetid("", 21)], attribute_protos=[helper.make_attribute("slope", 0.5)],
    )  # fmt: skip
    mean = helper.make_function(
        "own", "OldMean", ["a"], ["b"], [helper.make_node("ReduceMean", ["a"], ["b"], axes=[1])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Leaky", ["x"], ["t"], domain="own"),
            helper.make_node("Leaky", ["t"], ["u"], domain="own", slope=0.25),
            helper.make_node("OldMean", ["u"], ["y"], domain="own"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[leaky, mean], opset_imports=imports, ir_version=10)
    assert lower(model)({"x": np.array([[-8, 3]], np.float32)})["y"].tolist() == [[1.0]]


def loop() -> Any:
    """Return a model of a loop whose turns each double a matrix of any number of rows and show it."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "state"], ["after"]),
            helper.make_node("Identity", ["after"], ["shown"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("shown", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "x"], ["y", "z"], body=body)],
        "g",
        [
            helper.make_tensor_value_info("turns", TensorProto.INT64, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, None, 2]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_a_loop_of_no_turns_shows_nothing(lower: Lower) -> None:
    call = lower(loop())
    x = np.ones((3, 2), np.float32)
    none, two = (call({"turns": np.array(turns), "x": x}) for turns in (0, 2))
    assert none["y"].tolist() == x.tolist()
    assert none["z"].shape == (0, 0, 2)
    assert two["z"].shape == (2, 3, 2)
    assert two["y"].tolist() == (4 * x).tolist()


def test_variables_are_written_in_groups(tmp_path: Path) -> None:
    import tensorflow as tf

    arrays = {f"weight_{i}": reals(4, i + 1) for i in range(5)}
    write_variables(tmp_path / "variables", arrays, group_bytes=100)
    found = tf.train.load_checkpoint(str(tmp_path / "variables"))
    assert {name: found.get_tensor(name).tolist() for name in arrays} == {n: a.tolist() for n, a in arrays.items()}
    assert {file.suffix for file in tmp_path.iterdir()} == {".index", *(f".data-0000{i}-of-00003" for i in range(3))}
