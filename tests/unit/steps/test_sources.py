"""Steps reach the SavedModel of every kind of source; what rides along is what requests hold."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow")

from modelport.backend import load_backend  # what skips comes first
from modelport.build import build_artifact, plan_for, resolve
from modelport.frameworks import reference

SPEC = """
modelport: 1
name: m
version: "1"
model: {{framework: {framework}, source: {source}}}
signature:
  inputs: [{{name: x, dtype: float32, shape: [-1, 3]}}]
  outputs: [{{name: y, dtype: float32, shape: [-1, 4]}}]
labels: [a, b, c, d]
samples: s.npz
preprocess:
  inputs: [{{name: raw, dtype: int16, shape: [-1, 3]}}]
  steps:
  - cast: {{tensor: raw, dtype: float32}}
  - normalize: {{tensor: raw, mean: [1, 2, 3], std: [100], to: x}}
postprocess:
  steps:
  - argmax: {{tensor: y, to: class}}
  - labels: {{tensor: class}}
  - softmax: {{tensor: y}}
"""


def write_torch(folder):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4))
    torch.jit.trace(net, torch.zeros(2, 3)).save(folder / "m.pt")
    return "pytorch", "m.pt"


def write_keras(folder):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(4, name="y")]).save(folder / "m.keras")
    return "tensorflow", "m.keras"


@pytest.mark.parametrize("write", [write_torch, write_keras])
def test_steps_reach_the_saved_model(write, tmp_path):
    import tensorflow as tf

    framework, source = write(tmp_path)
    raw = np.random.default_rng(0).integers(-500, 500, (9, 3)).astype(np.int16)
    np.savez(tmp_path / "s.npz", raw=raw)
    (tmp_path / "modelport.yaml").write_text(SPEC.format(framework=framework, source=source))
    model = resolve(tmp_path / "modelport.yaml")
    backend = load_backend("tfserving")
    artifact = build_artifact(backend, plan_for(backend, model), tmp_path / "dist")
    loaded = tf.saved_model.load(str(artifact.path / "models" / "m" / "1000000"))
    found = loaded.signatures["serving_default"](raw=tf.constant(raw))
    right = reference(model)({"raw": raw})
    assert [name.decode() for name in found["class"].numpy()] == right["class"].tolist()
    np.testing.assert_allclose(found["y"], right["y"], rtol=1e-5)
