"""A folder of small PyTorch files, and specs over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.model import Model
from modelport.resolve import resolve_model
from modelport.spec.schema import ModelSpec

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor):
        y = self.fc(pixels) * mask
        return {"prob": torch.softmax(y, -1), "arg": y.argmax(-1)}
"""


@pytest.fixture(scope="session")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as state dict, exported program, TorchScript and pickled module, and samples for it."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("torch_files")
    (folder / "net.py").write_text(NET)
    space: dict[str, Any] = {"__name__": "net"}
    exec(NET, space)
    torch.manual_seed(0)
    net = space["Net"]().eval()
    torch.save(net.state_dict(), folder / "weights.pt")
    torch.save(net.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(4, 3), folder / "module.pt")
    rows = torch.export.Dim("rows", min=1)
    shapes = {"pixels": {0: rows}, "mask": {0: rows}}
    program = torch.export.export(net, (torch.zeros(2, 4), torch.zeros(2, 3)), dynamic_shapes=shapes)
    torch.export.save(program, folder / "program.pt2")
    fixed = torch.export.export(torch.nn.Linear(4, 3).half(), (torch.zeros(1, 4).half(),))
    torch.export.save(fixed, folder / "fixed.pt2")
    torch.jit.trace(net, (torch.zeros(2, 4), torch.zeros(2, 3)), strict=False).save(folder / "script.pt")
    torch.jit.trace(torch.nn.Linear(4, 3), torch.zeros(2, 4)).save(folder / "linear.pt")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "samples.npz",
        pixels=rng.random((5, 4), np.float32),
        mask=np.ones((5, 3), np.float32),
        labels=np.arange(5),
    )
    return folder


Resolve = Callable[..., Model]


@pytest.fixture
def resolve(torch_files: Path) -> Resolve:
    """Resolve a spec made of keywords, over `torch_files` or another ``root``."""

    def run(source: str, *, framework: str = "pytorch", root: Path = torch_files, **keys: Any) -> Model:
        model = {"framework": framework, "source": source, **keys.pop("model", {})}
        raw = {"modelport": 1, "name": "m", "version": "1", "model": model, **keys}
        return resolve_model(ModelSpec.model_validate(raw), root)

    return run
