"""What a Bento will hold, planned as data."""

import ast
import io
import json

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from modelport.artifact import copied
from modelport.errors import SpecError
from modelport.plan import Converted, Copied
from modelport_bentoml.backend import BentoMLBackend
from modelport_bentoml.tag import bento_tag
from modelport_runtime.signature import Signature, TensorSpec

BACKEND = BentoMLBackend()
EVERYTHING = {
    "description": 'Doubles "numbers"\nand says so in two lines: {braces} too',
    "serving": {
        "batching": {"max_size": 8, "max_delay_ms": 20},
        "workers": 2,
        "timeout_s": 7,
        "max_request_mb": 3,
    },
    "environment": {"python": "3.12"},
}
OPTIONS = {
    "max_concurrency": 64,
    "threads": 2,
    "labels": {"team": "vision", "stage": "test"},
    "image": {"base": "registry.example/python:3.12", "system_packages": ["libgomp1"]},
}


def plan(model, options=None):
    return BACKEND.plan(model, BACKEND.parse_options(options or {}))


def contents(made):
    return {file.path: file.content for file in made.files}


def text(made, path):
    return contents(made)[path].data.decode()


@pytest.mark.parametrize(
    ("name", "version", "tag"),
    [
        ("digits", "1.2.0", "digits:1.2.0"),
        ("Digits.V", "1.2.0+CPU", "digits.v:1.2.0-cpu"),
        ("a_", "1-", "a:1"),
    ],
)
def test_tags_follow_bentoml(name, version, tag):
    assert str(bento_tag(name, version)) == tag


def test_a_changed_name_is_said_at_plan_time(make_model):
    assert plan(make_model()).facts["bento"] == "doubler:1.2.0"
    made = plan(make_model(spec={"name": "Doubler", "version": "1.0+a"}))
    assert any("doubler:1.0-a" in warning for warning in made.warnings)
    assert "doubler-1.0-a.bento" in contents(made)


def test_the_texts_of_a_small_project(make_model, golden):
    made = plan(make_model())
    golden("bentoml/service_small.py.txt", text(made, "project/service.py"))
    golden("bentoml/bentofile_small.yaml", text(made, "project/bentofile.yaml"))
    assert text(made, "project/requirements.txt") == "numpy==2.0.0\nonnxruntime==1.20.0\n"


def test_the_texts_of_a_project_that_asks_for_everything(make_model, golden):
    made = plan(make_model(spec=EVERYTHING), OPTIONS)
    golden("bentoml/service_full.py.txt", text(made, "project/service.py"))
    golden("bentoml/bentofile_full.yaml", text(made, "project/bentofile.yaml"))
    readme = text(made, "project/README.md")
    assert "{braces}" in readme
    assert "input `a b/c.d: float32[?, 3]`" in readme


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_the_service_is_python_whatever_the_description_holds(make_model, options):
    made = plan(make_model(spec={"description": '"""\\\n\x07{x}"\'é'}), options)
    tree = ast.parse(text(made, "project/service.py"))
    service = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    assert ast.get_docstring(service, clean=False) == '"""\\\n\x07{x}"\'é'


def test_the_description_tells_the_runtime_everything(make_model):
    made = plan(make_model(spec=EVERYTHING), OPTIONS)
    raw = json.loads(text(made, "project/model/modelport.json"))
    assert raw["source"] == "model.weights/net.onnx"
    assert raw["max_request_bytes"] == 3 * 2**20
    assert raw["max_batch_size"] == 8
    assert raw["threads"] == 2
    assert raw["samples"] is None


def test_the_weights_are_copied_and_the_bento_is_built(make_model):
    made = contents(plan(make_model()))
    for path in ("project/model/model.weights/net.onnx", "home/bentos/doubler/1.2.0/src/model/model.weights/net.onnx"):
        assert isinstance(made[path], Copied)
    for path in ("bento.yaml", "src/bentofile.yaml", "src/modelport_runtime/runtime.py", "apis/openapi.yaml"):
        assert isinstance(made[f"home/bentos/doubler/1.2.0/{path}"], Converted)
    assert isinstance(made["doubler-1.2.0.bento"], Converted)
    assert not any("torchserve" in path for path in made)


def test_a_model_of_a_folder_keeps_its_tree(make_model, tmp_path):
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    for path in ("saved_model.pb", "variables/variables.index"):
        (folder / path).write_bytes(path.encode())
    files = {path: copied(folder / path) for path in ("saved_model.pb", "variables/variables.index")}
    made = plan(make_model(format="saved_model", source=folder, files=files))
    assert "project/model/model.weights/variables/variables.index" in contents(made)
    assert json.loads(text(made, "project/model/modelport.json"))["source"] == "model.weights"


def test_a_model_of_several_files_is_found_among_them(make_model, tmp_path):
    (tmp_path / "big.data").write_bytes(b"tensors outside of net.onnx")
    (tmp_path / "net.onnx").write_bytes(b"weights")
    files = {name: copied(tmp_path / name) for name in ("big.data", "net.onnx")}
    made = plan(make_model(files=files))
    assert json.loads(text(made, "project/model/modelport.json"))["source"] == "model.weights/net.onnx"
    assert {"project/model/model.weights/big.data", "project/model/model.weights/net.onnx"} <= contents(made).keys()


def test_code_and_transform_lie_beside_the_description(make_model, tmp_path):
    for name in ("net.py", "transform.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    made = plan(
        make_model(
            spec={"transform": "transform.py:Transform"},
            code={"net.py": copied(tmp_path / "net.py")},
            transform=copied(tmp_path / "transform.py"),
        )
    )
    assert {"project/model/net.py", "project/model/transform.py"} <= contents(made).keys()
    assert json.loads(text(made, "project/model/modelport.json"))["transform"] == "transform.py:Transform"


def test_two_files_of_one_name_are_refused(make_model, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text("one")
    (tmp_path / "net.py").write_text("another")
    model = make_model(
        spec={"transform": "net.py:Transform"},
        code={"net.py": copied(tmp_path / "code" / "net.py")},
        transform=copied(tmp_path / "net.py"),
    )
    with pytest.raises(SpecError, match=r"net\.py: two different files"):
        plan(model)


def test_a_few_samples_ride_along(make_model, tmp_path):
    rows = np.arange(300, dtype=np.float32).reshape(100, 3)
    np.savez(tmp_path / "samples.npz", **{"a b/c.d": rows, "labels": np.zeros(100)})
    model = make_model(
        spec={"samples": "samples.npz", "serving": {"batching": {"max_size": 4}}},
        samples=copied(tmp_path / "samples.npz"),
    )
    made = plan(model)
    packed = np.load(io.BytesIO(contents(made)["project/model/samples.npz"].data))
    assert packed.files == ["a b/c.d"]
    np.testing.assert_array_equal(packed["a b/c.d"], rows[:4])
    assert not made.warnings


def test_without_samples_the_plan_says_what_ready_means(make_model):
    assert any("samples" in warning for warning in plan(make_model()).warnings)


def test_batching_needs_a_dynamic_first_axis(make_model):
    fixed = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 3)),),
    )
    with pytest.raises(SpecError, match=r"serving\.batching: .*x: float32\[1, 3\]"):
        plan(make_model(spec={"serving": {"batching": {}}}, signature=fixed))
    plan(make_model(signature=fixed))


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0},
        {"max_concurency": 1},
        {"labels": {"a b": "c"}},
        {"image": {"system_packages": ["curl; rm"]}},
        {"image": {"base": "x\nRUN y"}},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        BACKEND.parse_options(options)


def test_labels_are_sorted_whatever_their_order(make_model):
    both = [plan(make_model(), {"labels": labels}) for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})]
    first, second = (text(made, "project/bentofile.yaml") for made in both)
    assert first == second
    assert yaml.safe_load(first)["labels"] == {"a": "1", "b": "2"}
