from __future__ import annotations

import pytest

from modelport_tfserving.server.flags import FlagError, HelpRequestedError, Options, parse_flags, render_usage


def test_defaults_are_the_real_servers() -> None:
    options = parse_flags([])
    assert options == Options()
    assert (options.port, options.rest_api_port, options.model_name) == (8500, 0, "default")
    assert (options.max_num_load_retries, options.load_retry_interval_micros) == (5, 60_000_000)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--port=1"], "port", 1),
        (["--port", "1"], "port", 1),
        (["--port=1", "--port=2"], "port", 2),
        (["--model_base_path=/a=b c"], "model_base_path", "/a=b c"),
        (["--model_name="], "model_name", ""),
        (["--enable_batching"], "enable_batching", True),
        (["--enable_batching=TRUE"], "enable_batching", True),
        (["--enable_model_warmup=0"], "enable_model_warmup", False),
        (["--enable_model_warmup=false"], "enable_model_warmup", False),
        (["--load_retry_interval_micros=-1"], "load_retry_interval_micros", -1),
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
        (["--port="], "Couldn't interpret value  for flag port"),
        (["--port"], "--port needs a value"),
        (["--enable_batching=maybe"], "Couldn't interpret value maybe for flag enable_batching"),
        (["--platform_config_file=x"], "--platform_config_file (PlatformConfigMap"),
        (["--mixed_precision=bfloat16"], "not supported by modelport's embedded server"),
    ],
)
def test_what_cannot_be_followed_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(arguments)
    assert text in str(caught.value)


def test_flags_that_only_tune_are_accepted_and_refused_ones_at_their_default() -> None:
    tuning = ["--flush_filesystem_caches=false", "--num_unload_threads=2", "--per_process_gpu_memory_fraction=0.5"]
    assert parse_flags([*tuning, "--enable_profiler=false", "--platform_config_file="]) == Options()


def test_usage_names_every_flag() -> None:
    with pytest.raises(HelpRequestedError):
        parse_flags(["--port=1", "--help"])
    usage = render_usage("program")
    assert "--rest_api_timeout_in_ms=30000" in usage
    assert '--saved_model_tags="serve"' in usage
    assert "--enable_model_warmup=true" in usage
    assert "--use_alts_credentials=false" in usage
