"""PyTorch models of all three formats, loaded as an artifact loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, ModelFailed
from modelport_runtime.description import ModelDescription
from modelport_runtime.engines.binding import ModelError
from modelport_runtime.runtime import Runtime
from modelport_runtime.signature import DTYPES, Signature, TensorSpec

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor):
        pixels.mul_(1.0)
        y = self.drop(self.fc(pixels)) * mask
        return {"prob": torch.softmax(y, -1), "arg": y.argmax(-1)}
"""


def spec(name: str, dtype: str = "float32", shape: tuple[int | None, ...] = (None,)) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


MASK, PIXELS = spec("mask", shape=(None, 3)), spec("pixels", shape=(None, 4))
BOTH = Signature(inputs=(MASK, PIXELS), outputs=(spec("arg", "int64"), spec("prob", shape=(None, 3))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    (folder / "net.py").write_text(NET)
    space: dict[str, Any] = {}
    exec(NET.replace("pixels.mul_(1.0)", ""), space)
    torch.manual_seed(0)
    net = space["Net"]().eval()
    torch.save(net.state_dict(), folder / "state_dict.pt")
    rows = torch.export.Dim("rows", min=1)
    pixels, mask = torch.zeros(2, 4), torch.zeros(2, 3)
    shapes = {"pixels": {0: rows}, "mask": {0: rows}}
    torch.export.save(torch.export.export(net, (pixels, mask), dynamic_shapes=shapes), folder / "exported_program.pt2")
    keyword = torch.export.export(net, (pixels,), {"mask": mask}, dynamic_shapes=shapes)
    torch.export.save(keyword, folder / "keyword.pt2")
    traced = torch.jit.trace(net, (pixels, mask), strict=False)
    traced.save(folder / "torchscript.pt")
    return folder


def load(folder: Path, file: str, kind: str, signature: Signature, **changes: Any) -> Runtime:
    description = ModelDescription(
        name="m", version="1", format=kind, source=file, signature=signature, served=signature, **changes
    )
    (folder / "modelport.json").write_text(description.to_text())
    return Runtime.load(folder)


FILES = {
    "state_dict": "state_dict.pt",
    "exported_program": "exported_program.pt2",
    "torchscript": "torchscript.pt",
    "keyword": "keyword.pt2",
}


def load_kind(folder: Path, kind: str, signature: Signature) -> Runtime:
    entrypoint = "net:Net" if kind == "state_dict" else None
    format_ = "exported_program" if kind == "keyword" else kind
    return load(folder, FILES[kind], format_, signature, entrypoint=entrypoint)


@pytest.mark.parametrize("kind", FILES)
def test_all_formats_answer_alike_by_name_and_by_position(folder: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels, mask = rng.random((5, 4), np.float32), rng.random((5, 3), np.float32)
    before = pixels.copy()
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    logits = (pixels @ state["fc.weight"].numpy().T + state["fc.bias"].numpy()) * mask
    wanted = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    answer = load_kind(folder, kind, BOTH).predict({"mask": mask, "pixels": pixels})
    assert list(answer) == ["arg", "prob"]
    np.testing.assert_allclose(answer["prob"], wanted, atol=1e-6)
    assert answer["arg"].tolist() == wanted.argmax(-1).tolist()
    renamed = Signature(
        inputs=(spec("in/1", shape=(None, 4)), spec("in 2", shape=(None, 3))),
        outputs=(spec("p", shape=(None, 3)), spec("a.b", "int64")),
    )
    by_position = load_kind(folder, kind, renamed).predict({"in/1": pixels, "in 2": mask})
    np.testing.assert_array_equal(by_position["p"], answer["prob"])
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("kind", ["state_dict", "torchscript"])
def test_a_partial_overlap_of_names_is_refused(folder: Path, kind: str) -> None:
    with pytest.raises(ModelError, match=r"'x' of the signature are no arguments of the model"):
        load_kind(folder, kind, Signature(inputs=(PIXELS, spec("x", shape=(None, 3))), outputs=BOTH.outputs))


def test_a_batch_is_joined_and_split(folder: Path) -> None:
    runtime = load_kind(folder, "torchscript", BOTH)
    requests = [{"pixels": np.full((n, 4), n), "mask": np.ones((n, 3))} for n in (1, 2)]
    requests.insert(1, {"pixels": [[1, 2, 3]], "mask": [[1, 1, 1]]})
    first, bad, last = runtime.predict_many(requests)
    assert isinstance(bad, InvalidInput)
    np.testing.assert_allclose(first["prob"], runtime.predict(requests[0])["prob"], atol=1e-6)
    assert last["prob"].shape == (2, 3)


class Identity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity")
    torch.jit.script(Identity()).save(folder / "m.pt")
    return folder


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "string"])
def test_every_dtype_passes_through(identity: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = spec("x", dtype, (None,) * len(shape))
    runtime = load(
        identity, "m.pt", "torchscript", Signature(inputs=(tensor,), outputs=(spec("y", dtype, tensor.shape),))
    )
    value = np.ones(shape, dtype=dtype)
    value.setflags(write=False)
    answer = runtime.predict({"x": value})["y"]
    assert answer.dtype == dtype
    assert np.array_equal(answer, value)


def test_text_is_refused_when_the_model_is_loaded(identity: Path) -> None:
    signature = Signature(inputs=(spec("x", "string"),), outputs=(spec("y", "string"),))
    with pytest.raises(ModelError, match=r"'x' is text, which PyTorch has no tensors for"):
        load(identity, "m.pt", "torchscript", signature)


def test_a_wrong_dtype_in_the_signature_is_told(identity: Path) -> None:
    runtime = load(identity, "m.pt", "torchscript", Signature(inputs=(spec("x"),), outputs=(spec("y", "int64"),)))
    with pytest.raises(
        ModelFailed, match=r"the model contradicts the signature: output 'y' must be int64, got float32"
    ):
        runtime.predict({"x": [1.0]})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(identity: Path) -> None:
    with pytest.raises(ModelError, match=r"finds no CUDA device"):
        load(
            identity,
            "m.pt",
            "torchscript",
            Signature(inputs=(spec("x"),), outputs=(spec("y"),)),
            device="cuda",
        )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"state": {}, "epoch": 3}, "is no state dict"),
        (lambda: {"other.weight": torch.zeros(2)}, "does not fit net:Net: .*Missing key"),
    ],
)
def test_state_dicts_that_do_not_fit(folder: Path, make: Callable[[], Any], words: str) -> None:
    torch.save(make(), folder / "wrong.pt")
    with pytest.raises(ModelError, match=words):
        load(folder, "wrong.pt", "state_dict", BOTH, entrypoint="net:Net")


def test_a_pickled_module_is_not_unpickled(folder: Path) -> None:
    torch.save(Identity(), folder / "whole.pt")
    with pytest.raises(ModelError, match=r"cannot load it as state_dict: Weights only load failed"):
        load(folder, "whole.pt", "state_dict", BOTH, entrypoint="net:Net")
