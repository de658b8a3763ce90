"""From a spec to a model: what both sides say, and what is said when they do not agree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.describe import describe_model
from modelport.errors import SpecError
from modelport.frameworks import reference
from modelport.model import Model
from modelport.resolve import collect_files, digest_source
from modelport.samples import load_samples

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
Resolve = Callable[..., Model]
PIXELS = {"name": "pixels", "dtype": "float32", "shape": [-1, 4]}
MASK = {"name": "mask", "dtype": "float32", "shape": [-1, 3]}
OUTPUTS = [
    {"name": "prob", "dtype": "float32", "shape": [-1, 3]},
    {"name": "arg", "dtype": "int64", "shape": [-1]},
]


def shown(tensors: Any) -> list[str]:
    return [str(tensor) for tensor in tensors]


def test_an_exported_program_tells_all(resolve: Resolve, torch_files: Path) -> None:
    model = resolve("program.pt2")
    assert model.format == "exported_program"
    assert shown(model.signature.inputs) == ["pixels: float32[?, 4]", "mask: float32[?, 3]"]
    assert shown(model.signature.outputs) == ["prob: float32[?, 3]", "arg: int64[?]"]
    assert model.served == model.signature
    assert list(model.files) == ["program.pt2"]
    assert model.files["program.pt2"].sha256 == hashlib.sha256((torch_files / "program.pt2").read_bytes()).hexdigest()
    assert [r.partition("==")[0] for r in model.requirements] == ["numpy", "torch"]
    assert not any("+" in requirement for requirement in model.requirements)


def test_resolving_imports_no_framework(torch_files: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modelport.resolve import resolve_model\n"
        "from modelport.spec.schema import ModelSpec\n"
        "raw = {'modelport': 1, 'name': 'm', 'version': '1',"
        " 'model': {'framework': 'pytorch', 'source': 'program.pt2'}, 'samples': 'samples.npz'}\n"
        "resolve_model(ModelSpec.model_validate(raw), Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'tensorflow', 'onnx', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(torch_files)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_outputs_are_learned_from_samples(resolve: Resolve) -> None:
    model = resolve("script.pt", signature={"inputs": [PIXELS, MASK]}, samples="samples.npz")
    assert shown(model.signature.outputs) == ["prob: float32[?, 3]", "arg: int64[?]"]


def test_a_state_dict_with_its_code_answers(resolve: Resolve) -> None:
    keys = {"signature": {"inputs": [MASK, PIXELS], "outputs": OUTPUTS}, "samples": "samples.npz"}
    model = resolve("weights.pt", model={"entrypoint": "net:Net"}, **keys)
    assert list(model.code) == ["net.py"]
    assert [t.name for t in model.signature.inputs] == ["pixels", "mask"]
    assert model.samples is not None
    samples = load_samples(model.samples.path, model.served)
    answer = reference(model)(samples.request(0, 2))
    assert answer["prob"].shape == (2, 3)
    np.testing.assert_allclose(answer["prob"].sum(-1), 1, atol=1e-6)
    with pytest.raises(SpecError, match=r"'pixels' must have shape"):
        reference(model)({"pixels": [[1]], "mask": [[1, 1, 1]]})


@pytest.mark.parametrize("file", ["weights.pt", "legacy.pt"])
def test_a_state_dict_needs_an_entrypoint(resolve: Resolve, file: str) -> None:
    with pytest.raises(SpecError, match=r"name the class that they belong to"):
        resolve(file)


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [
        ("nett:Net", "nett.py: no such file"),
        ("net:Nett", "no class is called 'Nett'; there are: Net"),
    ],
)
def test_wrong_entrypoints(resolve: Resolve, entrypoint: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve("weights.pt", model={"entrypoint": entrypoint})


def test_what_a_model_does_not_tell_is_asked_for_ready_to_paste(resolve: Resolve) -> None:
    with pytest.raises(SpecError) as caught:
        resolve("linear.pt")
    assert str(caught.value).endswith(
        "signature:\n  inputs:\n    - {name: input, dtype: DTYPE, shape: [-1, SIZE]}\n"
        "  outputs:\n    - {name: output_0, dtype: DTYPE, shape: [-1, SIZE]}"
    )
    with pytest.raises(SpecError, match=r"- \{name: pixels, dtype: float32, shape: \[-1, 4\]\}"):
        resolve("script.pt", samples="samples.npz")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([PIXELS], "the spec declares 1 .*, but the model takes 2: 'pixels', 'mask'"),
        ([PIXELS, {**MASK, "dtype": "float64"}], "'mask': the spec says float64, but the model has float32"),
        ([PIXELS, {**MASK, "shape": [-1, 5]}], r"the spec says \[\?, 5\], but the model has \[\?, 3\]"),
        ([PIXELS, {**MASK, "shape": [-1, -1]}], r"write shape: \[-1, 3\]"),
        ([PIXELS, {**MASK, "shape": [-1]}], "the spec says"),
        ([PIXELS, {**MASK, "name": "b"}], "no input called 'b'; write 'mask' instead"),
    ],
)
def test_contradictions(resolve: Resolve, inputs: list[Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve("program.pt2", signature={"inputs": inputs})


def test_a_fixed_size_may_be_promised_of_a_dynamic_one_only(resolve: Resolve) -> None:
    narrowed = [{**PIXELS, "shape": [1, 4]}, {**MASK, "shape": [1, 3]}]
    assert shown(resolve("program.pt2", signature={"inputs": narrowed}).signature.inputs)[0] == "pixels: float32[1, 4]"
    with pytest.raises(SpecError, match=r"the spec says \[\?, 4\], but the model has \[1, 4\]"):
        resolve("fixed.pt2", signature={"inputs": [{"name": "input", "dtype": "float16", "shape": [-1, 4]}]})


def test_torch_takes_other_names_by_position(resolve: Resolve) -> None:
    renamed = {"inputs": [{**PIXELS, "name": "a b"}, {**MASK, "name": "c/d"}]}
    model = resolve("program.pt2", signature=renamed)
    assert [t.name for t in model.signature.inputs] == ["a b", "c/d"]
    answer = reference(model)({"a b": np.ones((1, 4)), "c/d": np.ones((1, 3))})
    assert list(answer) == ["prob", "arg"]


def test_digests(resolve: Resolve, torch_files: Path) -> None:
    right = hashlib.sha256((torch_files / "program.pt2").read_bytes()).hexdigest()
    assert resolve("program.pt2", model={"sha256": right}).files["program.pt2"].sha256 == right
    with pytest.raises(SpecError, match=f"has {right}, the spec says {'0' * 64}"):
        resolve("program.pt2", model={"sha256": "0" * 64})


def broken(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


def test_broken_files(resolve: Resolve, torch_files: Path, tmp_path: Path) -> None:
    whole = (torch_files / "script.pt").read_bytes()
    cases = {
        broken(tmp_path, "cut.pt", whole[:700]): "a broken or truncated file",
        broken(tmp_path, "empty.pt", b""): r"an empty file \(0 bytes\)",
        broken(tmp_path, "text.pt", b"hello, world"): "no model file that is known",
        "missing.pt": "no such file or folder",
        "models:/digits@champion": "mlflow artifacts download",
        "https://example.org/m.pt": "curl -fLO",
        broken(tmp_path, "m.mar", b"PK"): "unzip m.mar",
        ".": "a folder without saved_model.pb",
    }
    for source, words in cases.items():
        with pytest.raises(SpecError, match=words):
            resolve(source, root=tmp_path)
    with pytest.raises(SpecError, match=r"did you mean text.pt"):
        resolve("texts.pt", root=tmp_path)
    shutil.copy(torch_files / "module.pt", tmp_path)
    with pytest.raises(SpecError, match=r"holds an object of torch.nn.modules.linear.Linear, which runs code"):
        resolve("module.pt", root=tmp_path, model={"entrypoint": "net:Net"})
    with pytest.raises(SpecError, match=r"this is an exported program of PyTorch, not a model of onnx"):
        resolve("program.pt2", framework="onnx")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pixels": np.ones((2, 5)), "mask": np.ones((2, 3))}, "'pixels' must have shape"),
        ({"pixels": np.ones((2, 4))}, "missing: 'mask'"),
        ({"pixels": np.ones((2, 4)), "mask": np.ones((3, 3))}, "equally long"),
        ({"pixels": np.ones((0, 4)), "mask": np.ones((0, 3))}, "empty batch"),
        ({"pixels": np.ones((2, 4)), "mask": np.ones((2, 3)), "z": np.ones(2)}, "'z' is no input, no output"),
        ({"pixels": np.ones((2, 4)), "mask": np.ones((2, 3)), "arg": np.ones(3, int)}, "'arg' has 3 rows"),
        ({"pixels": np.ones((2, 4)), "mask": np.ones((2, 3)), "labels": np.ones(1)}, "'labels' has 1 rows"),
        ({"labels": np.ones(1)}, "holds no inputs"),
    ],
)
def test_samples_that_do_not_fit(
    resolve: Resolve, torch_files: Path, tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    shutil.copy(torch_files / "program.pt2", tmp_path)
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(SpecError, match=words):
        resolve("program.pt2", root=tmp_path, samples="s.npz")


TRANSFORM = """
import helper

class T:
    def preprocess(self, inputs):
        return {"pixels": inputs["pixels"] / 16, "mask": inputs["mask"]}
"""


@pytest.fixture
def project(torch_files: Path, tmp_path: Path) -> Path:
    for name in ("program.pt2", "samples.npz"):
        shutil.copy(torch_files / name, tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "t.py").write_text(TRANSFORM)
    (tmp_path / "code" / "helper.py").write_text("import pandas\nimport json\n")
    return tmp_path


def test_a_transform_rides_with_what_it_imports(resolve: Resolve, project: Path) -> None:
    model = resolve("program.pt2", root=project, transform="code/t.py:T", samples="samples.npz")
    assert model.transform is not None
    assert model.transform.path == project / "code" / "t.py"
    assert list(model.code) == ["helper.py"]
    assert describe_model(model, source="m").transform == "t.py:T"
    assert any(requirement.startswith("pandas==") for requirement in model.requirements)
    assert model.served_known
    answer = reference(model)({"pixels": np.ones((1, 4)), "mask": np.ones((1, 3))})
    assert answer["prob"].shape == (1, 3)


def test_what_a_transform_takes_is_known_only_where_declared_or_shown(resolve: Resolve, project: Path) -> None:
    assert not resolve("program.pt2", root=project, transform="code/t.py:T").served_known
    np.savez(project / "other.npz", text=np.array(["a"]))
    unknown = resolve("program.pt2", root=project, transform="code/t.py:T", samples="other.npz")
    assert not unknown.served_known
    section = {"source": "code/t.py:T", "inputs": [{"name": "text", "dtype": "string", "shape": [-1]}]}
    declared = resolve("program.pt2", root=project, transform=section, samples="other.npz")
    assert declared.served_known
    assert shown(declared.served.inputs) == ["text: string[?]"]
    assert declared.served.outputs == declared.signature.outputs
    with pytest.raises(SpecError, match=r"samples.npz: holds 'pixels', 'mask'; a request holds 'text'"):
        resolve("program.pt2", root=project, transform=section, samples="samples.npz")


def test_transforms_that_cannot_be(resolve: Resolve, project: Path) -> None:
    (project / "bad.py").write_text("class Nothing:\n    pass\n")
    (project / "syntax.py").write_text("class T(:\n")
    for transform, words in {
        "bad.py:Nothing": "has neither preprocess nor postprocess",
        "bad.py:T": "no class is called 'T'; there are: Nothing",
        "gone.py:T": "gone.py: no such file",
        "syntax.py:T": "no Python that can be read",
    }.items():
        with pytest.raises(SpecError, match=words):
            resolve("program.pt2", root=project, transform=transform)


def test_a_transform_s_data_lies_beside_it(resolve: Resolve, project: Path) -> None:
    (project / "code" / "empty").mkdir()
    (project / "secret.txt").write_text("x")
    (project / "code" / "link.txt").symlink_to(project / "secret.txt")
    (project / "code" / "words.txt").write_text("a b")
    model = resolve("program.pt2", root=project, transform={"source": "code/t.py:T", "files": ["words.txt"]})
    assert list(model.code) == ["helper.py", "words.txt"]
    for name, words in {
        "gone.txt": "gone.txt: no such file",
        "empty": "empty: an empty folder",
        "../secret.txt": "lies outside",
        "link.txt": "lies outside",
    }.items():
        with pytest.raises(SpecError, match=f"transform.files: .*{words}"):
            resolve("program.pt2", root=project, transform={"source": "code/t.py:T", "files": [name]})


def test_requirements_are_the_specs_and_what_the_format_needs(resolve: Resolve) -> None:
    given = {"requirements": ["torch==2.0", "Requests[socks]>=2"]}
    found = resolve("program.pt2", environment=given).requirements
    assert "torch==2.0" in found
    assert "Requests[socks]>=2" in found
    assert [r.partition("==")[0] for r in found if "==" in r] == ["numpy", "torch"]


def test_folders_have_the_digest_that_the_shell_prints(tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/b", "variables.index", "Z"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    shell = "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert digest_source(tmp_path, collect_files(tmp_path, "saved_model")) == done.stdout.split()[0]


@pytest.mark.parametrize("file", ["program.pt2", "script.pt", "weights.pt"])
def test_damage_inside_is_one_clear_error(resolve: Resolve, torch_files: Path, tmp_path: Path, file: str) -> None:
    whole = (torch_files / file).read_bytes()
    shutil.copy(torch_files / "net.py", tmp_path)
    entrypoint = {"entrypoint": "net:Net"} if file == "weights.pt" else {}
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        start = int(rng.integers(0, len(data) - 40))
        data[start : start + 40] = rng.bytes(40)
        (tmp_path / "m.pt").write_bytes(data)
        try:
            resolve("m.pt", root=tmp_path, signature={"inputs": [PIXELS, MASK], "outputs": OUTPUTS}, model=entrypoint)
        except SpecError:
            continue
