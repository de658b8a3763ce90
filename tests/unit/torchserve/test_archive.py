"""The archive: members, manifest, and the same bytes wherever it is built."""

import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelport.artifact import copied, write_files
from modelport.errors import SpecError
from modelport.plan import Generated
from modelport.spec.schema import ModelSpec
from modelport_runtime.codec import NPZ, decode
from modelport_runtime.description import ModelDescription
from modelport_runtime.signature import Signature, TensorSpec
from modelport_torchserve.backend import TorchServeBackend


def build(model, folder, raw=None):
    backend = TorchServeBackend()
    backend.build(backend.plan(model, backend.parse_options(raw or {})), folder)
    return folder / "model-store" / f"{model.spec.name}.mar"


def with_spec(model, /, **changes):
    raw = {**model.spec.model_dump(mode="json", exclude_none=True), **changes}
    return replace(model, spec=ModelSpec.model_validate(raw))


def members(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def manifest(archive):
    return json.loads(members(archive)["MAR-INF/MANIFEST.json"])


def test_members(make_model, tmp_path):
    found = members(build(make_model(), tmp_path / "out"))
    runtime = {name for name in found if name.startswith("modelport_runtime/")}
    assert found.keys() - runtime == {
        "MAR-INF/MANIFEST.json", "model.pt", "modelport.json", "modelport_handler.py", "requirements.txt",
    }  # fmt: skip
    assert {"modelport_runtime/runtime.py", "modelport_runtime/engines/__init__.py"} <= runtime
    assert not any("__pycache__" in name for name in found)
    assert found["requirements.txt"] == b"numpy==2.0.0\ntorch==2.13.0\n"


def test_handler_is_one_class_that_imports_nothing_of_ours(make_model, tmp_path):
    source = members(build(make_model(), tmp_path / "out"))["modelport_handler.py"].decode()
    classes = [line for line in source.splitlines() if line.startswith("class ")]
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert classes == ["class ModelportHandler:"]
    assert not any("modelport" in line or line.startswith("from .") for line in imports)


def test_description(make_model, tmp_path):
    model = make_model(
        labels=["a", "b"], serving={"batching": {"max_size": 8}, "max_request_mb": 2}, environment={"device": "cuda"}
    )
    found = members(build(model, tmp_path / "out", {"threads": 3}))
    (tmp_path / "modelport.json").write_bytes(found["modelport.json"])
    said = ModelDescription.read(tmp_path)
    assert (said.name, said.version, said.source, said.format) == ("toy", "1.2.0", "model.pt", "torchscript")
    assert (said.max_batch_size, said.max_request_bytes, said.threads) == (8, 2 * 2**20, 3)
    assert (said.device, said.labels, said.samples) == ("cuda", ("a", "b"), None)


def test_folders_keep_their_tree(make_model, tmp_path):
    files = ("saved_model.pb", "variables/variables.index", ".hidden/deep/file", "assets/same", "assets.extra/same")
    found = members(build(make_model(files=files, folder="export"), tmp_path / "out"))
    assert {f"model/{name}" for name in files} <= found.keys()
    assert found["model/.hidden/deep/file"] == b"bytes of .hidden/deep/file"
    assert json.loads(found["modelport.json"])["source"] == "model"
    assert "serializedFile" not in json.loads(found["MAR-INF/MANIFEST.json"])["model"]


def test_transform_rides_beside_the_description(make_model, tmp_path):
    model = with_spec(make_model(transform="lib/pre.py"), transform="lib/pre.py:Pre")
    found = members(build(model, tmp_path / "out"))
    assert found["pre.py"] == b"bytes of lib/pre.py"
    assert json.loads(found["modelport.json"])["transform"] == "pre.py:Pre"


@pytest.mark.parametrize(("file", "reference"), [("lib/pre.py", "lib.pre:Pre"), ("lib/__init__.py", "lib:Pre")])
def test_transform_in_a_package_keeps_its_place(make_model, tmp_path, file, reference):
    found = members(build(with_spec(make_model(transform=file), transform=reference), tmp_path / "out"))
    assert found[file] == f"bytes of {file}".encode()
    assert json.loads(found["modelport.json"])["transform"] == reference


def test_samples_ride_along_as_npz(make_model, tmp_path):
    model = make_model()
    rows = np.arange(300, dtype=np.float32).reshape(100, 3)
    (model.root / "samples.json").write_text(json.dumps({"x": rows.tolist(), "y": [[0, 0]] * 100, "labels": [1] * 100}))
    model = replace(model, samples=copied(model.root / "samples.json"))
    found = members(build(model, tmp_path / "out"))
    warm = decode(found["samples.npz"], NPZ, None, limit=10**6)
    assert warm.keys() == {"x"}
    np.testing.assert_array_equal(warm["x"], rows[:16])
    assert json.loads(found["modelport.json"])["samples"] == "samples.npz"
    batched = with_spec(model, serving={"batching": {"max_size": 4}})
    few = decode(members(build(batched, tmp_path / "few"))["samples.npz"], NPZ, None, limit=10**6)
    assert len(few["x"]) == 4


def test_two_files_of_one_name(make_model, tmp_path):
    model = make_model(files=("modelport_handler.py",))
    with pytest.raises(SpecError, match=r"model.source: its file would be 'modelport_handler.py'"):
        build(model, tmp_path / "out")


def test_own_handler(make_model, tmp_path):
    model = make_model()
    (model.root / "mine.py").write_text("def handle(data, context): return data\n")
    archive = build(model, tmp_path / "out", {"handler": "mine.py:handle"})
    assert manifest(archive)["model"]["handler"] == "mine.py:handle"
    assert "mine.py" in members(archive)
    assert "modelport_handler.py" not in members(archive)


def test_extra_files_lie_at_the_root(make_model, tmp_path):
    model = make_model()
    (model.root / "assets/vocab").mkdir(parents=True)
    (model.root / "assets/__pycache__").mkdir()
    for name in ("index_to_name.json", "assets/config.json", "assets/vocab/words ö.txt", "assets/__pycache__/a.pyc"):
        (model.root / name).write_text(name)
    found = members(build(model, tmp_path / "out", {"extra_files": ["index_to_name.json", "assets"]}))
    expected = {
        "index_to_name.json": b"index_to_name.json",
        "config.json": b"assets/config.json",
        "vocab/words ö.txt": "assets/vocab/words ö.txt".encode(),
    }
    plain = members(build(model, tmp_path / "plain"))
    assert {name: found[name] for name in found.keys() - plain.keys()} == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.json", "no such file or folder"),
        ("empty", "an empty folder"),
        ("code", "its file would be 'modelport.json'.*where the model's description already is"),
    ],
)
def test_extra_files_that_cannot_ride_along(make_model, tmp_path, name, reason):
    model = make_model()
    (model.root / "empty").mkdir()
    (model.root / "code").mkdir()
    (model.root / "code/modelport.json").write_text("{}")
    with pytest.raises(SpecError, match=rf"backends\.torchserve\.extra_files\[0\]: .*{reason}"):
        build(model, tmp_path / "out", {"extra_files": [name]})


def test_what_an_own_handler_leaves_undone_is_told(make_model):
    backend = TorchServeBackend()
    model = make_model(files=("model.pt", "mine.py"), postprocess={"steps": [{"softmax": {"tensor": "y"}}]})
    options = backend.parse_options({"handler": "mine.py:handle", "threads": 2})
    (warning,) = (text for text in backend.plan(model, options).warnings if "unless your own code does it" in text)
    assert warning.startswith("postprocess, backends.torchserve.threads: done by modelport's handler")


def test_own_handler_missing(make_model):
    backend = TorchServeBackend()
    with pytest.raises(SpecError, match=r"backends.torchserve.handler: .*nope.py is not a file"):
        backend.plan(make_model(), backend.parse_options({"handler": "nope.py"}))


def test_batching_needs_a_batch_axis(make_model):
    fixed = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 2)),),
    )
    backend = TorchServeBackend()
    model = make_model(signature=fixed, serving={"batching": {}})
    with pytest.raises(SpecError, match=r"serving.batching: .*x: float32\[1, 3\].*Leave batching out"):
        backend.plan(model, backend.parse_options({}))


def test_gpus_without_cuda(make_model):
    backend = TorchServeBackend()
    with pytest.raises(SpecError, match=r"backends.torchserve.gpus: does nothing with environment.device: cpu"):
        backend.plan(make_model(), backend.parse_options({"gpus": 1}))


def test_plan_touches_nothing(make_model, tmp_path):
    model = make_model()
    before = sorted(tmp_path.rglob("*"))
    plan = TorchServeBackend().plan(model, TorchServeBackend().parse_options({}))
    assert sorted(tmp_path.rglob("*")) == before
    assert [file.path for file in plan.files] == ["config.properties", "model-store/toy.mar"]
    assert any(warning.startswith("samples: none") for warning in plan.warnings)


def test_same_bytes_elsewhere(make_model, tmp_path, monkeypatch):
    model = make_model(files=("b.pt",), code=("net.py",))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = build(model, tmp_path / "one").read_bytes()
    mask = os.umask(0o077)
    try:
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        monkeypatch.setenv("USER", "somebody")
        time.tzset()
        monkeypatch.chdir("/")
        os.utime(model.source, (1, 1))
        second = build(model, tmp_path / "two").read_bytes()
    finally:
        os.umask(mask)
        monkeypatch.undo()
        time.tzset()
    assert first == second


def test_source_date_epoch(make_model, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    archive = build(make_model(), tmp_path / "out")
    assert manifest(archive)["createdOn"] == "14/11/2023 22:13:20"
    with zipfile.ZipFile(archive) as opened:
        assert {entry.date_time for entry in opened.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("code", [(), ("net.py",)])
def test_same_as_torch_model_archiver(make_model, tmp_path, code):
    """The real tool is given the same files; a tree keeps its shape there only below a parent folder."""
    entrypoint = {"entrypoint": "net:Net"} if code else {}
    model = with_spec(make_model(code=code), model={"framework": "pytorch", "source": "model.pt", **entrypoint})
    ours = build(model, tmp_path / "out")
    staged = tmp_path / "staged"
    backend = TorchServeBackend()
    plan = backend.plan(model, backend.parse_options({}))
    write_files(tuple(f for f in plan.files[1].content.members if isinstance(f.content, Generated)), staged)
    (tmp_path / "tree").mkdir()
    (staged / "modelport_runtime").rename(tmp_path / "tree" / "modelport_runtime")
    theirs = archive_with_the_tool(
        tmp_path,
        "--serialized-file", model.source,
        "--handler", staged / "modelport_handler.py",
        "--requirements-file", staged / "requirements.txt",
        "--extra-files", f"{staged / 'modelport.json'},{tmp_path / 'tree'}",
        *(("--model-file", model.root / code[0]) if code else ()),
    )  # fmt: skip
    assert members(ours).keys() == members(theirs).keys()
    for name, data in members(theirs).items():
        if name != "MAR-INF/MANIFEST.json":
            assert members(ours)[name] == data
    differing = {"createdOn": None, "archiverVersion": None}
    assert {**manifest(ours), **differing} == {**manifest(theirs), **differing}
    assert list(manifest(ours)) == list(manifest(theirs))
    assert list(manifest(ours)["model"]) == list(manifest(theirs)["model"])


def archive_with_the_tool(folder, *arguments):
    tool = Path(sys.executable).with_name("torch-model-archiver")
    (folder / "stage").mkdir()
    command = [tool, "--model-name", "toy", "--version", "1.2.0", "--export-path", folder, *arguments]
    environment = {**os.environ, "TMPDIR": str(folder / "stage")}
    subprocess.run(command, check=True, env=environment, timeout=60, capture_output=True)
    return folder / "toy.mar"
