"""``modelport predict`` against a small server that speaks as a Bento does."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from modelport.client.arrays import read_body, write_body
from modelport.client.exchange import Reply

DESCRIPTION = {
    "modelport": 1,
    "name": "doubler",
    "version": "1",
    "served": {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
    },
    "served_known": True,
}


@pytest.fixture
def doubler(http):
    def respond(request):
        if request.target == "/metadata":
            return http.answer(200, json.dumps(DESCRIPTION).encode())
        x = read_body(Reply(status=200, body=request.body))["x"]
        if x.shape[1:] != (2,):
            return http.answer(400, b'{"error": "input \'x\' must have shape [?, 2]"}')
        return http.answer(200, write_body({"y": 2 * x.astype(np.float32)})[0])

    return http(respond).url


def predict(*arguments, stdin=b""):
    command = [sys.executable, "-m", "modelport", "predict", *map(str, arguments), "--backend", "bentoml"]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def test_standard_input_to_json(doubler):
    done = predict(doubler, "-i", "-", "--json", stdin=b'{"x": [[1, 2], [NaN, 0.25]]}')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"y": [[2, 4], [None, 0.5]]}


def test_a_csv_file_to_a_table_and_to_a_file(doubler, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.npz"
    source.write_text("a,b\n" + "1,2\n" * 25)
    done = predict(doubler, "-i", source)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "y: float32[25, 2]" in text
    assert "[2 4]" in text
    assert "5 more rows" in text
    done = predict(doubler, "-i", source, "-o", target)
    assert (done.returncode, done.stdout) == (0, b"")
    with np.load(target) as outputs:
        assert outputs["y"].tolist() == [[2, 4]] * 25


def test_errors_are_one_line_and_their_exit_code(doubler, free_port, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"x": [[1, 2, 3]]}')
    for arguments, code, sentence in (
        ((doubler, "-i", wrong), 2, "must have shape [?, 2]"),
        ((doubler, "-i", tmp_path / "none.json"), 2, "none.json: No such file"),
        ((doubler, "-i", wrong, "-o", tmp_path / "out.txt"), 2, "outputs are written to .npz or .json"),
        ((doubler, "-i", wrong, "--model", "other"), 5, "serves doubler 1, not other"),
        ((f"http://127.0.0.1:{free_port}", "-i", wrong), 5, "no connection to the server"),
        (("ftp://x", "-i", wrong), 2, "no URL of a service"),
        ((doubler, "-i", "-"), 2, "standard input: is empty"),
    ):
        done = predict(*arguments)
        error = done.stderr.decode()
        assert done.returncode == code, error
        assert sentence in error
        assert "Traceback" not in error
        assert len(error.strip().splitlines()) == 1
