"""A model as `resolve_model` gives it, made by hand: nothing here loads it."""

import pytest

from modelport.artifact import copied
from modelport.model import Model
from modelport.spec.schema import ModelSpec
from modelport_runtime.signature import Signature, TensorSpec


def tensor(name, dtype="float32", shape=(None, 3)):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.fixture
def make_model(tmp_path):
    """Make a model; sections of the spec and fields of the model can be given."""

    def make(*, spec=None, **fields):
        source = tmp_path / "net.onnx"
        source.write_bytes(b"weights")
        content = {
            "modelport": 1,
            "name": "doubler",
            "version": "1.2.0",
            "model": {"framework": "onnx", "source": "net.onnx"},
            **(spec or {}),
        }
        signature = fields.pop("signature", Signature(inputs=(tensor("a b/c.d"),), outputs=(tensor("y"),)))
        defaults = {
            "root": tmp_path,
            "format": "onnx",
            "source": source,
            "files": {"net.onnx": copied(source)},
            "signature": signature,
            "served": signature,
            "requirements": ("numpy==2.0.0", "onnxruntime==1.20.0"),
        }
        return Model(spec=ModelSpec.model_validate(content), **{**defaults, **fields})

    return make
