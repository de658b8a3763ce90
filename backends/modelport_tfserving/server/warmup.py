"""Replays the requests recorded in a SavedModel, so that the first client does not wait for lazy initialization."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from modelport_tfserving.server.inference import Inference
from modelport_tfserving.server.servable import Servable
from modelport_tfserving.server.statuses import Code, ServingError, from_exception, invalid_argument
from modelport_tfserving.server.tensors import decode_tensor

_log = logging.getLogger(__name__)
_MAX_RECORDS = 1000
RECORDS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def run_warmup(servable: Servable, path: Path, inference: Inference, iterations: int) -> int:
    """Replay a version's warm-up records, each `iterations` times; returns the number of records, 0 without a file.

    Raises `ServingError` where a record cannot be read or fails: the version is then not ready to serve.
    """
    records = path / RECORDS_FILE
    if not records.is_file():
        _log.info("No warmup data file found at %s", records)
        return 0
    _log.info("Starting to read warmup data for model at %s", records)
    started = time.perf_counter()
    count, status = 0, "OK"
    try:
        for log in _read_records(records):
            count += 1
            if count > _MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {records}")
            for _ in range(iterations):
                _replay(servable, log, inference)
    except ServingError as error:
        status = str(error)
        raise ServingError(error.code, f"warm-up record {count} of {records}: {error.message}") from error
    finally:
        elapsed = (time.perf_counter() - started) * 1e6
        inference.metrics.warmup_latency.observe(elapsed, str(path), status)
    _log.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %d.",
        records,
        count,
        elapsed,
    )
    return count


def _read_records(records: Path) -> Any:
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(records)):
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record from {records}: {error}") from None
    except tf.errors.OpError as error:
        mended = from_exception(error)
        raise ServingError(
            mended.code, f"{mended.message}. Please verify your warmup data is in TFRecord format."
        ) from None


def _replay(servable: Servable, log: Any, inference: Inference) -> None:
    match log.WhichOneof("log_type"):
        case "predict_log":
            request = log.predict_log.request
            inputs = {alias: decode_tensor(proto, alias) for alias, proto in request.inputs.items()}
            signature_name = request.model_spec.signature_name
            inference.predict(servable, signature_name, inputs, request.output_filter, None)
        case "classify_log":
            inference.classify(servable, log.classify_log.request, None)
        case "regress_log":
            inference.regress(servable, log.regress_log.request, None)
        case "multi_inference_log":
            inference.multi_infer(servable, log.multi_inference_log.request, None)
        case kind:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
