"""What a version directory must hold to be loaded; no TensorFlow is needed to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelport_tfserving.server.servable import LoadSettings, load_servable
from modelport_tfserving.server.statuses import Code, ServingError


@pytest.mark.parametrize(
    ("file", "code", "text"),
    [
        ("export.meta", Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed."),
        ("notes.txt", Code.NOT_FOUND, "should have a file called `saved_model.pb`"),
        ("model.tflite", Code.NOT_FOUND, "should have a file called `saved_model.pb`"),
    ],
)
def test_what_is_no_saved_model(tmp_path: Path, file: str, code: Code, text: str) -> None:
    (tmp_path / file).write_bytes(b"")
    settings = LoadSettings(tags=("serve",), session_config=None, allow_xla=False)
    with pytest.raises(ServingError) as caught:
        load_servable("m", 1, tmp_path, settings)
    assert caught.value.code is code
    assert text in caught.value.message
