"""Hand-made models: everything that a plan is made from, without a framework."""

import pytest

from modelport.artifact import copied
from modelport.model import Model
from modelport.spec.schema import ModelSpec
from modelport_runtime.signature import Signature, TensorSpec


def tensor(name, *shape, dtype="float32"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.fixture
def make_model(tmp_path):
    def make(*, files=("model.pt",), folder=None, code=(), transform=None, signature=None, **spec):
        root = tmp_path / "project"
        for name in (*files, *code, *((transform,) if transform else ())):
            path = root / (folder or "") / name if name in files else root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"bytes of {name}".encode())
        source = root / folder if folder else root / files[0]
        signature = signature or Signature(inputs=(tensor("x", None, 3),), outputs=(tensor("y", None, 2),))
        fields = {"modelport": 1, "name": "toy", "version": "1.2.0"}
        model = {"framework": "pytorch", "source": str(source.relative_to(root))}
        return Model(
            spec=ModelSpec.model_validate({**fields, "model": model, **spec}),
            root=root,
            format="saved_model" if folder else "torchscript",
            source=source,
            files={name: copied(source / name if folder else root / name) for name in files},
            code={name: copied(root / name) for name in code},
            transform=copied(root / transform) if transform else None,
            signature=signature,
            served=signature,
            requirements=("numpy==2.0.0", "torch==2.13.0"),
        )

    return make
