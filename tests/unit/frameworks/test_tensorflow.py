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
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
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


class _Values(tf.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.matrix = tf.Variable(np.random.default_rng(0).random((4, 3000), np.float32))  # longer than one lane
        self.words = tf.Variable(["one", "", "three"])

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        return {"y": x @ self.matrix, "words": self.words}


def test_values_are_held_against_their_checksums(tmp_path: Path) -> None:
    module = _Values()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    index, values = (tmp_path / "m" / "variables" / f"variables.{end}" for end in ("index", "data-00000-of-00001"))
    assert probe("saved_model", tmp_path / "m").signature() is not None
    for file, at, why in (
        (values, 0.01, r"damaged inside: the values of 'matrix/\.ATTRIBUTES/VARIABLE_VALUE' do not have the checksum"),
        (values, 0.98, r"damaged inside: the values of '.*' do not have the checksum"),
        (index, 0.1, r"damaged inside \(a block does not have the checksum"),
    ):
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[int(at * len(whole))] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(SpecError, match=why):
            probe("saved_model", tmp_path / "m")
        file.write_bytes(whole)
    values.write_bytes(values.read_bytes()[:-1])
    with pytest.raises(SpecError, match=r"the values of '.*' are cut off"):
        probe("saved_model", tmp_path / "m")


def test_a_graph_that_calls_python_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.answer = tf.function(
        lambda x: {"y": tf.py_function(lambda t: t * 2, [x], tf.float32)},
        input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.answer)
    with pytest.raises(SpecError, match=r"calls back into the Python program .*EagerPyFunc"):
        probe("saved_model", tmp_path / "m")


class Tripled(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """A layer whose code is in no file of a model."""

    def call(self, x: Any) -> Any:
        return x * 3


Tripled.__module__ = "nowhere_to_be_found"


def _twins(x: Any) -> Any:
    layer = keras.layers.Dense(3, name="d")
    return [layer(x), layer(layer(x))]


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (_twins, r"2 outputs come from one layer, 'd'.*keras\.Model\(inputs, \{"),
        (keras.layers.Lambda(lambda x: x * 2), r"holds a Lambda layer, which is code .* model\.export\('folder'\)"),
        (Tripled(), r"class 'Tripled' of the module 'nowhere_to_be_found', which is not in the file"),
    ],
)
def test_keras_files_that_no_server_could_load_or_answer_from(tmp_path: Path, build: Any, why: str) -> None:
    ends = keras.Input((3,), name="x")
    keras.Model(ends, build(ends)).save(tmp_path / "m.keras")
    with pytest.raises(SpecError, match=why):
        probe("keras", tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (lambda: keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot"), ("int64", (None, 3))),
        (lambda: keras.layers.StringLookup(vocabulary=["a", "b"]), ("int64", (None, 1))),
        (lambda: keras.layers.Hashing(5), ("int64", (None, 1))),
    ],
)
def test_keras_layers_tell_what_their_graph_gives(tmp_path: Path, resolve: Any, layer: Any, told: Any) -> None:
    """Keras itself says that one-hot words are floats, and they are not."""
    ends = keras.Input((1,), dtype="string", name="w")
    model = keras.Model(ends, layer()(ends))
    model.save(tmp_path / "m.keras")
    output = resolve("m.keras", framework="tensorflow", root=tmp_path).signature.outputs[0]
    assert (output.dtype, output.shape) == told
    assert model(tf.constant([["a"]])).dtype.name == output.dtype
