"""How TorchServe is spoken to, by what its inference ports offer.

Health: ``/ping`` speaks of all models and is green while one loads or failed. So readiness asks the model's own
handler to describe itself (a request with the header ``describe: True``, or over gRPC with that one key), which only a
worker that has loaded the model can answer, and which runs no inference. The same answer is the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelport.client.arrays import as_arrays, is_npz, read_body, write_body
from modelport.client.base import (
    Client,
    ClientError,
    InvalidInput,
    ModelMetadata,
    ModelNotFound,
    NotReady,
    Overloaded,
    ServerError,
)
from modelport.client.description import read_description
from modelport.client.exchange import Call, Failure, Lost, Reply, Steps, ask
from modelport.client.judging import judge, read_json
from modelport.client.message import as_view, read_message, write_field, write_map
from modelport.client.session import open_client
from modelport.client.settings import Address, Settings, agree
from modelport.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from modelport_runtime.signature import TensorSpec

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
HANDLER_RAISED = "prediction failed"  # TorchServe's own words for it
WORKER_DIED = "worker died"  # the same words for a worker that was too slow, which TorchServe ends
WHY_IT_DIED = (
    "either it took longer than TorchServe's time-out for an answer (serving.timeout_s, responseTimeout), or its "
    "process ended by itself; TorchServe's log has which, and another is started"
)
REFUSED_TOKEN = re.compile(r"token auth(oriz|entic)ation failed")  # its versions differ
SMALL_BYTES = 2**20  # nobody forbids requests as short as that
NO_WORKER = "has no worker"  # the same words where there is none and where its queue is full


class TorchServeDialect:
    """Conversations with one model of one TorchServe, over REST or gRPC."""

    backend = "torchserve"

    def __init__(self, address: Address, settings: Settings) -> None:
        prefix, in_url = _split(address)
        if len(in_url) > 2:
            raise SpecError(f"{address.url}: expected …/<model> or …/<model>/<version>")
        self._model = agree("model", in_url[0] if in_url else None, settings.model)
        if self._model is None:
            form = f"{address.scheme}://…/digits" if address.grpc else "http://…/predictions/digits"
            raise SpecError(f"{address.url}: TorchServe does not say which models it has; write {form} or pass model=…")
        self._version = agree("version", in_url[1] if len(in_url) > 1 else None, settings.version)
        self._grpc = address.grpc
        self._ping = _ping(prefix, grpc=address.grpc)
        names = (self._model, self._version) if self._version else (self._model,)
        self._target = f"{prefix}/predictions/" + "/".join(quote(name, safe="") for name in names)
        self._retries = settings.retries

    @staticmethod
    def claims(address: Address) -> bool:
        """``…/predictions/<model>``, or a gRPC URL that is not TensorFlow Serving's alone."""
        if address.grpc:
            return len(address.segments) <= 2
        return "predictions" in address.segments

    @staticmethod
    def recognize(address: Address, settings: Settings) -> Steps[bool]:
        """Ping it: the health, or an error in TorchServe's own form, gives it away."""
        prefix = _split(address)[0]
        reply = yield from ask(_ping(prefix, grpc=address.grpc), lambda _: None, retries=settings.retries)
        if address.grpc:
            return reply.status not in {"UNIMPLEMENTED", "UNKNOWN"}
        raw = read_json(reply.body)
        if not isinstance(raw, dict):
            return False
        return raw.keys() >= {"code", "type", "message"} or "ealthy" in str(raw.get("status", ""))

    def predict(self, inputs: Mapping[str, ArrayLike]) -> Steps[dict[str, np.ndarray[Any, Any]]]:
        """Send npz, get npz; JSON both ways where npz cannot carry the text."""
        body, kind = write_body(as_arrays(inputs))
        call = self._call({"body": body}, {"content-type": kind, "accept": kind})
        try:
            reply = yield from ask(call, judge_torchserve, retries=self._retries)
        except Overloaded as error:
            yield from self._check_health(error)
            raise
        except ServerError as error:
            if error.status == "CANCELLED" and len(call.body) > SMALL_BYTES:
                text = f"TorchServe cut the call off; the request of {len(call.body)} bytes is longer than it takes"
                raise InvalidInput(f"{text} (max_request_size)", status=error.status) from error
            raise
        answer = self._unwrap(reply)
        arrays = read_body(answer)
        return arrays if is_npz(answer) else read_body(answer, (yield from self._outputs()))

    def ready(self) -> Steps[bool]:
        """Whether a worker that has loaded the model answers."""
        outcome = yield self._describe()
        if isinstance(outcome, Lost):
            return False
        # The handler of somebody else's archive may not take such a request: that it was reached is what counts.
        return outcome.ok or HANDLER_RAISED in _sentence(outcome).lower()

    def metadata(self) -> Steps[ModelMetadata]:
        """Ask the handler for ``modelport.json``; a handler that has none leaves the signature unknown."""
        try:
            reply = yield from ask(self._describe(), judge_torchserve, retries=self._retries)
            answer = self._unwrap(reply)
        except (InvalidInput, ServerError) as error:  # somebody else's handler, or one that failed
            if not (yield from self.ready()):
                raise NotReady(f"no worker of TorchServe answers for {self._model!r}: {error}") from error
            answer = Reply(status=200)
        known = read_description(self.backend, answer)
        return known or ModelMetadata(
            backend=self.backend, name=str(self._model), version=self._version, signature=None
        )

    def _describe(self) -> Call:
        return self._call({"describe": b"True"}, {}) if self._grpc else self._call({"body": b""}, {"describe": "True"})

    def _call(self, fields: Mapping[str, bytes], headers: Mapping[str, str]) -> Call:
        if not self._grpc:
            return Call(target=self._target, headers=headers, body=fields["body"])
        message = write_field(1, str(self._model)) + write_field(2, self._version or "") + write_map(3, fields.items())
        return Call(target=f"{SERVICE}/Predictions", body=message)

    def _unwrap(self, reply: Reply) -> Reply:
        """Give the handler's answer out of a gRPC message; one that is an error is raised."""
        if not self._grpc:
            return reply
        try:
            body = bytes(as_view(read_message(reply.body).get(1, [b""])[-1]))
        except ValueError as error:
            raise ServerError(f"the server's answer is no PredictionResponse: {error}", status=reply.status) from error
        raw = None if body[:2] == b"PK" else read_json(body)
        if isinstance(raw, dict) and raw.keys() in ({"error"}, {"error", "status"}) and isinstance(raw["error"], str):
            # In a batch TorchServe's gRPC side carries no status of one request, so the answer holds it.
            refused = raw.get("status", 400) in (400, 413)
            raise (InvalidInput if refused else ServerError)(raw["error"], status=reply.status)
        return Reply(status=reply.status, body=body)

    def _outputs(self) -> Steps[tuple[TensorSpec, ...] | None]:
        known = yield from self.metadata()
        return known.signature.outputs if known.signature else None

    def _check_health(self, error: Overloaded) -> Steps[None]:
        """Tell a full queue from no worker, for which TorchServe has the same words: ask for its health."""
        if NO_WORKER not in str(error):
            return
        outcome = yield self._ping
        healthy = isinstance(outcome, Reply) and outcome.ok and b'"Healthy"' in outcome.body
        if not healthy:
            raise NotReady(str(error), status=error.status) from error


def judge_torchserve(reply: Reply) -> Failure | None:
    """As `judge`, with what TorchServe says in its own words alone."""
    words = _sentence(reply).lower()
    # Over gRPC the name of a Java class stands on a line of its own below the sentence.
    failure = judge(replace(reply, detail=reply.detail.partition("\n")[0]))
    if failure is None:
        return None
    text = str(failure.error)
    kind: type[ClientError]
    retry = False
    if HANDLER_RAISED in words:
        kind, text = ServerError, f"{text}: the handler raised; TorchServe's log has why"
    elif NO_WORKER in words:
        kind, retry = Overloaded, True
    elif REFUSED_TOKEN.search(words):
        kind, text = ClientError, f"{text}; pass token=… from its key_file.json"
    elif WORKER_DIED in words:
        kind, text = ServerError, f"{text}: {WHY_IT_DIED}"
    elif reply.status == "INTERNAL" and "notfoundexception" in words:
        kind = ModelNotFound
    elif reply.status == "RESOURCE_EXHAUSTED" and "takes at most" in words:  # its gRPC name for HTTP's 413
        kind = InvalidInput
    else:
        return failure
    return Failure(error=kind(text, status=reply.status), retry=retry, after_s=failure.after_s)


def connect(url: str, **settings: Any) -> Client:
    """Connect to a model on a running TorchServe; see `modelport.connect`."""
    return open_client(TorchServeDialect, url, settings)


def _split(address: Address) -> tuple[str, tuple[str, ...]]:
    """Give the path that a proxy may have put before TorchServe's own, and model and version."""
    if address.grpc:
        return "", address.segments
    segments = address.segments
    at = segments.index("predictions") if "predictions" in segments else len(segments)
    return "".join(f"/{quote(segment, safe='')}" for segment in segments[:at]), segments[at + 1 :]


def _ping(prefix: str, *, grpc: bool) -> Call:
    return Call(target=f"{SERVICE}/Ping") if grpc else Call(method="GET", target=f"{prefix}/ping")


def _sentence(reply: Reply) -> str:
    return reply.detail or reply.body.decode("utf-8", "replace")
