from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from modelport_tfserving.server.configs import (
    BatchingParameters,
    VersionPolicy,
    load_batching,
    load_metrics_path,
    load_tls,
    plan_models,
)
from modelport_tfserving.server.statuses import Code, ServingError
from modelport_tfserving.server.versions import choose_versions, has_model, list_versions


def _message(text: str) -> object:
    from tensorflow_serving.config import model_server_config_pb2

    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def _model(more: str = "", name: str = "m", path: str = "/m", platform: str = "tensorflow") -> str:
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "{platform}" {more} }}'


def test_models_with_their_policies_and_labels() -> None:
    policies = [
        "",
        "model_version_policy { latest { num_versions: 2 } }",
        "model_version_policy { all {} }",
        'model_version_policy { specific { versions: 3 versions: 1 } } version_labels { key: "a" value: 3 }',
    ]
    text = " ".join(_model(policy, name=f"m{number}") for number, policy in enumerate(policies))
    models = plan_models(_message(f"model_config_list {{ {text} }}"))
    assert models is not None
    assert [model.name for model in models] == ["m0", "m1", "m2", "m3"]
    assert [model.policy for model in models] == [
        VersionPolicy.LATEST,
        VersionPolicy.LATEST,
        VersionPolicy.ALL,
        VersionPolicy.SPECIFIC,
    ]
    assert [model.num_versions for model in models[:2]] == [1, 2]
    assert models[3].versions == {1, 3}
    assert models[3].labels == (("a", 3),)
    found = {number: Path(f"/m/{number}") for number in (1, 2, 10)}
    assert [list(choose_versions(model, found)) for model in models] == [[10], [10, 2], [10, 2, 1], [1]]


def test_an_empty_message_is_not_an_empty_list() -> None:
    assert plan_models(_message("")) is None
    assert plan_models(_message("model_config_list {}")) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_model() + _model(), "Illegal to list model m multiple times in config list"),
        (_model(path="m"), "to have an absolute path or URI; got base_path()=m"),
        (_model(path="gs://bucket/m"), "local directories only"),
        (_model(platform=""), "Illegal setting neither"),
        (_model(platform="caffe"), "Model m requests unsupported platform caffe"),
        (_model("model_type: TENSORFLOW"), "Illegal setting both"),
        (_model("model_type: OTHER", platform=""), "model_type choice 2 not supported"),
        (_model(name=""), "has no name"),
        (_model("logging_config {}"), "logging_config is not supported"),
    ],
)
def test_wrong_models(text: str, reason: str) -> None:
    with pytest.raises(ServingError) as caught:
        plan_models(_message(f"model_config_list {{ {text} }}"))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert reason in caught.value.message


def test_batching_parameters(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("")
    assert load_batching(file, 3) == BatchingParameters(threads=3)
    file.write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 5000 } max_enqueued_batches { value: 7 } "
        'num_batch_threads { value: 2 } thread_pool_name { value: "p" } allowed_batch_sizes: 8 '
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 8 } "
        "pad_variable_length_inputs: true"
    )
    assert load_batching(file, 3) == BatchingParameters(
        max_size=32,
        timeout_micros=5000,
        max_enqueued=7,
        threads=2,
        allowed_sizes=(8,),
        max_execution_size=8,
        pad_inputs=True,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch_size: 32", "Invalid protobuf file"),
        ("max_size { value: 3 }", "Invalid protobuf file"),
        ("max_batch_size { value: 0 }", "must be at least 1"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2", "increasing order"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 2", "last entry was 2; expected 4"),
    ],
)
def test_wrong_batching_parameters(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "batching.config"
    file.write_text(text)
    with pytest.raises(ServingError) as caught:
        load_batching(file, 1)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert reason in caught.value.message


def test_monitoring_and_tls(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text, path in (
        ("", None),
        ('prometheus_config { enable: false path: "/x" }', None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/x" }', "/x"),
    ):
        file.write_text(text)
        assert load_metrics_path(file) == path
    file.write_text('server_key: "k\\n" server_cert: "c" custom_ca: "a" client_verify: true')
    tls = load_tls(file)
    assert (tls.server_key, tls.server_cert, tls.custom_ca, tls.client_verify) == (b"k\n", b"c", b"a", True)
    for text, reason in (
        ('server_key: "k"', "server_key and server_cert are needed"),
        ('server_key: "k" server_cert: "c" client_verify: true', "client_verify needs custom_ca"),
    ):
        file.write_text(text)
        with pytest.raises(ServingError, match=reason):
            load_tls(file)
    with pytest.raises(ServingError) as caught:
        load_tls(tmp_path / "absent")
    assert caught.value.code is Code.NOT_FOUND


def test_version_directories(tmp_path: Path) -> None:
    for name in ("1", "00000123", "v2", "3.0", ".4", "-5", "\u0665", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "6").write_text("a file")
    assert {number: path.name for number, path in list_versions(tmp_path).items()} == {1: "1", 123: "00000123"}
    (tmp_path / "123").mkdir()
    assert list_versions(tmp_path)[123].name == "123"
    assert not has_model(tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").touch()
    assert has_model(tmp_path / "1")
    with pytest.raises(FileNotFoundError):
        list_versions(tmp_path / "absent")
