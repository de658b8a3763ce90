"""What the files of every framework tell of themselves."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.codefiles import collect_code, relocate
from modelport.environment import pin, plan_requirements
from modelport.errors import SpecError
from modelport.frameworks import detect_format, probe, reference
from modelport.frameworks.merging import render_signature
from modelport.frameworks.onnx import external_files
from modelport.frameworks.probing import Probe, ProbedTensor
from modelport.frameworks.wire import read_fields, signed


def told(tensors: Any) -> list[tuple[Any, ...]]:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("weights.pt", "state_dict"),
        ("legacy.pt", "state_dict"),
        ("program.pt2", "exported_program"),
        ("script.pt", "torchscript"),
    ],
)
def test_torch_formats_are_told_by_their_contents(torch_files: Path, tmp_path: Path, file: str, kind: str) -> None:
    shutil.copy(torch_files / file, tmp_path / "model.bin")
    assert detect_format(tmp_path / "model.bin", "pytorch") == kind
    assert detect_format(tmp_path / "model.bin") == kind


def test_torchscript_tells_names(torch_files: Path) -> None:
    probed = probe("torchscript", torch_files / "script.pt")
    assert told(probed.inputs) == [("pixels", None, None), ("mask", None, None)]
    assert probed.signature() is None
    assert told(probe("torchscript", torch_files / "linear.pt").outputs) == [("output_0", None, None)]


def test_scripted_modules_with_defaults_and_tuples(tmp_path: Path) -> None:
    archive = tmp_path / "m.pt"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("m/data.pkl", b"\x80\x02c__torch__.pkg.net\nNet\n.")
        stream.writestr(
            "m/code/__torch__/pkg/net.py",
            "class Other(Module):\n  def forward(self: Other,\n    z: Tensor) -> Tensor:\n    return z\n"
            "class Net(Module):\n  def forward(self: __torch__.pkg.net.Net,\n    a: Tensor,\n"
            "    b: Optional[Tensor]=None) -> Tuple[Tensor, Tensor]:\n    return (a, a)\n",
        )
    probed = probe(detect_format(archive), archive)
    assert [(t.name, t.optional) for t in probed.inputs or ()] == [("a", False), ("b", True)]
    assert [t.name for t in probed.outputs or ()] == ["output_0", "output_1"]


def test_scripted_modules_that_take_more_than_tensors(tmp_path: Path) -> None:
    archive = tmp_path / "m.pt"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("m/data.pkl", b"\x80\x02c__torch__\nNet\n.")
        stream.writestr(
            "m/code/__torch__.py",
            "class Net(Module):\n  def forward(self: __torch__.Net,\n    a: Tensor,\n    n: int) -> Tensor:\n",
        )
    with pytest.raises(SpecError, match=r"forward takes 'n' as int; only tensors can be sent"):
        probe("torchscript", archive)


def test_exported_programs_tell_fixed_sizes_and_half_precision(torch_files: Path) -> None:
    signature = probe("exported_program", torch_files / "fixed.pt2").signature()
    assert signature is not None
    assert [str(t) for t in signature.inputs] == ["input: float16[1, 4]"]
    assert [str(t) for t in signature.outputs] == ["output_0: float16[1, 3]"]


def test_state_dicts_tell_their_codes_arguments(torch_files: Path, tmp_path: Path) -> None:
    probed = probe("state_dict", torch_files / "weights.pt", entrypoint="net:Net")
    assert [t.name for t in probed.inputs or ()] == ["pixels", "mask"]
    (tmp_path / "net.py").write_text(
        "class Net:\n    def forward(self, *tensors):\n        raise SystemExit\nraise SystemExit\n"
    )
    assert probe("state_dict", torch_files / "weights.pt", entrypoint="net.py:Net", root=tmp_path).inputs is None


@pytest.mark.parametrize("file", ["weights.pt", "script.pt", "program.pt2"])
def test_a_flipped_bit_in_weights_is_found(torch_files: Path, tmp_path: Path, file: str) -> None:
    """PyTorch itself reads past it."""
    shutil.copy(torch_files / file, tmp_path / file)
    with zipfile.ZipFile(tmp_path / file) as archive:
        member = max(
            (info for info in archive.infolist() if "/data/" in info.filename), key=lambda info: info.file_size
        )
        weights = archive.read(member)
    data = bytearray((tmp_path / file).read_bytes())
    data[data.index(weights) + 6] ^= 0x40
    (tmp_path / file).write_bytes(data)
    with pytest.raises(SpecError, match=r"damaged inside: '.*/data/.*' does not have the checksum"):
        probe(detect_format(tmp_path / file), tmp_path / file, entrypoint="net:Net", root=torch_files)


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (
            lambda state: {"state_dict": state, "epoch": 3},
            r"weights are under 'state_dict': .*\['state_dict'\], 'weights",
        ),
        (lambda state: {"net": state, "optimizer": {"lr": 0.1}}, r"it holds 'net', 'optimizer'\); .*\['net'\]"),
        (lambda state: {f"module.{key}": value for key, value in state.items()}, r"begins with 'module\.'"),
        (lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}, r"begins with '_orig_mod\.'"),
        (lambda state: {**state, "step": 4}, r"no state dict, which holds tensors alone"),
        (lambda state: list(state.values()), r"holds a list, no state dict"),
        (lambda state: state["fc.weight"], r"holds a tensor, no state dict"),
        (dict, None),
        (lambda _: {}, None),  # of a model without weights
    ],
)
def test_checkpoints_that_are_no_state_dict(torch_files: Path, tmp_path: Path, wrap: Any, why: str | None) -> None:
    torch = pytest.importorskip("torch")
    torch.save(wrap(torch.load(torch_files / "weights.pt", weights_only=True)), tmp_path / "m.pt")
    if why is None:
        assert probe("state_dict", tmp_path / "m.pt", entrypoint="net:Net", root=torch_files).inputs is not None
        return
    with pytest.raises(SpecError, match=why):
        probe("state_dict", tmp_path / "m.pt", entrypoint="net:Net", root=torch_files)


def test_wrapped_weights_belong_to_a_class_that_wraps(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    code = "import torch\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    code += "        self.module = torch.nn.Linear(2, 1)\n\n    def forward(self, x):\n        return self.module(x)\n"
    (tmp_path / "wrapping.py").write_text(code)
    torch.save({f"module.{key}": value for key, value in torch.nn.Linear(2, 1).state_dict().items()}, tmp_path / "m.pt")
    assert probe("state_dict", tmp_path / "m.pt", entrypoint="wrapping:Net").inputs is not None


def test_safetensors_are_named(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(128)
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(SpecError, match=r"a safetensors file; .*model\.entrypoint"):
        detect_format(tmp_path / "m.safetensors", "pytorch")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    weight = onnx.numpy_helper.from_array(np.ones((3,), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["a b", "w"], ["/y:0"]), helper.make_node("Identity", ["s"], ["out.s"])],
        "g",
        [
            helper.make_tensor_value_info("a b", proto.FLOAT16, ["N", 3]),
            helper.make_tensor_value_info("w", proto.FLOAT16, [3]),
            helper.make_tensor_value_info("s", proto.STRING, []),
        ],
        [
            helper.make_tensor_value_info("/y:0", proto.FLOAT16, ["N", 3]),
            helper.make_tensor_value_info("out.s", proto.STRING, None),
        ],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_onnx_tells_all_but_unknown_ranks(onnx_file: Path) -> None:
    probed = probe(detect_format(onnx_file), onnx_file)
    assert told(probed.inputs) == [("a b", "float16", (None, 3)), ("s", "string", ())]
    assert told(probed.outputs) == [("/y:0", "float16", (None, 3)), ("out.s", "string", None)]


def test_onnx_names_bind(onnx_file: Path, resolve: Any) -> None:
    keys = {"framework": "onnx", "root": onnx_file.parent}
    inputs = [{"name": "x", "dtype": "float16", "shape": [-1, 3]}, {"name": "s", "dtype": "string", "shape": []}]
    with pytest.raises(SpecError, match=r"no input called 'x'; write 'a b' instead"):
        resolve("m.onnx", signature={"inputs": inputs}, **keys)
    np.savez(onnx_file.parent / "s.npz", **{"a b": np.ones((1, 3), np.float16), "s": np.array("z")})
    model = resolve("m.onnx", samples="s.npz", **keys)
    assert str(model.signature.outputs[1]) == "out.s: string[]"


def test_onnx_with_external_data_brings_it_along(onnx_file: Path, resolve: Any) -> None:
    onnx = pytest.importorskip("onnx")
    folder = onnx_file.parent
    model = onnx.load(onnx_file)
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0)
    outputs = [
        {"name": "/y:0", "dtype": "float16", "shape": [-1, 3]},
        {"name": "out.s", "dtype": "string", "shape": []},
    ]
    keys = {"framework": "onnx", "root": folder, "signature": {"outputs": outputs}}
    assert list(resolve("big.onnx", **keys).files) == ["big.onnx", "big.bin"]
    (folder / "big.bin").unlink()
    with pytest.raises(SpecError, match=r"external data 'big.bin' is not beside it"):
        resolve("big.onnx", **keys)


@pytest.mark.parametrize("size", [0.3, 0.9])
def test_truncated_onnx(onnx_file: Path, size: float) -> None:
    data = onnx_file.read_bytes()
    onnx_file.write_bytes(data[: int(len(data) * size)])
    with pytest.raises(SpecError, match=r"no ONNX model"):
        probe("onnx", onnx_file)


def _onnx_model(tmp_path: Path, node: Any, **keys: Any) -> Any:
    """Write one node between x and y, [N, 4]."""
    onnx = pytest.importorskip("onnx")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    opsets = [onnx.helper.make_opsetid(*opset) for opset in keys.pop("opsets", [("", 17)])]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, **keys), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"opsets": [("", 99)]}, r"opset 99 of ai\.onnx is newer .* export the model with opset \d+ or lower"),
        ({"opsets": [("", 17), ("ai.onnx.ml", 99)]}, r"opset 99 of ai\.onnx\.ml is newer"),
        ({"ir_version": 99}, r"in version 99 of ONNX's file format"),
    ],
)
def test_onnx_of_the_future_is_refused(tmp_path: Path, keys: dict[str, Any], why: str) -> None:
    helper = pytest.importorskip("onnx").helper
    _onnx_model(tmp_path, helper.make_node("Relu", ["x"], ["y"]), **keys)
    with pytest.raises(SpecError, match=why):
        probe("onnx", tmp_path / "m.onnx")


def test_an_op_that_no_server_has_is_named_with_its_node(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    node = helper.make_node("Twice", ["x"], ["y"], name="doubling", domain="com.acme")
    _onnx_model(tmp_path, node, opsets=[("", 17), ("com.acme", 1)])
    with pytest.raises(SpecError, match=r"op 'Twice' of node 'doubling' is of the domain 'com\.acme'.*ONNX function"):
        probe("onnx", tmp_path / "m.onnx")


def _graph(
    tmp_path: Path,
    nodes: Sequence[tuple[str, list[str], list[str], dict[str, Any]]],
    declared: tuple[str, list[Any]],
    opset: int = 18,
) -> Path:
    """Write a graph from x, [N, 3], and the matrix w, [3, 5], to y."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes],
        "g",
        [helper.make_tensor_value_info("x", proto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", getattr(proto, declared[0]), declared[1])],
        [onnx.numpy_helper.from_array(np.ones((3, 5), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


_PRODUCT = [("MatMul", ["x", "w"], ["y"], {})]
_FATAL = [("Split", ["x"], ["y", ""], {"axis": 1, "num_outputs": 2})]  # ends the process of ONNX Runtime 1.31
_HALVING = [("Constant", [], ["s"], {"value_ints": [2, -1]}), ("Reshape", ["x", "s"], ["y"], {})]


@pytest.mark.parametrize(
    ("nodes", "declared", "opset", "why"),
    [
        (_PRODUCT, ("FLOAT", ["N", 4]), 18, r"'y' is declared as float32 \[\?, 4\], but .* gives float32 \[3, 5\]"),
        (_PRODUCT, ("FLOAT", ["N"]), 18, r"'y' is declared as float32 \[\?\], but .*graph\.output\[0\]\.type"),
        (_PRODUCT, ("FLOAT", [1, 5]), 18, r"'y' is declared as float32 \[1, 5\], but for inputs of shape x \[3, 3\]"),
        (_PRODUCT, ("DOUBLE", ["N", 5]), 18, r"does not load it: Type Error: .*output arg \(y\)"),
        (_PRODUCT, ("FLOAT", ["N", 5]), 27, r"does not load it: .*Opset 27"),
        (_FATAL, ("FLOAT", ["N", 2]), 18, r"did not come to an end with it.*exit code -11"),
        (_HALVING, ("FLOAT", [2, "M"]), 18, None),  # takes none of the inputs that are made up
        ([("Relu", ["q"], ["y"], {})], ("FLOAT", ["N", 3]), 18, r"does not load it: Invalid model\. Node input 'q'"),
        ([("Foo", ["x"], ["y"], {})], ("FLOAT", ["N", 3]), 18, r"does not load it: .*No Op registered for Foo"),
        ([("Softmax", ["x"], ["y"], {"axis": 7})], ("FLOAT", ["N", 3]), 18, r"does not load it: .*'axis' must be in"),
        (_PRODUCT, ("FLOAT", ["rows", 5]), 7, None),
    ],
)
def test_an_onnx_file_is_tried_before_it_is_used(
    tmp_path: Path, nodes: Any, declared: Any, opset: int, why: str | None
) -> None:
    path = _graph(tmp_path, nodes, declared, opset)
    if why is None:
        assert told(probe("onnx", path).inputs) == [("x", "float32", (None, 3))]
        return
    with pytest.raises(SpecError, match=why) as caught:
        probe("onnx", path)
    assert "onnxruntime_src" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({}, None),
        ({"length": "64", "offset": "0"}, None),
        ({"length": "64", "offset": "32"}, r"it ends at byte 96, but the file has 64"),
        ({"length": "100"}, r"\[4, 4\] of FLOAT need 64 bytes, but its length is 100"),
        ({"offset": "-4"}, r"offset '-4' .* must be whole numbers"),
        ({"location": "../w.bin"}, r"lies outside its folder"),
        ({"location": "link.bin"}, r"is a link that leads out of its folder"),
    ],
)
def test_external_data_holds_what_the_model_says(tmp_path: Path, entries: dict[str, str], why: str | None) -> None:
    onnx = pytest.importorskip("onnx")
    (tmp_path / "m").mkdir()
    for folder in (tmp_path, tmp_path / "m"):
        (folder / "w.bin").write_bytes(np.eye(4, dtype=np.float32).tobytes())
    (tmp_path / "m" / "link.bin").symlink_to(tmp_path / "w.bin")
    weights = onnx.TensorProto(name="w", dims=[4, 4], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", **entries}.items():
        weights.external_data.add(key=key, value=value)
    _onnx_model(tmp_path / "m", onnx.helper.make_node("Constant", [], ["y"], value=weights))  # no initializer
    if why is None:
        assert external_files(tmp_path / "m" / "m.onnx") == ["w.bin"]
        return
    with pytest.raises(SpecError, match=why):
        external_files(tmp_path / "m" / "m.onnx")


def test_onnx_that_gives_maps_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(proto.INT64, helper.make_tensor_type_proto(1, []))
    )
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        "g",
        [helper.make_tensor_value_info("x", proto.FLOAT, ["N", 2])],
        [helper.make_value_info("maps", kind)],
    )
    onnx.save(helper.make_model(graph, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(SpecError, match=r"'maps' is no tensor .*zipmap"):
        probe("onnx", tmp_path / "m.onnx")


def test_sklearn_files(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    skops_io = pytest.importorskip("skops.io")
    joblib = pytest.importorskip("joblib")
    fitted = linear_model.LogisticRegression().fit(np.random.default_rng(0).random((6, 4)), list("aabbcc"))
    skops_io.dump(fitted, tmp_path / "m.skops")
    joblib.dump(fitted, tmp_path / "m.pkl")
    joblib.dump(fitted, tmp_path / "z.model", compress=3)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(fitted))
    kinds = {"m.skops": "skops", "m.pkl": "joblib", "z.model": "joblib", "p.pkl": "pickle"}
    for file, kind in kinds.items():
        assert detect_format(tmp_path / file, "sklearn") == kind
        signature = probe(kind, tmp_path / file, trust=kind != "skops").signature()
        assert signature is not None
        assert [str(t) for t in signature.inputs] == ["features: float64[?, 4]"]
        assert [str(t) for t in signature.outputs] == ["label: string[?]", "probabilities: float64[?, 3]"]
    for kind, file in (("joblib", "m.pkl"), ("pickle", "p.pkl")):
        with pytest.raises(
            SpecError, match=rf"a {kind} file runs code when it is loaded.*trust: true; else .*skops.io.dump"
        ):
            probe(kind, tmp_path / file)


def test_sklearn_signatures_may_choose(tmp_path: Path, resolve: Any) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    skops_io = pytest.importorskip("skops.io")
    skops_io.dump(linear_model.LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), tmp_path / "m.skops")
    inputs = [{"name": "measured", "dtype": "float32", "shape": [-1, 4]}]
    keys = {"framework": "sklearn", "root": tmp_path}

    def outputs(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
        return {"inputs": inputs, "outputs": [{"name": name, "dtype": dtype, "shape": shape}]}

    model = resolve("m.skops", signature=outputs("probabilities", "float32", [-1, 2]), **keys)
    assert str(model.signature.inputs[0]) == "measured: float32[?, 4]"
    assert [str(t) for t in model.signature.outputs] == ["probabilities: float32[?, 2]"]
    with pytest.raises(SpecError, match=r"but the model has \[\?, 2\]"):
        resolve("m.skops", signature=outputs("probabilities", "float32", [-1, 3]), **keys)
    with pytest.raises(SpecError, match=r"the spec declares 1"):
        resolve("m.skops", signature=outputs("oops", "float32", [-1, 2]), **keys)


def test_keras_and_other_archives_are_told_apart(tmp_path: Path) -> None:
    layer = {"class_name": "InputLayer", "config": {"name": "in one", "batch_shape": [None, 4], "dtype": "int32"}}
    config = {
        "class_name": "Functional",
        "config": {"layers": [layer], "input_layers": [["in one", 0, 0]], "output_layers": ["out", 0, 0]},
    }
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    assert detect_format(tmp_path / "m.keras", "tensorflow") == "keras"
    probed = probe("keras", tmp_path / "m.keras")
    assert told(probed.inputs) == [("in one", "int32", (None, 4))]
    assert told(probed.outputs) == [("out", None, None)]
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(SpecError, match=r"save it as .keras"):
        detect_format(tmp_path / "m.h5", "tensorflow")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(SpecError, match=r"a zip archive that is no model"):
        detect_format(tmp_path / "m.zip")


def test_broken_saved_models(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\xff\x01abc")
    assert detect_format(tmp_path, "tensorflow") == "saved_model"
    with pytest.raises(SpecError, match=r"no SavedModel that can be read, or truncated"):
        probe("saved_model", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(SpecError, match=r"no graph with the tag 'serve'"):
        probe("saved_model", tmp_path)
    outer = tmp_path / "outer"
    (outer / "1").mkdir(parents=True)
    (outer / "1" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(SpecError, match=f"did you mean {outer / '1'}"):
        detect_format(outer, "tensorflow")


def test_the_wire_format() -> None:
    fields = read_fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x02ab\x1d\x00\x00\x00\x00\x12\x00")
    assert signed(fields[1][0]) == -1
    assert fields[2] == [b"ab", b""]
    for data in (b"\x08", b"\x12\x05ab", b"\x0b", b"\x08" + b"\xff" * 11):
        with pytest.raises(ValueError, match=r"byte"):
            read_fields(data)


def test_code_is_followed_through_packages(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(
        "from .layers import Block\nfrom . import sub\nimport torch, os\nclass Net(Block):\n    pass\n"
    )
    (package / "layers.py").write_text("import helper\nclass Block:\n    pass\n")
    (package / "sub" / "__init__.py").write_text("from ..layers import Block\n")
    (tmp_path / "helper.py").write_text("import numpy.linalg\n")
    (tmp_path / "unused.py").write_text("")
    code = collect_code("pkg.net:Net", tmp_path, "model.entrypoint")
    assert list(code.files) == ["helper.py", "pkg/__init__.py", "pkg/layers.py", "pkg/net.py", "pkg/sub/__init__.py"]
    assert code.packages == {"torch", "numpy"}
    assert code.methods is None
    assert code.reference == "pkg.net:Net"
    assert relocate("src/net.py:Net") == "net.py:Net"
    assert relocate("src/net:Net") == "net.py:Net"
    assert relocate("pkg.net:Net") == "pkg.net:Net"


def test_code_in_a_folder_imports_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "parts.py").write_text("class Part: ...\n")
    (tmp_path / "src" / "net.py").write_text("from parts import Part\nclass Net(Part): ...\n")
    code = collect_code("src/net:Net", tmp_path, "model.entrypoint")
    assert (code.folder, code.reference) == (tmp_path / "src", "net.py:Net")
    assert list(code.files) == ["net.py", "parts.py"]


def test_requirements() -> None:
    assert pin("no-such-distribution-anywhere") == "no-such-distribution-anywhere"
    assert [r.partition("==")[0] for r in plan_requirements("skops", None, frames=True)] == [
        "numpy",
        "pandas",
        "scikit-learn",
        "skops",
    ]
    assert plan_requirements("onnx", ["onnxruntime>=1", "NumPy<3"]) == ("NumPy<3", "onnxruntime>=1")
    assert plan_requirements("onnx", ["onnxruntime-gpu", "numpy"]) == ("numpy", "onnxruntime-gpu")
    assert "onnxruntime-gpu" in plan_requirements("onnx", None, device="cuda")
    assert any(r.startswith("PyYAML==") for r in plan_requirements("onnx", None, {"yaml", "not_installed_here"}))


def test_names_that_yaml_would_misread_are_quoted() -> None:
    tensors = tuple(ProbedTensor(name=name, dtype="bool", shape=()) for name in ("a", "a b", "1", "no", 'q"', "/x:0"))
    yaml = pytest.importorskip("yaml")
    text = render_signature(tensors, tensors)
    read = yaml.safe_load(text)["signature"]["inputs"]
    assert [entry["name"] for entry in read] == [t.name for t in tensors]
    assert "DTYPE" in render_signature(Probe().inputs, None)


def test_text_pipelines_take_what_the_spec_says(tmp_path: Path, resolve: Any) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear_model = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    skops_io = pytest.importorskip("skops.io")
    words, labels = ["good day", "bad day", "good", "bad"], [1, 0, 1, 0]
    fitted = pipeline.make_pipeline(text.CountVectorizer(), linear_model.LogisticRegression()).fit(words, labels)
    skops_io.dump(fitted, tmp_path / "m.skops")
    keys = {"framework": "sklearn", "root": tmp_path}
    with pytest.raises(SpecError, match=r"does not tell its inputs"):
        resolve("m.skops", **keys)
    inputs = [{"name": "text", "dtype": "string", "shape": [-1]}]
    model = resolve("m.skops", signature={"inputs": inputs}, **keys)
    assert reference(model)({"text": ["good", "bad"]})["label"].tolist() == [1, 0]


def test_columns_of_text_and_numbers(tmp_path: Path, resolve: Any) -> None:
    pandas = pytest.importorskip("pandas")
    compose = pytest.importorskip("sklearn.compose")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    linear_model = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    skops_io = pytest.importorskip("skops.io")
    frame = pandas.DataFrame({"the color": ["r", "g", "b", "r"], "size": [1.0, 2.0, 3.0, 4.0]})
    table = compose.ColumnTransformer(
        [("color", preprocessing.OneHotEncoder(), ["the color"])], remainder="passthrough"
    )
    fitted = pipeline.make_pipeline(table, linear_model.LogisticRegression()).fit(frame, [0, 1, 1, 0])
    skops_io.dump(fitted, tmp_path / "m.skops")
    keys = {"framework": "sklearn", "root": tmp_path}
    color = {"name": "the color", "dtype": "string", "shape": [-1]}
    size = {"name": "size", "dtype": "float32", "shape": [-1]}
    model = resolve("m.skops", signature={"inputs": [size, color]}, **keys)
    assert [t.name for t in model.signature.inputs] == ["the color", "size"]
    assert any(r.startswith("pandas==") for r in model.requirements)
    answer = reference(model)({"size": [1, 2], "the color": ["r", "g"]})
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(frame[:2]), atol=1e-6)
    with pytest.raises(SpecError, match=r"'size' stands on one side only"):
        resolve("m.skops", signature={"inputs": [color]}, **keys)
    with pytest.raises(SpecError, match=r"'size' is one column; write shape: \[-1\]"):
        resolve("m.skops", signature={"inputs": [color, {**size, "shape": [-1, 2]}]}, **keys)


def test_classifiers_of_several_targets_give_labels(tmp_path: Path, resolve: Any) -> None:
    tree = pytest.importorskip("sklearn.tree")
    joblib = pytest.importorskip("joblib")
    fitted = tree.DecisionTreeClassifier().fit(np.eye(4), [["a", "x"], ["b", "x"], ["a", "y"], ["b", "y"]])
    joblib.dump(fitted, tmp_path / "m.joblib")
    model = resolve("m.joblib", framework="sklearn", root=tmp_path, model={"trust": True})
    assert [str(t) for t in model.signature.outputs] == ["label: string[?, 2]"]
    assert reference(model)({"features": np.eye(4)[:1]})["label"].tolist() == [["a", "x"]]


def test_exported_programs_with_nested_inputs_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Nested(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def forward(self, pair: Any) -> Any:
            return pair[0] + pair[1]

    torch.export.save(torch.export.export(Nested(), ([torch.zeros(2), torch.zeros(2)],)), tmp_path / "m.pt2")
    with pytest.raises(SpecError, match=r"takes lists or dicts of tensors"):
        probe("exported_program", tmp_path / "m.pt2")
