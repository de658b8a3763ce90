from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.convert.keras_to_saved_model import export_keras
from modelport.errors import ConversionError
from modelport_runtime.signature import Signature, TensorSpec


def signature(shape: tuple[int | None, ...], width: int, *, dtype: str = "float32") -> Signature:
    return Signature(
        inputs=(TensorSpec(name="my/in put", dtype=dtype, shape=shape),),
        outputs=(TensorSpec(name="p.1", dtype="float32", shape=(None, width)),),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((7, 4)), keras.layers.LSTM(6, return_sequences=True), keras.layers.GRU(3)]
    model = keras.Sequential(layers)
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return model, path


def test_names_and_answers(saved: tuple[Any, Path], tmp_path: Path, load: Callable[[Path], Any]) -> None:
    model, path = saved
    export_keras(path, tmp_path / "m", signature=signature((None, 7, 4), 3))
    x = np.random.default_rng(0).standard_normal((5, 7, 4)).astype(np.float32)
    found = load(tmp_path / "m")({"my/in put": x})
    assert list(found) == ["p.1"]
    np.testing.assert_allclose(found["p.1"], model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_the_same_bytes(saved: tuple[Any, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_keras(saved[1], tmp_path / name, signature=signature((None, 7, 4), 3))
    assert (tmp_path / "a/saved_model.pb").read_bytes() == (tmp_path / "b/saved_model.pb").read_bytes()


def test_another_dtype_than_the_model_has_is_an_error(saved: tuple[Any, Path], tmp_path: Path) -> None:
    wrong = Signature(
        inputs=signature((None, 7, 4), 3).inputs,
        outputs=(TensorSpec(name="p", dtype="int64", shape=(None, 3)),),
    )
    with pytest.raises(ConversionError, match="'p' is float32 in the model, int64 in the signature"):
        export_keras(saved[1], tmp_path / "m", signature=wrong)


def test_no_keras_file(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    with pytest.raises(ConversionError, match=r"bad\.keras"):
        export_keras(tmp_path / "bad.keras", tmp_path / "m", signature=signature((None, 1), 1))


def test_words_are_looked_up_in_the_layers_table(tmp_path: Path, load: Callable[[Path], Any]) -> None:
    import keras

    words = keras.Input((2,), dtype="string", name="words")
    numbers = keras.layers.StringLookup(vocabulary=["b", "a", "zö"])(words)
    model = keras.Model(words, keras.layers.Rescaling(1.0)(numbers))
    model.save(tmp_path / "model.keras")
    asked = Signature(
        inputs=(TensorSpec(name="my words", dtype="string", shape=(None, 2)),),
        outputs=(TensorSpec(name="n", dtype="float32", shape=(None, 2)),),
    )
    for name in ("m", "again"):
        export_keras(tmp_path / "model.keras", tmp_path / name, signature=asked)
    found = load(tmp_path / "m")({"my words": np.array([["a", "b"], ["zö", "unknown"]])})
    assert found["n"].tolist() == [[2.0, 1.0], [3.0, 0.0]]
    assert (tmp_path / "m/saved_model.pb").read_bytes() == (tmp_path / "again/saved_model.pb").read_bytes()
