from __future__ import annotations

from pathlib import Path

import pytest

from modelport_tfserving.server.flags import (
    FlagError,
    HelpRequestedError,
    Options,
    describe_flags,
    parse_flags,
    render_table,
    render_usage,
)
from modelport_tfserving.server.process import main

# What `tensorflow_model_server --help` lists.
_REAL_FLAGS = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
    enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
    enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name
    model_base_path num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
    use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
    grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
    monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
    xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision skip_initialize_tpu
    enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""
_DOCUMENT = Path(__file__).parents[3] / "docs" / "servers.md"


def test_defaults_are_the_real_servers() -> None:
    options = parse_flags([])
    assert options == Options()
    assert (options.port, options.rest_api_port, options.model_name) == (8500, 0, "default")
    assert (options.max_num_load_retries, options.load_retry_interval_micros) == (5, 60_000_000)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--port=1"], "port", 1),
        (["--port=1", "--port=2"], "port", 2),
        (["--model_base_path=/a=b c"], "model_base_path", "/a=b c"),
        (["--model_name="], "model_name", ""),
        (["--enable_batching"], "enable_batching", True),
        (["--enable_batching=true"], "enable_batching", True),
        (["--enable_model_warmup=false"], "enable_model_warmup", False),
        (["--load_retry_interval_micros=-1"], "load_retry_interval_micros", -1),
        (["--prefer_tflite_model"], "prefer_tflite_model", True),
        (["--use_tflite_model=true"], "prefer_tflite_model", True),
    ],
)
def test_every_way_to_write_a_flag(arguments: list[str], field: str, value: object) -> None:
    assert getattr(parse_flags(arguments), field) == value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--prt=1"], "unknown argument: --prt=1"),
        (["8500"], "unknown argument: 8500"),
        (["-port=1"], "unknown argument: -port=1"),
        (["--enable_batching", "true"], "unknown argument: true"),
        (["--port=http"], "Couldn't interpret value http for flag port"),
        (["--port=8_500"], "Couldn't interpret value 8_500 for flag port"),
        (["--port=٨"], "Couldn't interpret value ٨ for flag port"),
        (["--port="], "Couldn't interpret value  for flag port"),
        (["--port"], "unknown argument: --port (a value follows after an equals sign: --port=VALUE)"),
        (["--port", "1"], "unknown argument: --port (a value"),
        (["--enable_batching=TRUE"], "Couldn't interpret value TRUE for flag enable_batching"),
        (["--dry_run"], "unknown argument: --dry_run"),
        (["--enable_batching=maybe"], "Couldn't interpret value maybe for flag enable_batching"),
        (["--platform_config_file=x"], "--platform_config_file (PlatformConfigMap"),
        (["--use_alts_credentials"], "not supported by modelport's embedded server"),
    ],
)
def test_what_cannot_be_followed_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(arguments)
    assert text in str(caught.value)


def test_flags_that_only_tune_are_accepted_and_refused_ones_at_their_default() -> None:
    tuning = ["--flush_filesystem_caches=false", "--num_unload_threads=2", "--per_process_gpu_memory_fraction=0.5"]
    assert parse_flags([*tuning, "--skip_initialize_tpu", "--platform_config_file="]) == Options()


def test_usage_names_every_flag() -> None:
    with pytest.raises(HelpRequestedError):
        parse_flags(["--port=1", "--help"])
    usage = render_usage("program")
    assert "--rest_api_timeout_in_ms=30000" in usage
    assert '--saved_model_tags="serve"' in usage
    assert "--enable_model_warmup=true" in usage
    assert "--use_alts_credentials=false" in usage


def test_usage_goes_to_stdout_with_the_real_servers_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 255
    assert capsys.readouterr() == (render_usage("modelport-tfserving"), "")


def test_every_flag_of_the_real_server_is_known_and_no_other() -> None:
    assert sorted(name for name, _, _ in describe_flags()) == sorted(_REAL_FLAGS.split())


def test_the_document_has_the_table_of_flags() -> None:
    assert render_table() in _DOCUMENT.read_text()
