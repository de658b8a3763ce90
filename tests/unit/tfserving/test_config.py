"""TensorFlow Serving's files: versions, configurations, warm-up records."""

import random
from pathlib import Path

import numpy as np
import pytest

from modelport.artifact import copied
from modelport.errors import SpecError
from modelport.model import Model
from modelport.plan import BuildPlan
from modelport.spec.schema import BatchingSection, ModelSpec
from modelport_runtime.signature import Signature, TensorSpec
from modelport_tfserving.backend import TFServingBackend
from modelport_tfserving.config import allowed_sizes, quoted, render_batching, render_models, render_monitoring
from modelport_tfserving.options import TFServingOptions, check_labels
from modelport_tfserving.versions import integer_version
from modelport_tfserving.warmup import render_warmup


def test_integers_are_ordered_as_versions_are():
    versions = [
        (major, minor, patch) for major in (0, 1, 2, 10) for minor in (0, 1, 2, 10, 999) for patch in (1, 2, 99)
    ]
    random.Random(0).shuffle(versions)
    ranked = sorted(versions, key=lambda v: integer_version(".".join(map(str, v))))
    assert ranked == sorted(versions)


@pytest.mark.parametrize(
    ("version", "number"), [("1", 1_000_000), ("1.2", 1_002_000), ("1.2.0", 1_002_000), ("v3.0.1", 3_000_001)]
)
def test_versions_of_all_lengths_have_one_rule(version, number):
    assert integer_version(version) == number


@pytest.mark.parametrize("version", ["0", "0.0.0", "1.2.3.4", "1.0-rc1", "champion", "1.1000.0", "9" * 30])
def test_versions_without_a_place_say_the_way_out(version):
    with pytest.raises(SpecError, match=r"backends\.tfserving\.version"):
        integer_version(version)


def test_a_label_of_an_absent_version_is_refused():
    check_labels({"stable": 1_002_000, "canary": "1.2.0"}, 1_002_000, "1.2.0")
    with pytest.raises(SpecError, match=r"labels\.stable.*Write stable: 1002000"):
        check_labels({"stable": 1}, 1_002_000, "1.2.0")


def test_configuration_files_are_as_committed(golden):
    golden("tfserving/models.config", render_models("digits", "/models/digits", 1_002_000, ["stable", "canary"]))
    golden("tfserving/batching.config", render_batching(BatchingSection(max_size=48, max_delay_ms=5), 2, 100))
    golden("tfserving/batching-unasked.config", render_batching(None, 1, 100))
    golden("tfserving/monitoring.config", render_monitoring())


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (32, [1, 2, 4, 8, 16, 32]), (3, [1, 2, 3])])
def test_allowed_sizes_ascend_and_end_with_the_largest(largest, sizes):
    assert allowed_sizes(largest) == sizes


def test_text_is_quoted():
    assert quoted('a"b\\c\n') == '"a\\"b\\\\c\\n"'


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="Extra inputs"):
        TFServingOptions.model_validate({"lables": {}})


def test_tensorflow_reads_the_warmup_records(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from tensorflow_serving.apis import prediction_log_pb2

    inputs = {
        "floats": np.array([[1.5, np.nan]], np.float32),
        "a b/c:0": np.array([2**40, -1], np.int64),
        "text": np.array(["ä", "b"], object),
        "truth": np.array(True),
        "empty": np.zeros((0, 3), np.float16),
    }
    file = tmp_path / "tf_serving_warmup_requests"
    file.write_bytes(render_warmup("m", [inputs, inputs]))
    records = [
        prediction_log_pb2.PredictionLog.FromString(r) for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    assert len(records) == 2
    request = records[0].predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "serving_default")
    assert set(request.inputs) == set(inputs)
    for name, value in inputs.items():
        read = tf.make_ndarray(request.inputs[name])
        if name == "text":
            assert [entry.decode() for entry in read] == ["ä", "b"]
        else:
            np.testing.assert_array_equal(read, value)
            assert read.dtype == value.dtype


def plan_of(folder: Path, **spec) -> BuildPlan:
    """Plan for a SavedModel, which is taken as it is."""
    (folder / "saved_model.pb").write_bytes(b"not read")
    x = TensorSpec(name="x", dtype="float32", shape=(None, 3))
    model = {"framework": "tensorflow", "source": "m"}
    read = ModelSpec.model_validate({"modelport": 1, "name": "m", "version": "1", "model": model, **spec})
    signature = Signature(inputs=(x,), outputs=(x,))
    backend = TFServingBackend()
    return backend.plan(
        Model(
            spec=read,
            root=folder,
            format="saved_model",
            source=folder,
            files={"saved_model.pb": copied(folder / "saved_model.pb")},
            signature=signature,
            served=signature,
        ),
        backend.parse_options(read.backends.get("tfserving", {})),
    )


def test_the_command_of_a_plan_is_the_whole_one(tmp_path):
    plan = plan_of(
        tmp_path,
        serving={"timeout_s": 7, "max_request_mb": 2, "batching": {"max_size": 4}},
        backends={"tfserving": {"labels": {"stable": "1"}}},
    )
    assert plan.facts["start with"].split()[1:] == [
        "--port=8500",
        "--rest_api_port=8501",
        "--rest_api_timeout_in_ms=7000",
        "--model_config_file=models.config",
        "--monitoring_config_file=./monitoring.config",
        "--grpc_channel_arguments=grpc.max_receive_message_length=2097152",
        "--max_num_load_retries=0",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        "--batching_parameters_file=./batching.config",
    ]


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({}, []),
        (
            {"environment": {"device": "cuda", "requirements": ["numpy"]}},
            ["environment.requirements", "environment.device"],
        ),
        ({"backends": {"tfserving": {"num_batch_threads": 2}}}, ["backends.tfserving.num_batch_threads"]),
        ({"backends": {"tfserving": {"num_batch_threads": 2}}, "serving": {"batching": {}}}, []),
        ({"serving": {"workers": 2}}, ["serving.workers"]),
    ],
)
def test_keys_that_this_server_does_not_honour_are_told(tmp_path, spec, keys):
    assert [warning.partition(": ")[0] for warning in plan_of(tmp_path, **spec).warnings] == keys
