"""Protocol messages that no installed package carries, described field by field as their `.proto` files number them.

TensorFlow Serving's Python package has the messages of its services and of the model configuration only. Missing are
those of the other configuration files, of gRPC's health service and of TensorFlow's profiler service.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple


class _Field(NamedTuple):
    number: int
    name: str
    kind: str
    repeated: bool = False


_INT64, _UINT64, _BOOL, _STRING, _BYTES = "TYPE_INT64", "TYPE_UINT64", "TYPE_BOOL", "TYPE_STRING", "TYPE_BYTES"
_INT64_WRAPPER = ".google.protobuf.Int64Value"
_BOOL_WRAPPER = ".google.protobuf.BoolValue"
_STRING_WRAPPER = ".google.protobuf.StringValue"

_MESSAGES: dict[str, tuple[_Field, ...]] = {
    "BatchingParameters": (
        _Field(1, "max_batch_size", _INT64_WRAPPER),
        _Field(2, "batch_timeout_micros", _INT64_WRAPPER),
        _Field(3, "max_enqueued_batches", _INT64_WRAPPER),
        _Field(4, "num_batch_threads", _INT64_WRAPPER),
        _Field(5, "thread_pool_name", _STRING_WRAPPER),
        _Field(6, "allowed_batch_sizes", _INT64, repeated=True),
        _Field(7, "pad_variable_length_inputs", _BOOL),
        _Field(8, "enable_large_batch_splitting", _BOOL_WRAPPER),
        _Field(9, "max_execution_batch_size", _INT64_WRAPPER),
    ),
    "PrometheusConfig": (_Field(1, "enable", _BOOL), _Field(2, "path", _STRING)),
    "MonitoringConfig": (_Field(1, "prometheus_config", ".tensorflow.serving.PrometheusConfig"),),
    "SSLConfig": (
        _Field(1, "server_key", _STRING),
        _Field(2, "server_cert", _STRING),
        _Field(3, "custom_ca", _STRING),
        _Field(4, "client_verify", _BOOL),
    ),
    "HealthCheckRequest": (_Field(1, "service", _STRING),),
    "HealthCheckResponse": (_Field(1, "status", _INT64),),
    # Of the profiler's messages, what this server reads and writes; `xspace` is a message in serialized form.
    "ProfileOptions": (
        _Field(2, "host_tracer_level", _UINT64),
        _Field(3, "device_tracer_level", _UINT64),
        _Field(4, "python_tracer_level", _UINT64),
        _Field(5, "version", _UINT64),
        _Field(9, "duration_ms", _UINT64),
    ),
    "ProfileRequest": (
        _Field(4, "opts", ".tensorflow.serving.ProfileOptions"),
        _Field(5, "repository_root", _STRING),
        _Field(6, "session_id", _STRING),
        _Field(7, "host_name", _STRING),
        _Field(9, "emit_xspace", _BOOL),
    ),
    "ProfileResponse": (_Field(7, "empty_trace", _BOOL), _Field(8, "xspace", _BYTES)),
    # TensorFlow's own classes refuse the names of some events, which are not UTF-8; only their number counts here.
    "XSpace": (_Field(1, "planes", ".tensorflow.serving.XPlane", repeated=True),),
    "XPlane": (_Field(3, "lines", ".tensorflow.serving.XLine", repeated=True),),
    "XLine": (_Field(4, "events", _BYTES, repeated=True),),
}


@cache
def message_class(name: str) -> Any:
    """Return the class of one of the messages above, in a pool of descriptors of its own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    described = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="modelport/tfserving_messages.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field in fields:
            entry = message.field.add(name=field.name, number=field.number)
            entry.label = described.LABEL_REPEATED if field.repeated else described.LABEL_OPTIONAL
            entry.type = described.TYPE_MESSAGE if field.kind.startswith(".") else described.Type.Value(field.kind)
            if field.kind.startswith("."):
                entry.type_name = field.kind
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
