"""The servers' own configuration files, in ConfigMaps and on their own: keys that a server reads past."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from modelport_manifests.check.finding import Finding, Place, error, warning
from modelport_manifests.check.known import suggest, words
from modelport_manifests.check.objects import World
from modelport_manifests.check.reading import table

PROPERTIES = words(
    """
    inference_address management_address metrics_address grpc_inference_address grpc_management_address
    grpc_inference_port grpc_management_port grpc_inference_max_connection_age_ms grpc_management_max_connection_age_ms
    grpc_inference_max_connection_age_grace_ms grpc_management_max_connection_age_grace_ms keystore keystore_pass
    keystore_type private_key_file certificate_file cors_allowed_origin cors_allowed_methods cors_allowed_headers
    prefer_direct_buffer allowed_urls use_env_allowed_urls install_py_dep_per_model use_native_io load_models
    model_store model_snapshot models blacklist_env_vars default_response_timeout default_startup_timeout
    default_workers_per_model job_queue_size async_logging max_request_size max_response_size limit_max_image_pixels
    decode_input_request enable_envvars_config enable_metrics_api metrics_config metrics_mode
    disable_system_metrics system_metrics_cmd model_metrics_auto_detect number_of_netty_threads number_of_gpu
    netty_client_threads unregister_model_timeout vmargs workflow_store cpu_launcher_enable cpu_launcher_args
    ipex_enable ipex_gpu_enable disable_token_authorization enable_model_api
    cpp_log_config default_service_handler enable_grpc_ssl initial_distribution_port initial_worker_port io_ratio
    metric_time_interval service_envelope token_expiration_min ts_header_key_sequence_end ts_header_key_sequence_id
    ts_header_key_sequence_start
    """
)
"""Keys of TorchServe 0.12 (frontend/server/src/main/java/org/pytorch/serve/util/ConfigManager.java)."""
MODEL_KEYS = (
    "defaultVersion", "marName", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout",
    "startupTimeout",
)  # fmt: skip
PER_MODEL = {
    "batch_size": "batchSize", "batchSize": "batchSize", "max_batch_delay": "maxBatchDelay",
    "maxBatchDelay": "maxBatchDelay", "min_workers": "minWorkers", "minWorkers": "minWorkers",
    "max_workers": "maxWorkers", "maxWorkers": "maxWorkers", "response_timeout": "responseTimeout",
    "responseTimeout": "responseTimeout",
}  # fmt: skip
BATCHING = (
    "max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads", "allowed_batch_sizes",
    "thread_pool_name", "pad_variable_length_inputs", "enable_large_batch_splitting", "max_execution_batch_size",
    "mixed_priority_batching_policy", "enable_priority_queue",
)  # fmt: skip
MODEL_CONFIG = (
    "model_config_list", "custom_model_config", "config", "name", "base_path", "model_type", "model_platform",
    "model_version_policy", "latest", "num_versions", "all", "specific", "versions", "version_labels", "key", "value",
    "logging_config", "log_collector_config", "type", "filename_prefix", "sampling_config", "sampling_rate",
)  # fmt: skip

LineAt = Callable[[int], Place]


def check_configurations(world: World) -> Iterator[Finding]:
    """Check the files in every ConfigMap."""
    for configuration in world.of_kind("ConfigMap"):
        data = table(configuration.data, "data")
        for name, value in data.items():
            check = checker_of(name)
            if check is not None and isinstance(value, str):
                file, first = data.at(name).file, data.texts_at.get(name, data.at(name).line)
                yield from check(value, line_at(file, first))


def line_at(file: str, first: int) -> LineAt:
    """Give the places of a text's lines, counted from 0, where the text begins on line ``first`` of ``file``."""
    return lambda line: Place(file, first + line)


def checker_of(name: str) -> Callable[[str, LineAt], Iterator[Finding]] | None:
    """Give the check for a file of this name, if there is one; a ConfigMap's key may have folders before it."""
    return next((check for file, check in CHECKS.items() if name == file or name.endswith(f".{file}")), None)


def check_properties(content: str, at: LineAt) -> Iterator[Finding]:
    """Check TorchServe's ``config.properties``."""
    values: dict[str, tuple[str, int]] = {}
    for line, key, value in _properties(content):
        if key in values:
            message = f"{key} stands twice; the first, on line {at(values[key][1]).line}, is silently dropped"
            yield warning(at(line), "torchserve-key-twice", message)
        values[key] = value, line
        if key in PER_MODEL and key not in PROPERTIES:
            message = f"{key} does nothing here: TorchServe reads {PER_MODEL[key]} within models={{…}} only"
            yield error(at(line), "torchserve-key-ignored", message)
        elif key not in PROPERTIES:
            message = f"TorchServe has no key {key!r} and says nothing about it{suggest(key, PROPERTIES)}"
            yield error(at(line), "torchserve-key-ignored", message)
    yield from _check_models(values, at)
    yield from _check_meaning(values, at)


def _properties(content: str) -> Iterator[tuple[int, str, str]]:
    """Give the lines of a Java properties file: the number from 0, the key, the value."""
    joined, first = "", 0
    for number, line in enumerate(content.splitlines()):
        first = first if joined else number
        part = line.lstrip()
        if not joined and part[:1] in {"", "#", "!"}:
            continue
        if part.endswith("\\") and not part.endswith("\\\\"):
            joined += part[:-1]
            continue
        match = re.fullmatch(r"([^=:\s]+)\s*[=:\s]\s*(.*)", joined + part, re.DOTALL)
        yield first, match[1] if match else joined + part, match[2] if match else ""
        joined = ""


def _check_models(values: dict[str, tuple[str, int]], at: LineAt) -> Iterator[Finding]:
    if "models" not in values:
        return
    text, line = values["models"]
    try:
        models = json.loads(text)
    except ValueError as problem:
        yield error(at(line), "torchserve-models", f"models is no JSON ({problem}): TorchServe does not start")
        return
    loaded, _ = values.get("load_models", ("", 0))
    names = {part.partition("=")[0].strip().removesuffix(".mar") for part in loaded.split(",")}
    for name, versions in models.items() if isinstance(models, dict) else ():
        if loaded and loaded.strip() != "all" and name not in names:
            message = f"models tunes {name!r}, which load_models does not load: it does nothing; names must be equal"
            yield error(at(line), "torchserve-models", message)
        for version, keys in versions.items() if isinstance(versions, dict) else ():
            for key in keys if isinstance(keys, dict) else ():
                if key not in MODEL_KEYS:
                    hint = suggest(key, MODEL_KEYS) or f": it has {', '.join(MODEL_KEYS)}"
                    message = f"models has no key {key!r} (model {name}, version {version}){hint}"
                    yield error(at(line), "torchserve-key-ignored", message)


def _check_meaning(values: dict[str, tuple[str, int]], at: LineAt) -> Iterator[Finding]:
    if "load_models" not in values:
        for key in ("models", "model_store"):
            if key in values:
                message = "without load_models TorchServe loads no model; models only tunes what is loaded"
                yield error(at(values[key][1]), "torchserve-loads-nothing", message)
                return
    for key in ("inference_address", "metrics_address"):  # management is well kept to the container itself
        text, line = values.get(key, ("", 0))
        if re.search(r"//(127\.|localhost|\[::1\])", text):
            message = f"{key} is {text}: in a container nobody outside reaches it; bind to 0.0.0.0"
            yield warning(at(line), "torchserve-local-address", message)


def check_batching(content: str, at: LineAt) -> Iterator[Finding]:
    """Check TensorFlow Serving's ``batching.config``."""
    plain = _without_comments(content)
    yield from _check_fields(plain, (*BATCHING, "value"), at)
    largest = re.search(r"max_batch_size\s*\{\s*value\s*:\s*(\d+)", plain)
    bare = re.search(r"max_batch_size\s*:\s*\d+", plain)
    if bare:
        message = "max_batch_size is a message, not a number: write max_batch_size { value: N }"
        yield error(_place(plain, bare.start(), at), "tfserving-field", message)
    splits = re.search(r"enable_large_batch_splitting\s*\{\s*value\s*:\s*true", plain)
    sizes = [(int(found[1]), found.start()) for found in re.finditer(r"allowed_batch_sizes\s*:\s*(\d+)", plain)]
    for found in re.finditer(r"allowed_batch_sizes\s*:\s*\[([^]]*)]", plain):
        sizes += [(int(size), found.start()) for size in re.findall(r"\d+", found[1])]
    values = [size for size, _ in sizes]
    if sizes and values != sorted(set(values)):
        message = f"allowed_batch_sizes must grow, and are {', '.join(map(str, values))}: the server does not start"
        yield error(_place(plain, sizes[0][1], at), "tfserving-batch-sizes", message)
    elif sizes and largest and not splits and values[-1] != int(largest[1]):
        message = (
            f"the last of allowed_batch_sizes is {values[-1]} and max_batch_size {largest[1]}: the server does not "
            "start until they are equal"
        )
        yield error(_place(plain, sizes[-1][1], at), "tfserving-batch-sizes", message)


def check_models(content: str, at: LineAt) -> Iterator[Finding]:
    """Check TensorFlow Serving's ``models.config``."""
    plain = _without_comments(content)
    yield from _check_fields(plain, MODEL_CONFIG, at)
    for found in re.finditer(r"\bbase_path\s*:\s*(['\"])(.*?)\1", plain):
        if not re.match(r"/|[a-z0-9]+://", found[2]):
            message = (
                f"base_path is {found[2]!r}: it must be absolute, or the server finds no version and never says so"
            )
            yield error(_place(plain, found.start(), at), "tfserving-relative-path", message)
    names: set[str] = set()
    for found in re.finditer(r"\bname\s*:\s*(['\"])(.*?)\1", plain):
        if found[2] in names:
            message = f"two models are called {found[2]!r}: the server does not start"
            yield error(_place(plain, found.start(), at), "tfserving-name-twice", message)
        names.add(found[2])


def _check_fields(plain: str, known: tuple[str, ...], at: LineAt) -> Iterator[Finding]:
    bare = re.sub(r"([\"'])(?:\\.|(?!\1).)*\1", lambda found: " " * len(found[0]), plain)
    for found in re.finditer(r"\b([A-Za-z_]\w*)\s*[:{]", bare):
        if found[1] not in known:
            message = f"there is no field {found[1]!r}: the server does not start{suggest(found[1], known)}"
            yield error(_place(plain, found.start(), at), "tfserving-field", message)


def _without_comments(content: str) -> str:
    """Blank out comments, so that every position stays."""
    return re.sub(r"#[^\n]*", lambda found: " " * len(found[0]), content)


def _place(content: str, index: int, at: LineAt) -> Place:
    return at(content.count("\n", 0, index))


CHECKS: dict[str, Callable[[str, LineAt], Iterator[Finding]]] = {
    "config.properties": check_properties,
    "batching.config": check_batching,
    "models.config": check_models,
}
