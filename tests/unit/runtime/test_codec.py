"""JSON and npz, there and back, and what must not be read."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, TooLarge, check_inputs
from modelport_runtime.codec import JSON, NPZ, decode, encode, sniff
from modelport_runtime.signature import DTYPES, TensorSpec

LIMIT = 2**20
ODD_NAMES = ["input.1", "a b", "/fc/out:0", "1", "file", "x.npy", "日本"]


def spec(name: str, dtype: str, shape: tuple[int | None, ...] = (None,)) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def text(*values: object) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize("kind", [JSON, NPZ])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "string"])
def test_numbers_come_back_exactly(kind: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    if dtype.startswith("float"):
        limits = np.finfo(dtype)
        array = np.concatenate(
            [rng.standard_normal(50), [limits.max, limits.tiny, -0.0, np.nan, np.inf, -np.inf]]
        ).astype(dtype)
    elif dtype == "bool":
        array = rng.random(20) > 0.5
    else:
        array = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 0], dtype=dtype)
    tensors = [spec("x", dtype)]
    back = check_inputs(tensors, decode(encode({"x": array}, kind), kind, tensors, limit=LIMIT))["x"]
    assert back.dtype == dtype
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", [JSON, NPZ])
def test_text_and_bytes_come_back(kind: str) -> None:
    array = text("", "é", "日本", 'quo"te', b"\xff\x00a", "line\n")
    tensors = [spec("x", "string")]
    back = check_inputs(tensors, decode(encode({"x": array}, kind), kind, tensors, limit=LIMIT))["x"]
    assert back.tolist() == array.tolist()


def test_text_that_npz_would_shorten_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends with NUL"):
        encode({"x": text("a\0")}, NPZ)
    assert json.loads(encode({"x": text("a\0")}, JSON)) == {"x": ["a\0"]}


@pytest.mark.parametrize("kind", [JSON, NPZ])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 0, 3), (1, 1, 1, 1)])
def test_shapes_and_odd_names_come_back(kind: str, shape: tuple[int, ...]) -> None:
    arrays = {name: np.full(shape, index, np.float32) for index, name in enumerate(ODD_NAMES)}
    tensors = [spec(name, "float32", shape) for name in ODD_NAMES]
    back = decode(encode(arrays, kind), None, tensors, limit=LIMIT)
    assert list(back) == ODD_NAMES
    for name, array in arrays.items():
        if kind == NPZ or 0 not in shape:  # nested lists cannot say what comes behind an axis of length 0
            assert back[name].shape == shape
            assert np.array_equal(back[name], array)


def test_npz_is_numpys_own() -> None:
    body = encode({"a b": np.arange(3), "s": text("x")}, NPZ)
    assert body == encode({"a b": np.arange(3), "s": text("x")}, NPZ)
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        assert archive["a b"].tolist() == [0, 1, 2]
        assert archive["s"].dtype.kind == "U"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(save: object) -> None:
    buffer = io.BytesIO()
    save(buffer, x=np.asfortranarray(np.arange(6).reshape(2, 3)), s=np.array(["a", "bc"]), b=np.array([b"d"]))
    back = decode(buffer.getvalue(), NPZ, None, limit=LIMIT)
    assert back["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["s"].tolist() == ["a", "bc"]
    assert back["b"].tolist() == [b"d"]


def test_the_kind_of_a_body_is_sniffed_where_nobody_says() -> None:
    assert sniff(b' \n{"x": 1}') == JSON
    assert sniff(b"PK\x03\x04") == NPZ
    assert sniff(b'{"x": 1}', "application/x-www-form-urlencoded") == JSON  # curl -d
    assert sniff(b"\xef\xbb\xbf{}", "Application/JSON; charset=utf-8") == JSON
    with pytest.raises(InvalidInput, match=r"content type 'text/csv'"):
        sniff(b"a,b", "text/csv")
    with pytest.raises(InvalidInput, match=r"neither JSON nor npz"):
        sniff(b"")


def test_json_scalars_nan_and_base64() -> None:
    body = b'{"x": 1.5, "y": [NaN, Infinity, -Infinity], "z": [{"b64": "/w=="}], "w": "a"}'
    tensors = [spec("x", "float32", ()), spec("y", "float32"), spec("z", "string"), spec("w", "string", ())]
    back = check_inputs(tensors, decode(body, JSON, tensors, limit=LIMIT))
    assert back["x"] == np.float32(1.5)
    np.testing.assert_array_equal(back["y"], [np.nan, np.inf, -np.inf])
    assert back["z"].tolist() == [b"\xff"]
    assert back["w"].item() == "a"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "no JSON"),
        (b"[1, 2]", "must be a JSON object"),
        (b"5", "must be a JSON object"),
        (b'{"x": [[1, 2], [3]]}', "'x' is ragged"),
        (b'{"x": {"y": 1}}', "'x' is an object"),
        (b'{"x": [{"y": 1}]}', "'x'"),
        (b'{"x": null}', "'x' holds null"),
        (b'{"x": 1, "x": 2}', "'x' stands twice"),
        (b'{"x": [1e999]}', "too large for float64"),
        (b'{"x": [{"b64": "*"}]}', "no base64"),
        (b'{"x": "\xff"}', "no JSON"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"x": ' + b"[" * 70 + b"1" + b"]" * 70 + b"}", "'x'"),
        (b'{"x": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)
def test_json_that_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body, JSON, [spec("x", "float32")], limit=LIMIT)
    assert words in str(caught.value)


def test_a_body_above_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match=r"takes at most 10"):
        decode(b'{"x": [1, 2, 3]}', JSON, None, limit=10)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(2**22))
    body = buffer.getvalue()
    assert len(body) < LIMIT
    with pytest.raises(TooLarge, match=r"unpacks to"):
        decode(body, NPZ, None, limit=LIMIT)


def npz_of(member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x.npy", member)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def test_an_array_that_claims_more_than_it_holds_is_refused() -> None:
    member = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", b"12345678")
    with pytest.raises(InvalidInput, match=r"no npz that can be read"):
        decode(npz_of(member), NPZ, None, limit=LIMIT)
    empty = npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }")
    with pytest.raises(InvalidInput, match=r"is not read"):
        decode(npz_of(empty), NPZ, None, limit=LIMIT)


def test_pickles_and_other_archives_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidInput, match=r"'x' has dtype object"):
        decode(buffer.getvalue(), NPZ, None, limit=LIMIT)
    good = encode({"x": np.arange(100)}, NPZ)
    broken = bytearray(good)
    broken[300] ^= 0xFF
    flawed = (good[:-30], bytes(broken), b"PK\x03\x04nothing", npz_of(b"no array"), npz_of(b"a", zipfile.ZIP_BZIP2))
    for body in flawed:
        with pytest.raises(InvalidInput):
            decode(body, NPZ, None, limit=LIMIT)


def test_a_flipped_header_never_escapes_as_another_error() -> None:
    good = encode({"x": np.arange(4, dtype=np.float32), "s": text("a", "é")}, NPZ)
    rng = np.random.default_rng(1)
    for _ in range(400):
        body = bytearray(good)
        for place in rng.integers(0, len(good), 3):
            body[place] = rng.integers(0, 256)
        try:
            decode(bytes(body), NPZ, None, limit=LIMIT)
        except InvalidInput:
            continue
