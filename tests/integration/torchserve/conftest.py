"""A model with odd names, its artifact, and a Python that knows nothing of modelport."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from modelport.artifact import copied
from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for
from modelport.model import Model
from modelport.run.ports import choose_ports
from modelport.spec.schema import ModelSpec
from modelport_runtime.signature import Signature, TensorSpec

INPUTS = ("pixel values", "scale/0")
OUTPUTS = ("y.out", "rows")


@pytest.fixture(scope="session")
def free_ports():
    """Give a number for every port of one more TorchServe."""
    names = load_backend("torchserve").default_ports
    return lambda: dict(choose_ports(dict.fromkeys(names, 0), "127.0.0.1"))


@pytest.fixture(scope="session")
def scaler(tmp_path_factory, free_ports):
    """A TorchScript model that scales rows, and says how many it was given at once."""
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Scaler(torch.nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * scale, torch.full([x.shape[0]], x.shape[0])

    root = tmp_path_factory.mktemp("scaler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old, and still what most archives hold
        torch.jit.script(Scaler()).save(str(root / "model.pt"))
    samples = {INPUTS[0]: np.ones((2, 3), np.float32), INPUTS[1]: np.ones((2, 1), np.float32)}
    np.savez(root / "samples.npz", **samples)
    signature = Signature(
        inputs=(
            TensorSpec(name=INPUTS[0], dtype="float32", shape=(None, 3)),
            TensorSpec(name=INPUTS[1], dtype="float32", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name=OUTPUTS[0], dtype="float32", shape=(None, 3)),
            TensorSpec(name=OUTPUTS[1], dtype="int64", shape=(None,)),
        ),
    )
    spec = ModelSpec.model_validate(
        {
            "modelport": 1,
            "name": "sca.l-er",
            "version": "1.0+cpu",
            "model": {"framework": "pytorch", "source": "model.pt"},
            "serving": {"batching": {"max_size": 8, "max_delay_ms": 100}, "max_request_mb": 1},
            "backends": {"torchserve": {"ports": free_ports(), "jvm": ["-Xmx256m"]}},
        }
    )
    return Model(
        spec=spec,
        root=root,
        format="torchscript",
        source=root / "model.pt",
        files={"model.pt": copied(root / "model.pt")},
        signature=signature,
        served=signature,
        samples=copied(root / "samples.npz"),
    )


@pytest.fixture(scope="session")
def artifact(scaler, tmp_path_factory):
    backend = load_backend("torchserve")
    return build_artifact(backend, plan_for(backend, scaler), tmp_path_factory.mktemp("dist ö"))


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """An environment of everything that is installed here, modelport apart."""
    folder = tmp_path_factory.mktemp("bare")
    installed = next(Path(entry) for entry in sys.path if Path(entry, "ts").is_dir())
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    for entry in installed.iterdir():
        if "modelport" not in entry.name.lower():
            (site / entry.name).symlink_to(entry)
    program = Path(sys.executable).resolve()
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(program)
    (folder / "pyvenv.cfg").write_text(f"home = {program.parent}\ninclude-system-site-packages = false\n")
    return folder / "bin" / "python"
