"""How TensorFlow Serving is spoken to, over REST or gRPC.

It casts nothing: an array must have the signature's dtype. So the client asks for the signature, keeps it for a
minute, and casts by the rules that the other servers have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelport.client.arrays import as_arrays, excerpt
from modelport.client.base import Client, InvalidInput, ModelMetadata, ModelNotFound, NotReady, ServerError
from modelport.client.exchange import Call, Reply, Steps, ask
from modelport.client.judging import judge, read_json
from modelport.client.session import open_client
from modelport.client.settings import Address, Settings, agree
from modelport.errors import SpecError
from modelport_tfserving import wire
from modelport_tfserving.columns import conform, read_columns, to_spec
from modelport_tfserving.versions import integer_version
from modelport_tfserving.wire import SIGNATURE, TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]

MAX_AGE_S = 60.0  # a server may load another version under the same URL at any time
PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"
MODEL_SERVICE = "/tensorflow.serving.ModelService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the server said of its signature, and when (`time.monotonic`)."""

    version: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    asked: float


class TFServingDialect:
    """Conversations with one model of one TensorFlow Serving."""

    backend = "tfserving"

    def __init__(self, address: Address, settings: Settings) -> None:
        prefix, in_url = _split(address)
        name, version, label = _read_path(address, in_url)
        chosen = agree("model", name, settings.model)
        if chosen is None:
            form = f"{address.scheme}://…/digits" if address.grpc else "http://…/v1/models/digits"
            raise SpecError(f"{address.url}: TensorFlow Serving does not list its models; write {form} or pass model=…")
        if settings.version is not None and label is not None:
            raise SpecError(f"{address.url} names the label {label!r}; leave version= out")
        self._model = chosen
        self._version = _agree_version(version, settings.version)
        self._label = label
        self._grpc = address.grpc
        self._status = f"{prefix}/v1/models/{quote(chosen, safe='')}"
        part = f"/versions/{self._version}" if self._version is not None else ""
        self._path = self._status + (f"/labels/{quote(label, safe='')}" if label is not None else part)
        self._retries = settings.retries
        self._known: Known | None = None

    @staticmethod
    def claims(address: Address) -> bool:
        """``…/v1/models/<model>…``, or a gRPC URL that is not TorchServe's alone."""
        if address.grpc:
            return len(address.segments) <= 1 or (
                len(address.segments) == 3 and address.segments[1] in {"versions", "labels"}
            )
        return ("v1", "models") in pairwise(address.segments)

    @staticmethod
    def recognize(address: Address, settings: Settings) -> Steps[bool]:
        """Ask for a model's state: the answer, or the error in its own form, gives it away."""
        prefix, in_url = _split(address)
        name = settings.model or (in_url[0] if in_url else "modelport")
        if address.grpc:
            call = Call(target=f"{MODEL_SERVICE}/GetModelStatus", body=wire.write_status_request(name))
        else:
            call = Call(method="GET", target=f"{prefix}/v1/models/{quote(name, safe='')}")
        reply = yield from ask(call, lambda _: None, retries=settings.retries)
        if address.grpc:
            return reply.status in {"OK", "NOT_FOUND"}
        raw = read_json(reply.body)
        return isinstance(raw, dict) and (raw.keys() == {"error"} or "model_version_status" in raw)

    def predict(self, inputs: Mapping[str, ArrayLike]) -> Steps[dict[str, Array]]:
        """Cast the inputs to the signature's dtypes, send them, and give outputs of the signature's dtypes."""
        arrays = as_arrays(inputs)
        known, fresh = self._remembered(), False
        if known is None:
            known, fresh = (yield from self._learn()), True
        try:
            ready = conform(known.inputs, arrays)
        except InvalidInput:
            if fresh:
                raise
            known = yield from self._learn()  # the model may have been replaced since it was asked for
            ready = conform(known.inputs, arrays)
        infos = (*known.inputs.items(), *known.outputs.items())
        gap = "" if self._grpc else wire.describe_rest_gap((name, info.dtype) for name, info in infos)
        if gap:
            raise InvalidInput(gap)
        try:
            reply = yield from ask(self._predict_call(ready), judge, retries=self._retries)
        except ModelNotFound as error:
            self._known = None
            yield from self._check_loading(error)
            raise
        return self._read_answer(reply, known)

    def ready(self) -> Steps[bool]:
        """Whether the version that would answer is AVAILABLE."""
        if self._label is not None:  # the states know no labels, but only a loaded version gives its metadata
            yield from self._learn()
            return True
        states = yield from self._ask_states()
        return any(
            self._version in {None, version} and state == wire.STATES["AVAILABLE"] for version, state in states.items()
        )

    def metadata(self) -> Steps[ModelMetadata]:
        """Ask for the signature ``serving_default``."""
        from modelport_runtime.signature import DTYPES, Signature

        known = yield from self._learn()
        infos = [*known.inputs.values(), *known.outputs.values()]
        signature = None
        if all(info.shape is not None and info.dtype in DTYPES for info in infos):
            signature = Signature(
                inputs=tuple(to_spec(name, info, 0) for name, info in known.inputs.items()),
                outputs=tuple(to_spec(name, info, 0) for name, info in known.outputs.items()),
            )
        return ModelMetadata(backend=self.backend, name=self._model, version=known.version, signature=signature)

    def _remembered(self) -> Known | None:
        known = self._known
        return known if known is not None and time.monotonic() - known.asked < MAX_AGE_S else None

    def _learn(self) -> Steps[Known]:
        if self._grpc:
            message = wire.write_metadata_request(self._spec())
            call = Call(target=f"{PREDICTION_SERVICE}/GetModelMetadata", body=message)
        else:
            call = Call(method="GET", target=f"{self._path}/metadata")
        try:
            reply = yield from ask(call, judge, retries=self._retries)
        except ModelNotFound as error:
            yield from self._check_loading(error)
            raise
        try:
            version, signatures = (
                wire.read_metadata_response(reply.body)
                if self._grpc
                else wire.read_json_metadata(json.loads(reply.body))
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ServerError(f"the server's metadata cannot be read: {error!r}", status=reply.status) from error
        if SIGNATURE not in signatures:
            raise ServerError(
                f"the model {self._model!r} has no signature {SIGNATURE!r}, only {', '.join(sorted(signatures))}",
                status=reply.status,
            )
        self._known = Known(version=version, asked=time.monotonic(), **signatures[SIGNATURE])
        return self._known

    def _check_loading(self, error: ModelNotFound) -> Steps[None]:
        """A model that is known but not yet loaded is not found either: tell the two apart."""
        try:
            states = yield from self._ask_states()
        except ModelNotFound:
            return
        early = {wire.STATES["START"], wire.STATES["LOADING"]}
        coming = [version for version, state in states.items() if state in early and self._version in {None, version}]
        if coming:
            raise NotReady(f"version {coming[0]} of {self._model!r} is still loading: {error}") from error

    def _ask_states(self) -> Steps[dict[int, int]]:
        if self._grpc:
            message = wire.write_status_request(self._model, self._version)
            call = Call(target=f"{MODEL_SERVICE}/GetModelStatus", body=message)
        else:
            call = Call(method="GET", target=self._status)
        reply = yield from ask(call, judge)
        try:
            return wire.read_states(reply.body) if self._grpc else wire.read_json_states(json.loads(reply.body))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ServerError(f"the server's model status cannot be read: {error!r}", status=reply.status) from error

    def _spec(self) -> bytes:
        return wire.write_spec(self._model, self._version, self._label, SIGNATURE)

    def _predict_call(self, arrays: Mapping[str, Array]) -> Call:
        from modelport_runtime.codec import JSON, encode

        if self._grpc:
            message = wire.write_predict_request(self._spec(), arrays)
            return Call(target=f"{PREDICTION_SERVICE}/Predict", body=message)
        body = b'{"signature_name":"%s","inputs":%s}' % (SIGNATURE.encode(), encode(arrays, JSON))
        return Call(target=f"{self._path}:predict", headers={"content-type": JSON}, body=body)

    def _read_answer(self, reply: Reply, known: Known) -> dict[str, Array]:
        try:
            if self._grpc:
                outputs = wire.read_predict_response(reply.body)
            else:
                outputs = read_columns(json.loads(reply.body)["outputs"], known.outputs)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            self._known = None
            text = f"the server answered what no TensorFlow Serving answers: {error}; {excerpt(reply.body)}"
            raise ServerError(text, status=reply.status) from error
        if outputs.keys() != known.outputs.keys():
            self._known = None
            given, named = ", ".join(sorted(outputs)), ", ".join(sorted(known.outputs))
            raise ServerError(f"the server answered {given}; its metadata names {named}", status=reply.status)
        return outputs


def connect(url: str, **settings: Any) -> Client:
    """Connect to a model on a running TensorFlow Serving; see `modelport.connect`."""
    return open_client(TFServingDialect, url, settings)


def _split(address: Address) -> tuple[str, tuple[str, ...]]:
    """Give the path that a proxy may have put before the server's own, and the segments that name the model."""
    if address.grpc:
        return "", address.segments
    segments = address.segments
    pairs = list(pairwise(segments))
    at = pairs.index(("v1", "models")) if ("v1", "models") in pairs else len(segments)
    return "".join(f"/{quote(segment, safe='')}" for segment in segments[:at]), segments[at + 2 :]


def _read_path(address: Address, segments: tuple[str, ...]) -> tuple[str | None, str | None, str | None]:
    """Give the model, the version and the label that a URL names."""
    match segments:
        case ():
            return None, None, None
        case (name,):
            return name, None, None
        case (name, "versions", version) if version.isascii() and version.isdigit():
            return name, version, None
        case (name, "labels", label):
            return name, None, label
    raise SpecError(f"{address.url}: expected …/<model>, …/<model>/versions/<number> or …/<model>/labels/<label>")


def _agree_version(in_url: str | None, given: str | None) -> int | None:
    """Give the server's number; a spec's version such as ``1.2.0`` is the number that its build has."""
    number = given if given is None or given.isdigit() else str(integer_version(given))
    agreed = agree("version", in_url, number)
    return None if agreed is None else int(agreed)
