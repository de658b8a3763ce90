"""config.properties: everything stated, under the exact name and version."""

import json

import pytest

from modelport_torchserve.backend import TorchServeBackend
from modelport_torchserve.config import Binding, bind_as_specified, render_config

EVERYTHING = {
    "address": "0.0.0.0",
    "ports": {"rest": 9000, "grpc": 9001},
    "token_authorization": True,
    "netty_threads": 8,
    "netty_client_threads": 4,
    "job_queue_size": 10,
    "metrics_mode": "log",
    "system_metrics": False,
    "model_control": True,
    "allowed_urls": [r"https://models\.example\.com/.*"],
    "install_requirements": True,
    "startup_timeout_s": 300,
    "gpus": 2,
    "jvm": ["-Xmx1g", "-XX:+UseSerialGC"],
    "properties": {"token_expiration_min": 120, "async_logging": True},
}


def render(model, raw=None):
    options = TorchServeBackend().parse_options(raw or {})
    return render_config(model.spec, options, bind_as_specified(options))


def read(text):
    pairs = (line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return dict(pairs)


def test_defaults(make_model, golden):
    golden("torchserve/defaults.properties", render(make_model()))


def test_every_option(make_model, golden):
    model = make_model(
        serving={
            "batching": {"max_size": 64, "max_delay_ms": 7},
            "workers": 3,
            "timeout_s": 9,
            "max_request_mb": 100,
        },
        environment={"device": "cuda"},
    )
    golden("torchserve/everything.properties", render(model, EVERYTHING))


def test_model_is_tuned_under_its_exact_name_and_version(make_model):
    model = make_model(name="a.b-c", version="1.0+x", serving={"batching": {"max_size": 4}})
    config = read(render(model))
    assert config["load_models"] == "a.b-c=a.b-c.mar"
    assert json.loads(config["models"])["a.b-c"]["1.0+x"]["batchSize"] == 4


def test_no_delay_is_the_shortest_one(make_model):
    model = make_model(serving={"batching": {"max_delay_ms": 0}})
    backend = TorchServeBackend()
    assert json.loads(read(render(model))["models"])["toy"]["1.2.0"]["maxBatchDelay"] == 1
    assert any("max_delay_ms: 0" in warning for warning in backend.plan(model, backend.parse_options({})).warnings)


@pytest.mark.parametrize(("device", "raw", "line"), [("cpu", {}, "0"), ("cuda", {}, None), ("cuda", {"gpus": 2}, "2")])
def test_gpus(make_model, device, raw, line):
    assert read(render(make_model(environment={"device": device}), raw)).get("number_of_gpu") == line


@pytest.mark.parametrize(("raw", "decoded"), [({}, "false"), ({"handler": "mine.py"}, "true")])
def test_own_handlers_get_bodies_as_torchserve_gives_them(make_model, raw, decoded):
    assert read(render(make_model(), raw))["decode_input_request"] == decoded


def test_values_survive_java(make_model):
    options = TorchServeBackend().parse_options({})
    ports = options.ports.model_dump()
    store = "/tmp/b\\ö 𝄞"
    binding = Binding(address="127.0.0.1", ports=ports, token_authorization=False, model_store=store)
    config = read(render_config(make_model().spec, options, binding))
    assert config["model_store"] == r"/tmp/b\\\u00f6 \ud834\udd1e"


def test_largest_limits_fit_into_an_integer_of_java(make_model):
    config = read(render(make_model(serving={"max_request_mb": 1024})))
    assert config["max_request_size"] == str(2**30 + 64 * 2**10)
    assert int(config["max_response_size"]) == 2**31 - 1
