"""SavedModels and Keras files: what they tell without TensorFlow, and what they answer with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.errors import SpecError
from modelport.frameworks import probe, reference

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


class Module(tf.Module):  # type: ignore[misc, unused-ignore]
    """Doubles ``x`` and passes ``s`` on."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="x"),
            tf.TensorSpec([None], tf.string, name="s"),
        ]
    )
    def double(self, x: Any, s: Any) -> dict[str, Any]:
        return {"y": x * 2, "t": s}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="q")])
    def other(self, q: Any) -> dict[str, Any]:
        return {"z": q + 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tf")
    module = Module()
    signatures = {"serving_default": module.double, "other": module.other}
    tf.saved_model.save(module, str(folder / "saved"), signatures=signatures)
    tf.saved_model.save(module, str(folder / "unnamed"), signatures={"other": module.other})
    first, second = keras.Input((4,), name="in one"), keras.Input((2,), name="two", dtype="int32")
    joined = keras.layers.Concatenate()([first, keras.ops.cast(second, "float32")])
    logits = keras.layers.Dense(3, name="logits")(joined)
    keras.Model([first, second], [logits, keras.layers.Softmax(name="prob")(logits)]).save(folder / "functional.keras")
    keras.Model({"in one": first, "two": second}, {"o/1": logits}).save(folder / "dict.keras")
    keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.9), keras.layers.Dense(2, name="dense")]).save(
        folder / "seq.keras"
    )
    return folder


def test_saved_models_tell_all_without_tensorflow(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modelport.frameworks import probe\n"
        "p = probe('saved_model', Path(sys.argv[1])); s = p.signature()\n"
        "print([str(t) for t in s.inputs + s.outputs], p.notes, 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder / "saved")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == (
        "['s: string[?]', 'x: float32[?, 3]', 't: string[?]', 'y: float32[?, 3]'] "
        "('served is serving_default; further signatures: other',) False"
    ), done.stderr


def test_a_saved_model_without_the_served_signature(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"has no signature 'serving_default' \(it has other\)"):
        probe("saved_model", folder / "unnamed")


def test_a_saved_model_answers(folder: Path, resolve: Any) -> None:
    model = resolve("saved", framework="tensorflow", root=folder)
    assert "saved_model.pb" in model.files
    assert any(name.startswith("variables/") for name in model.files)
    answer = reference(model)({"x": [[1, 2, float("inf")]], "s": ["é"]})
    assert answer["y"].tolist() == [[2, 4, float("inf")]]
    assert answer["t"].tolist() == ["é"]
    assert reference(model)({"x": [[1, 2, 3]], "s": [b"\xff"]})["t"].tolist() == [b"\xff"]


@pytest.mark.parametrize("file", ["functional.keras", "dict.keras"])
def test_keras_models_answer_by_name(folder: Path, resolve: Any, file: str) -> None:
    model = resolve(file, framework="tensorflow", root=folder)
    assert [str(t) for t in model.signature.inputs] == ["in one: float32[?, 4]", "two: int32[?, 2]"]
    first, second = np.random.default_rng(0).random((3, 4), np.float32), np.ones((3, 2), np.int32)
    answer = reference(model)({"two": second, "in one": first})
    loaded = keras.saving.load_model(folder / file)
    given = [first, second] if file == "functional.keras" else {"in one": first, "two": second}
    wanted = keras.tree.flatten(loaded(given))
    assert list(answer) == (["logits", "prob"] if file == "functional.keras" else ["o/1"])
    for value, want in zip(answer.values(), wanted, strict=True):
        np.testing.assert_allclose(value, want, atol=1e-6)


def test_a_sequential_model_under_the_specs_names(folder: Path, resolve: Any) -> None:
    model = resolve("seq.keras", framework="tensorflow", root=folder)
    assert [str(t) for t in model.signature.outputs] == ["dense: float32[?, 2]"]
    signature = {
        "inputs": [{"name": "a b", "dtype": "float32", "shape": [-1, 4]}],
        "outputs": [{"name": "c", "dtype": "float32", "shape": [-1, 2]}],
    }
    renamed = resolve("seq.keras", framework="tensorflow", root=folder, signature=signature)
    value = np.random.default_rng(0).random((3, 4), np.float32)
    wanted = keras.saving.load_model(folder / "seq.keras")(value)
    np.testing.assert_allclose(reference(renamed)({"a b": value})["c"], wanted, atol=1e-6)


def test_a_keras_file_that_is_cut(folder: Path, tmp_path: Path, resolve: Any) -> None:
    (tmp_path / "m.keras").write_bytes((folder / "seq.keras").read_bytes()[:2000])
    with pytest.raises(SpecError, match=r"a broken or truncated file"):
        resolve("m.keras", framework="tensorflow", root=tmp_path)


@pytest.mark.parametrize(
    "part", ["variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt"]
)
def test_a_saved_model_copied_in_part_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    module = tf.Module()
    module.w = tf.Variable([2.0])
    whole, lines = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, whole, tf.int64, lines)
    module.table = tf.lookup.StaticHashTable(words, -1)
    module.answer = tf.function(
        lambda s: {"y": tf.cast(module.table.lookup(s), tf.float32) * module.w},
        input_signature=[tf.TensorSpec([None], tf.string, name="s")],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.answer)
    assert probe("saved_model", tmp_path / "m").signature() is not None
    (tmp_path / "m" / part).unlink()
    with pytest.raises(SpecError, match=f"needs {part}, which is not there"):
        probe("saved_model", tmp_path / "m")
