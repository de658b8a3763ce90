"""What somebody hears who names a TorchServe archive as the model."""

import json
import zipfile

import pytest

from modelport.errors import SpecError
from modelport.sources import locate_source

MANIFEST = {"serializedFile": "net.pt", "handler": "own.py:handle", "modelFile": "net.py", "modelVersion": "1.0"}


def write_archive(path, manifest):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest)


def refusal(name, root):
    with pytest.raises(SpecError) as caught:
        locate_source(name, root)
    return str(caught.value)


def test_each_part_of_an_archive_has_a_place(tmp_path):
    write_archive(tmp_path / "old model.mar", json.dumps({"model": {**MANIFEST, "modelName": "old"}}))
    said = refusal("old model.mar", tmp_path)
    assert "unzip 'old model.mar' -d 'old model'" in said
    assert "net.pt (model.source)" in said
    assert "net.py (model.entrypoint" in said
    assert "own.py:handle (" in said
    assert "backends.torchserve.handler" in said
    assert "requirements" not in said


@pytest.mark.parametrize("manifest", ["{", "[]", '{"model": []}', '{"model": {}}', '{"model": null}', "3"])
def test_an_archive_that_tells_nothing_is_unpacked_by_hand(tmp_path, manifest):
    write_archive(tmp_path / "old.mar", manifest)
    assert "unzip old.mar -d old) and name the serialized file in it" in refusal("old.mar", tmp_path)


def test_what_is_no_archive_is_told_alike(tmp_path):
    (tmp_path / "old.mar").write_bytes(b"no zip")
    assert "name the serialized file" in refusal("old.mar", tmp_path)
    assert "no such file or folder; did you mean old.mar?" in refusal("odl.mar", tmp_path)


def test_a_workflow_is_several_specs(tmp_path):
    write_archive(tmp_path / "flow.war", "{}")
    assert "a spec for each of its models" in refusal("flow.war", tmp_path)
