from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelport.convert.onnx_to_tf import unsupported_ops, write_saved_model
from modelport.errors import ConversionError

FLOAT = TensorProto.FLOAT


def one_node(
    op: str, x: list[Any], *, constants: tuple[Any, ...] = (), opset: int = 18, elem: int = FLOAT, **attributes: Any
) -> Any:
    """Return a model of one node, its first input named ``in put`` and its output ``/out:0``."""
    names = [f"c{i}" for i in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(op, ["in put", *names], ["/out:0"], name="the node", **attributes)],
        "g",
        [helper.make_tensor_value_info("in put", elem, x)],
        [helper.make_tensor_value_info("/out:0", elem, None)],
        [numpy_helper.from_array(array, name) for array, name in zip(constants, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def conv_net(channels: int = 8) -> Any:
    """Return a residual convolutional net with a dynamic batch."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.standard_normal((channels, 3, 3, 3)),
        "b1": generator.standard_normal(channels),
        "w2": generator.standard_normal((channels, channels, 3, 3)) * 0.1,
        "s": generator.standard_normal(channels),
        "m": generator.standard_normal(channels),
        "v": generator.random(channels) + 0.5,
        "fc": generator.standard_normal((5, channels)),
        "fb": generator.standard_normal(5),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c2", "s", "b1", "m", "v"], ["n2"]),
        node("Add", ["n2", "p1"], ["a2"]),
        node("Relu", ["a2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fc", "fb"], ["l"], transB=1),
        node("Softmax", ["l"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run_onnx(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


@pytest.mark.parametrize("variable_bytes", [0, 1 << 30], ids=["variables", "constants"])
def test_conv_net_answers_like_onnxruntime(lower: Callable[..., Any], variable_bytes: int) -> None:
    model = conv_net()
    call = lower(model, variable_bytes=variable_bytes)
    for batch in (1, 3, 32):
        x = np.random.default_rng(batch).standard_normal((batch, 3, 16, 16)).astype(np.float32)
        np.testing.assert_allclose(call({"x": x})["y"], run_onnx(model, {"x": x})["y"], rtol=1e-5, atol=1e-5)


def test_empty_batch_keeps_its_shape(lower: Callable[..., Any]) -> None:
    assert lower(conv_net())({"x": np.zeros((0, 3, 16, 16), np.float32)})["y"].shape == (0, 5)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        write_saved_model(conv_net(), folder, input_names=["x"], output_names=["y"], variable_bytes=100)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests(tmp_path / "a")
    assert set(first) == {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"}
    assert digests(tmp_path / "b") == first


def loop_model() -> Any:
    """Return a model that doubles its input until it exceeds 100, or 1000 times."""
    node = helper.make_node
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            node("Add", ["v", "v"], ["v2"]),
            node("ReduceMax", ["v2"], ["top"], keepdims=0),
            node("Less", ["top", "limit"], ["on"]),
        ],
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("c", TensorProto.BOOL, []), scalar("v", FLOAT, [None])],
        [scalar("on", TensorProto.BOOL, []), scalar("v2", FLOAT, [None]), scalar("top", FLOAT, [])],
    )
    graph = helper.make_graph(
        [node("Loop", ["most", "", "x"], ["y", "steps"], body=body)],
        "g",
        [scalar("x", FLOAT, [None])],
        [scalar("y", FLOAT, [None]), scalar("steps", FLOAT, [None])],
        [
            numpy_helper.from_array(np.array(1000, np.int64), "most"),
            numpy_helper.from_array(np.array(100, np.float32), "limit"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_loop_runs_until_its_condition_fails(lower: Callable[..., Any]) -> None:
    found = lower(loop_model())({"x": np.array([1, 3], np.float32)})
    assert found["y"].tolist() == [64.0, 192.0]
    assert found["steps"].tolist() == [6.0, 12.0, 24.0, 48.0, 96.0, 192.0]


def test_loops_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_saved_model(loop_model(), tmp_path / name, input_names=["x"], output_names=["y", "steps"])
    assert (tmp_path / "a/saved_model.pb").read_bytes() == (tmp_path / "b/saved_model.pb").read_bytes()


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_arithmetic_in_every_dtype(lower: Callable[..., Any], dtype: str) -> None:
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = one_node("Add", ["n"], constants=(np.array([3], dtype),), elem=elem)
    x = np.array([0, 1, 100], dtype)
    found = lower(model)({"in put": x})["/out:0"]
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == (x + np.array([3], dtype)).tolist()


def test_nan_and_infinity_pass_through(lower: Callable[..., Any]) -> None:
    x = np.array([np.nan, np.inf, -np.inf, -1.0], np.float32)
    found = lower(one_node("Relu", ["n"]))({"in put": x})["/out:0"]
    assert np.isnan(found[0])
    assert found[1:].tolist() == [np.inf, 0.0, 0.0]


def test_nan_passes_convolution_relu_and_pool(lower: Callable[..., Any]) -> None:
    weights = np.random.default_rng(0).normal(size=(32, 16, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32, 16, 16])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(32, np.float32), "b")],
    )
    x = np.random.default_rng(1).normal(size=(2, 16, 32, 32)).astype(np.float32)
    x[0, :, 10, 10] = np.nan
    found = lower(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))({"x": x})["y"]
    spoiled = np.isnan(found[0]).all(axis=0)
    assert spoiled.sum() == 4  # the nine places that the kernel spoils lie in two by two windows
    assert spoiled[4:6, 4:6].all()
    assert not np.isnan(found[1]).any()


def test_strings_and_scalars(lower: Callable[..., Any]) -> None:
    call = lower(one_node("Identity", [], elem=TensorProto.STRING))
    assert call({"in put": np.array("grüße".encode(), dtype=object)})["/out:0"] == "grüße".encode()


def test_joined_strings_are_broadcast(lower: Callable[..., Any]) -> None:
    call = lower(
        one_node("StringConcat", ["n"], elem=TensorProto.STRING, opset=20, constants=(np.array(["!"], object),))
    )
    assert call({"in put": np.array(["a", "", "b"])})["/out:0"].tolist() == [b"a!", b"!", b"b!"]


def test_names_that_tensorflow_would_refuse_stay(lower: Callable[..., Any]) -> None:
    assert list(lower(one_node("Neg", ["n"]))({"in put": np.ones(1, np.float32)})) == ["/out:0"]


def test_reshape_of_shapes_keeps_static_dimensions(tmp_path: Path) -> None:
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["b"]),
            node("Unsqueeze", ["b", "zeros"], ["b1"]),
            node("Concat", ["b1", "rest"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [None, 2, 6])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [
            numpy_helper.from_array(np.array(0), "zero"),
            numpy_helper.from_array(np.array([0]), "zeros"),
            numpy_helper.from_array(np.array([-1]), "rest"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    write_saved_model(model, tmp_path / "m", input_names=["x"], output_names=["y"])
    import tensorflow as tf

    signature = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    assert signature.structured_outputs["y"].shape.as_list() == [None, 12]
    assert signature(x=tf.zeros([0, 2, 6]))["y"].shape == (0, 12)


def test_unsupported_op_is_named_with_its_node() -> None:
    (found,) = unsupported_ops(one_node("ImageDecoder", ["n"], opset=20, elem=TensorProto.UINT8))
    assert (found.op, found.domain, found.node) == ("ImageDecoder", "", "the node")
    assert "no lowering at opset 20" in found.reason


def test_an_op_with_a_function_body_is_supported(lower: Callable[..., Any]) -> None:
    model = one_node("ReduceLogSum", ["n", 3], constants=(np.array([1]),), keepdims=0)
    assert unsupported_ops(model) == ()
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_allclose(lower(model)({"in put": x})["/out:0"], np.log(x.sum(1)), rtol=1e-6)


def test_what_must_be_constant_is_named(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], name="grown")],
        "g",
        [
            helper.make_tensor_value_info("x", FLOAT, [1, 1, 2, 3]),
            helper.make_tensor_value_info("scales", FLOAT, [4]),
        ],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ConversionError, match=r"Resize \(node 'grown'\).*scales \(input 2\).*must be a constant"):
        write_saved_model(model, tmp_path / "m", input_names=["x", "scales"], output_names=["y"])
    assert not (tmp_path / "m").exists()


def test_names_must_match_the_graph(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="one different name is needed for each"):
        write_saved_model(conv_net(), tmp_path / "m", input_names=["x", "z"], output_names=["y"])


def test_a_model_that_makes_dictionaries_says_what_to_change() -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1], name="zip")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", FLOAT, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)])
    with pytest.raises(ConversionError, match="zipmap"):
        write_saved_model(model, Path("never"), input_names=["x"], output_names=["y"])


def test_local_functions_are_lowered(lower: Callable[..., Any]) -> None:
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [None])],
        [helper.make_tensor_value_info("y", FLOAT, [None])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=imports)
    assert isinstance(model, onnx.ModelProto)
    assert lower(model)({"x": np.array([2], np.float32)})["y"].tolist() == [4.0]


def test_resize_by_scales_with_aligned_corners_goes_by_the_cut_length(lower: Callable[..., Any]) -> None:
    model = one_node(
        "Resize",
        [1, 1, 7, 8],
        constants=(np.array([], np.float32), np.array([1, 1, 0.5, 1.5], np.float32)),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )
    x = np.random.default_rng(0).normal(size=(1, 1, 7, 8)).astype(np.float32)
    torch = pytest.importorskip("torch")
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x), scale_factor=(0.5, 1.5), mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(lower(model)({"in put": x})["/out:0"], wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_an_output_of_another_type_than_declared_is_refused(tmp_path: Path) -> None:
    model = one_node("Relu", [2])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ConversionError, match=r"'/out:0' is declared as int64, but the node behind it gives float32"):
        write_saved_model(model, tmp_path / "m", input_names=["x"], output_names=["y"])


def test_a_sparse_initializer_is_named(tmp_path: Path) -> None:
    model = one_node("Add", [4, 4], constants=(np.zeros((4, 4), np.float32),))
    values, places = numpy_helper.from_array(np.ones(1, np.float32), "weights"), numpy_helper.from_array(np.array([5]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 4]))
    with pytest.raises(ConversionError, match="'weights' is sparse"):
        write_saved_model(model, tmp_path / "m", input_names=["x"], output_names=["y"])
