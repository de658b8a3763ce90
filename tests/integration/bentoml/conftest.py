"""A small ONNX model of many dtypes behind a transform, built and served by the real BentoML."""

import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelport.artifact import copied
from modelport.backend import ServeSettings
from modelport.build import build_artifact, plan_for
from modelport.model import Model
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.spec.schema import ModelSpec
from modelport_bentoml.backend import BentoMLBackend
from modelport_runtime.signature import Signature, TensorSpec

HOST = "127.0.0.1"
TIMEOUT_S = 6
MAX_CONCURRENCY = 32

SPEC = {
    "modelport": 1,
    "name": "Doubler.x",
    "version": "1.2.0+A",
    "description": "Doubles numbers, and hands the rest on.",
    "model": {"framework": "onnx", "source": "net.onnx"},
    "transform": "transform.py:Transform",
    "samples": "samples.npz",
    "serving": {
        "batching": {"max_size": 8, "max_delay_ms": 20},
        "timeout_s": TIMEOUT_S,
        "max_request_mb": 1,
    },
    "backends": {"bentoml": {"max_concurrency": MAX_CONCURRENCY}},
}

TRANSFORM = '''\
"""Numbers from 1000 to 9000 are waited for, in ms above 1000; -1 is more than this transform can bear."""

import time

SLOW = 1000.0


class Transform:
    def preprocess(self, inputs):
        numbers = inputs["a b/c.d"]
        if (numbers == -1).any():
            raise RuntimeError("cannot bear it")
        if SLOW <= numbers.max() <= 9 * SLOW:
            time.sleep((float(numbers.max()) - SLOW) / 1000)
        return inputs
'''

DTYPES = {"a b/c.d": "float32", "text": "string", "n:0": "int64", "flag": "bool"}


def write_net(path):
    """Write the model: ``y`` is twice the numbers, the other outputs are the other inputs."""
    import onnx
    from onnx import TensorProto, helper

    types = {"float32": TensorProto.FLOAT, "string": TensorProto.STRING, "int64": TensorProto.INT64}
    types["bool"] = TensorProto.BOOL

    def info(name, dtype, shape):
        return helper.make_tensor_value_info(name, types[dtype], shape)

    inputs = [info(name, dtype, ["rows", 3] if name == "a b/c.d" else ["rows"]) for name, dtype in DTYPES.items()]
    others = [name for name in DTYPES if name != "a b/c.d"]
    nodes = [helper.make_node("Add", ["a b/c.d", "a b/c.d"], ["y"])]
    nodes += [helper.make_node("Identity", [name], [f"{name}/out"]) for name in others]
    outputs = [info("y", "float32", ["rows", 3])] + [info(f"{name}/out", DTYPES[name], ["rows"]) for name in others]
    graph = helper.make_graph(nodes, "doubler", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def signature():
    def side(names):
        return tuple(TensorSpec(name=name, dtype=dtype, shape=shape) for name, dtype, shape in names)

    others = [(name, dtype, (None,)) for name, dtype in DTYPES.items() if name != "a b/c.d"]
    return Signature(
        inputs=side([("a b/c.d", "float32", (None, 3)), *others]),
        outputs=side([("y", "float32", (None, 3)), *((f"{name}/out", dtype, shape) for name, dtype, shape in others)]),
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("doubler")
    write_net(root / "net.onnx")
    (root / "transform.py").write_text(TRANSFORM)
    samples = {
        "a b/c.d": np.ones((4, 3), np.float32),
        "text": np.array(["a", "é", "", "d"]),
        "n:0": np.arange(4),
        "flag": np.array([True, False, True, False]),
    }
    np.savez(root / "samples.npz", **samples)
    return Model(
        spec=ModelSpec.model_validate(SPEC),
        root=root,
        format="onnx",
        source=root / "net.onnx",
        files={"net.onnx": copied(root / "net.onnx")},
        transform=copied(root / "transform.py"),
        signature=signature(),
        served=signature(),
        samples=copied(root / "samples.npz"),
        requirements=("numpy", "onnxruntime"),
    )


@pytest.fixture(scope="session")
def artifact(model, tmp_path_factory):
    return build(model, tmp_path_factory.mktemp("dist"))


def build(model, output):
    backend = BentoMLBackend()
    return build_artifact(backend, plan_for(backend, model), output)


def service_of(artifact):
    return BentoMLBackend().service(artifact, ServeSettings(host=HOST, ports=choose_ports({"rest": 0}, HOST)))


def is_ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def server(artifact):
    plan = service_of(artifact)
    with running(plan, HOST) as process:
        process.wait_ready(lambda: is_ready(plan.endpoints["rest"]))
        yield plan.endpoints["rest"]


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A Python that has BentoML and ONNX Runtime, but nothing of modelport."""
    import venv

    root = tmp_path_factory.mktemp("stranger")
    venv.create(root, symlinks=True)
    (site,) = root.glob("lib/python*/site-packages")
    # A path that one .pth file names is searched, but its own .pth files, one of which is modelport's, are not read.
    packages = next(path for path in sys.path if Path(path, "bentoml").is_dir())
    (site / "base.pth").write_text(packages)
    return root / "bin" / "python"
