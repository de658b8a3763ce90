"""With ``--json`` a program gets one document on stdout, also where a command cannot do what was asked for."""

import json
import socket

import pytest

from modelport.cli.group import run


def read(capsys, *arguments):
    code = run(arguments)
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("init", "no.pt"), "SpecError"),
        (("inspect", "no.pt"), "SpecError"),
        (("plan", "no.yaml"), "SpecError"),
        (("build", "no.yaml", "-b", "nobody"), "SpecError"),
        (("verify", "no.yaml"), "SpecError"),
        (("verify", "no.yaml", "--token", "t"), "UsageError"),
        (("predict", "http://127.0.0.1:1", "-i", "no.json"), "SpecError"),
        (("containerize", "no.yaml", "--dry-run"), "SpecError"),
        (("manifests", "no.yaml", "-t", "nothing", "-o", "out"), "SpecError"),
        (("manifests", "check", "no"), "SpecError"),
        (("deploy", "no.yaml", "-b", "torchserve", "-t", "podman", "--overlay", "dev"), "SpecError"),
        (("plan", "no.yaml", "--no-such-option"), "NoSuchOption"),
        (("plam", "no.yaml"), "UsageError"),
    ],
)
def test_an_error_is_a_document_and_a_sentence(tmp_path, monkeypatch, capsys, arguments, kind):
    monkeypatch.chdir(tmp_path)
    code, document, err = read(capsys, *arguments, "--json")
    [error] = document.values()
    assert (code, error["kind"], error["exit_code"]) == (2, kind, 2)
    assert error["message"] in err
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer(tmp_path, capsys):
    inputs = tmp_path / "x.json"
    inputs.write_text('{"x": [1]}', encoding="utf-8")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        code, document, err = read(capsys, "predict", url, "--backend", "bentoml", "-i", str(inputs), "--json")
    assert (code, document["error"]["exit_code"], document["error"]["kind"]) == (5, 5, "NotReady")
    assert document["error"]["message"] in err


def test_without_json_stdout_stays_empty(capsys):
    assert run(["plan", "no.yaml"]) == 2
    assert capsys.readouterr().out == ""
