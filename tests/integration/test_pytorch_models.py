"""PyTorch models of the kinds that go wrong, from a spec to the real servers, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning"),
]

FIVE = [
    ("bentoml", "rest"),
    ("tfserving", "grpc"),
    ("tfserving", "rest"),
    ("torchserve", "grpc"),
    ("torchserve", "rest"),
]


@dataclass(frozen=True)
class Project:
    """A folder with a spec, what was built of it, and a cache of its own."""

    folder: Path

    def verify(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Run ``modelport verify --json``; give its exit code and its report."""
        done = subprocess.run(
            [sys.executable, "-m", "modelport", "verify", "modelport.yaml", "-o", "dist", "--json", *options],
            cwd=self.folder,
            env={**os.environ, "MODELPORT_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.stdout, done.stderr[-3000:]
        return done.returncode, json.loads(done.stdout)

    def write(self, spec: Mapping[str, Any], samples: Mapping[str, np.ndarray]) -> None:
        """Write the spec and its samples."""
        np.savez(self.folder / "samples.npz", **samples)
        raw = {"modelport": 1, "name": "net", "version": "1.0.0", "samples": "samples.npz", **spec}
        (self.folder / "modelport.yaml").write_text(yaml.safe_dump(raw))


@dataclass(frozen=True)
class Verified:
    """A project, the bytes of one of its weights, and what the first ``verify`` gave."""

    project: Project
    weight: bytes
    code: int
    report: dict[str, Any]


def tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


NET = """
from dataclasses import dataclass
import torch
from parts import Scaled

@dataclass
class Answer:
    low: torch.Tensor
    high: torch.Tensor
    loss: torch.Tensor | None = None

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x, shift=None, scale=None):
        y = self.scaled(x, scale) if shift is None else x + shift
        return Answer(low=y - 1, high=y + 1)
"""

PARTS = """
import torch

class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 4)

    def forward(self, x, scale):
        return self.line(x) * scale
"""


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """A state dict whose inputs and outputs bind by name only, built and verified on every backend."""
    folder = tmp_path_factory.mktemp("by_name")
    (folder / "code").mkdir()
    (folder / "code" / "net.py").write_text(NET)
    (folder / "code" / "parts.py").write_text(PARTS)
    torch.manual_seed(0)
    line = nn.Linear(4, 4)
    torch.save({f"scaled.line.{key}": value for key, value in line.state_dict().items()}, folder / "weights.pt")
    generator = np.random.default_rng(0)
    inputs = {name: generator.standard_normal((6, 4)).astype(np.float32) for name in ("x", "scale")}
    with torch.no_grad():
        right = (line(torch.from_numpy(inputs["x"])) * torch.from_numpy(inputs["scale"])).numpy()
    project = Project(folder)
    project.write(
        {
            "model": {"framework": "pytorch", "source": "weights.pt", "entrypoint": "code/net:Net"},
            "signature": {
                "inputs": [tensor("scale", "float32", -1, 4), tensor("x", "float32", -1, 4)],
                "outputs": [tensor("high", "float32", -1, 4), tensor("low", "float32", -1, 4)],
            },
        },
        {**inputs, "low": right - 1, "high": right + 1},
    )
    code, report = project.verify()
    return Verified(project, line.bias.detach().numpy().tobytes(), code, report)


def test_a_model_that_binds_by_name_answers_alike_everywhere(by_name: Verified) -> None:
    assert (by_name.code, by_name.report["passed"]) == (0, True), by_name.report
    assert sorted((row["backend"], row["protocol"]) for row in by_name.report["rows"]) == FIVE


def test_a_changed_weight_fails_and_is_named(by_name: Verified) -> None:
    project, weight = by_name.project, by_name.weight
    path = next((project.folder / "dist" / "net" / "1.0.0").glob("tfserving/models/net/*/saved_model.pb"))
    data = path.read_bytes()
    assert weight in data
    path.write_bytes(data.replace(weight, bytes([weight[0], weight[1], weight[2] ^ 0x40]) + weight[3:]))
    code, report = project.verify("--no-build", "--backend", "tfserving")
    assert (code, report["passed"]) == (1, False)
    assert [row["protocol"] for row in report["rows"]] == ["rest", "grpc"]
    for row in report["rows"]:
        assert row["max_abs"] > 1e-4, "the weight was changed, and the answers with it"
        assert any(path.name in fault for fault in row["faults"]), row


class Vision(nn.Module):
    """Fused and unfused: a strided depthwise convolution with a bias, a pool over NaN, an LSTM, odd names."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 5, stride=2, padding=2, groups=3)
        self.recurrent = nn.LSTM(12, 5, batch_first=True, bidirectional=True)

    def forward(self, image: torch.Tensor, keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pooled = nn.functional.max_pool2d(nn.functional.relu6(self.depthwise(image)), 2)
        steps, _ = self.recurrent(pooled.flatten(2))
        return pooled, steps * keep.unsqueeze(-1), keep.sum(1)


def test_vision_and_recurrence_keep_nan_and_names_on_tensorflow_serving(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.jit.script(Vision().eval()).save(str(tmp_path / "model.pt"))
    image = np.random.default_rng(0).standard_normal((5, 3, 16, 12)).astype(np.float32)
    image[1, 0, 3, 3], image[2, 1, 0, 0] = np.nan, np.inf
    project = Project(tmp_path)
    project.write(
        {
            "model": {"framework": "pytorch", "source": "model.pt"},
            "signature": {
                "inputs": [tensor("input.1", "float32", -1, 3, 16, 12), tensor("a b", "bool", -1, 3)],
                "outputs": [
                    tensor("/pool/out:0", "float32", -1, 3, 4, 3),
                    tensor("1", "float32", -1, 3, 10),
                    tensor("kept", "int64", -1),
                ],
            },
        },
        {"input.1": image, "a b": image[:, :, 0, 0] > 0},
    )
    code, report = project.verify("--backend", "tfserving")
    assert (code, report["passed"]) == (0, True), report


class Tokens(nn.Module):
    """Token ids and a mask that is a keyword; a dictionary comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.layer(self.embed(ids), src_key_padding_mask=mask)
        kept = (~mask).unsqueeze(-1).to(hidden.dtype)
        return {"pooled": (hidden * kept).sum(1) / kept.sum(1), "best": hidden[:, 0].argmax(-1)}


def test_an_exported_program_with_keywords_and_two_dynamic_axes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ids = np.random.default_rng(0).integers(0, 30, (7, 9))
    mask = np.arange(9)[None] >= np.arange(3, 10)[:, None]
    axes = {0: torch.export.Dim("rows", min=1, max=99), 1: torch.export.Dim("length", min=2, max=99)}
    program = torch.export.export(
        Tokens().eval(),
        (torch.from_numpy(ids[:3]),),
        {"mask": torch.from_numpy(mask[:3])},
        dynamic_shapes={"ids": axes, "mask": axes},
    )
    torch.export.save(program, tmp_path / "model.pt2")
    project = Project(tmp_path)
    project.write({"model": {"framework": "pytorch", "source": "model.pt2"}}, {"ids": ids, "mask": mask})
    code, report = project.verify("--backend", "tfserving")
    assert (code, report["passed"]) == (0, True), report
