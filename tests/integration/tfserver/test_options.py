"""Flags that change how the server answers: all of them on one server, as far as they go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

pytestmark = pytest.mark.server


def _write_tls(folder: Path, self_signed: tuple[bytes, bytes]) -> None:
    """Write an SSLConfig that asks clients for a certificate; the one client has the server's own."""
    quoted = [part.decode().replace("\n", "\\n") for part in self_signed]
    (folder / "tls.config").write_text(
        f'server_key: "{quoted[0]}" server_cert: "{quoted[1]}" custom_ca: "{quoted[1]}" client_verify: true'
    )


def test_flags_that_change_what_is_served(
    models: Path,
    tmp_path: Path,
    launch: Callable[..., Any],
    render_config: Callable[..., str],
    self_signed: tuple[bytes, bytes],
) -> None:
    key, certificate = self_signed
    _write_tls(tmp_path, self_signed)
    (tmp_path / "models.config").write_text(render_config(models, {"half_plus_two": "", "functions": ""}))
    (tmp_path / "session.config").write_text("inter_op_parallelism_threads: 1 allow_soft_placement: true")
    server = launch(
        f"--model_config_file={tmp_path / 'models.config'}",
        f"--ssl_config_file={tmp_path / 'tls.config'}",
        f"--tensorflow_session_config_file={tmp_path / 'session.config'}",
        "--tensorflow_intra_op_parallelism=1",
        "--saved_model_tags=serve",
        "--rest_api_enable_cors_support",
        "--rest_api_num_threads=4",
        "--grpc_max_threads=4",
        "--enable_signature_method_name_check",
        "--xla_cpu_compilation_enabled",
        "--mixed_precision=bfloat16",
        "--num_load_threads=2",
        "--num_unload_threads=2",
        "--file_system_poll_wait_seconds=0",
        "--flush_filesystem_caches=false",
        "--enable_profiler=false",
        "--skip_initialize_tpu",
        "--enable_model_warmup=false",
    )
    server.await_ready("half_plus_two").await_ready("functions")

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "functions"
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate, key, certificate)) as channel:
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
        assert answer.model_version_status[0].version == 1
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/tensorflow.ProfilerService/Profile")(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    response = server.post("functions:predict", {"signature_name": "compiled", "instances": [1.0]})
    assert response.json() == {"predictions": [2.0]}
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    # A browser asks first whether a page may send what it wants to send.
    url = f"{server.url}/v1/models/functions:predict"
    preflight = httpx.options(url, headers={"Origin": "https://page.example"})
    assert (preflight.status_code, preflight.content) == (200, b"")
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST, GET"
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type"
    preflight = httpx.options(url)
    assert (preflight.status_code, preflight.json()) == (400, {"error": "Origin header is missing in CORS preflight"})
    # Classify is asked of a signature for Regress.
    wrong = server.post("half_plus_two:classify", {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]})
    assert wrong.status_code == 400
    assert wrong.json()["error"] == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress"
    )
    assert httpx.get(f"{server.url}/monitoring/prometheus/metrics").status_code == 404
