"""Files that are no spec at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport.spec.loading import check_spec, load_spec


def fault_of(path: Path) -> str:
    (fault,) = check_spec(path)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == str(fault)
    return str(fault).removeprefix(str(path))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ":1:1: is empty; `modelport init MODEL_FILE` writes a spec"),
        (b"\n\n# only a comment\n", ":1:1: is empty; `modelport init MODEL_FILE` writes a spec"),
        (b"\xef\xbb\xbf", ":1:1: is empty; `modelport init MODEL_FILE` writes a spec"),
        ("name: a".encode("utf-16"), ": is UTF-16 text; save it as UTF-8"),
        (
            b"PK\x03\x04zip",
            ": is a binary file; a spec is a YAML text; for a model file, `modelport init FILE` writes one",
        ),
        (
            b"\x08\0\x01",
            ": is a binary file; a spec is a YAML text; for a model file, `modelport init FILE` writes one",
        ),
        (
            b"name: a\ndescription: na\xefve\n",
            (
                ":2:16: is not UTF-8 text here (byte 0xef); a spec is a YAML text; for a model file, "
                "`modelport init FILE` writes one. Save it as UTF-8"
            ),
        ),
        (b"name: a\x07\n", ":1:8: holds the character \\x07, which YAML does not allow; remove it"),
    ],
)
def test_bytes_that_are_no_yaml_text(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    assert fault_of(path) == expected


def test_a_byte_order_mark_does_not_shift_positions(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf{a: 1, modelport: 2}\n")
    assert fault_of(path).startswith(":1:8: modelport: ")


def test_a_missing_file(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "nope.yaml") == ": no such file; `modelport init MODEL_FILE` writes a spec"


def test_a_directory(tmp_path: Path) -> None:
    assert fault_of(tmp_path) == ": is a directory; name the spec file in it"


def test_a_file_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert fault_of(tmp_path / "a" / "b.yaml") == ": cannot be read: Not a directory"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert fault_of(path).startswith(": is no regular file")


def test_an_endless_device() -> None:
    assert fault_of(Path("/dev/zero")).startswith(": is no regular file")


@pytest.mark.parametrize("name", ["a" * 300 + ".yaml", "a\0b.yaml"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    (fault,) = check_spec(tmp_path / name)
    assert fault.message.startswith("cannot be read: ")
    assert "\0" not in str(fault)


def test_a_file_of_50_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    begin = time.process_time()
    assert fault_of(path) == ": has 50.0 MiB; a spec has at most 1 MiB. Is it the model itself?"
    assert time.process_time() - begin < 0.5


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.touch(mode=0o000)
    assert fault_of(path) == ": cannot be read: Permission denied"
