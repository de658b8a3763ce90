"""Requests as TorchServe hands them to a handler: batches of fields in, bodies, status codes and content types out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np

from .checking import InvalidInput, TooLarge
from .codec import JSON, NPZ, decode, encode, sniff
from .runtime import Runtime

DESCRIBE = "describe"
"""The header (``True``), or the one key of a gRPC request, that asks for ``modelport.json`` instead of a prediction."""

BODIES = ("body", "data")
Tensors = dict[str, np.ndarray[Any, Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a batch.

    Attributes:
        fields: ``{"body": bytes}``, or bytes by the names of form fields or gRPC keys.
        headers: HTTP headers in lower case; empty over gRPC.
        content_types: Content types by field.
    """

    fields: Mapping[str, Any]
    headers: Mapping[str, str]
    content_types: Mapping[str, str]

    @classmethod
    def read(cls, fields: Mapping[str, Any], context: Any, index: int) -> Request:
        """Take request ``index`` of a batch out of TorchServe's context."""
        own = context.get_all_request_header(index)
        # A field's content type stands in a mapping under the field's name, among the request's own headers.
        return cls(
            fields=fields,
            headers={name.lower(): value for name, value in own.items() if isinstance(value, str)},
            content_types={name: value["content-type"] for name, value in own.items() if isinstance(value, dict)},
        )

    @property
    def over_grpc(self) -> bool:
        """Whether it came over gRPC: only TorchServe's HTTP side hands on headers."""
        return not self.headers

    @property
    def describes(self) -> bool:
        """Whether it asks for ``modelport.json``; ``GET /models/<name>?customized=true`` does, too."""
        return self.headers.get(DESCRIBE) == "True" or (self.over_grpc and list(self.fields) == [DESCRIBE])

    def body(self) -> tuple[bytes, str | None]:
        """Give the body and its content type, None where the first bytes must tell.

        Raises:
            InvalidInput: There is none, or a field is no JSON.
        """
        if not self.fields:
            raise InvalidInput(
                f"the request has no body; send JSON with Content-Type: {JSON} (curl -d alone calls it a form)"
            )
        if len(self.fields) == 1 and (name := next(iter(self.fields))) in BODIES:
            return bytes(self.fields[name]), self.content_types.get(name) or None
        # One field an input: together they are the JSON object that a body would be.
        values = {name: _read_field(name, bytes(value)) for name, value in self.fields.items()}
        return json.dumps(values).encode(), JSON

    def wanted(self) -> str:
        """Give the content type of the answer: over REST npz where ``Accept`` names it, over gRPC as the request."""
        if self.over_grpc:
            return sniff(*self.body())
        return NPZ if NPZ in self.headers.get("accept", "").lower() else JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of a batch."""

    body: bytes
    content_type: str = JSON
    status: HTTPStatus = HTTPStatus.OK


class TorchServeService:
    """A loaded model that has answered its samples."""

    def __init__(self, runtime: Runtime) -> None:
        """Let the model answer its samples.

        Raises:
            Exception: It fails on them.
        """
        answered = runtime.warm_up()
        description = runtime.description
        self._runtime = runtime
        self._description = json.dumps(description.to_json(), ensure_ascii=False).encode()
        self._tensors = description.served.inputs if description.served_known else None
        self._limit = description.max_request_bytes
        logger.info("modelport: %s %s answered %d samples", description.name, description.version, answered)

    def answer(self, batch: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch of requests; one that is refused leaves the others as they are.

        Returns:
            A body a request, in the same order; status codes and content types go to ``context``.

        Raises:
            PredictionException: The only request of the batch came over gRPC and failed. TorchServe's gRPC side has
                no other way to carry a status; in a larger batch such a request is answered
                ``{"error": sentence, "status": 400}``.
        """
        requests = [Request.read(fields, context, index) for index, fields in enumerate(batch)]
        answers = self._answers(requests)
        if len(answers) == 1 and requests[0].over_grpc:
            _raise_refusal(answers[0])
        for index, answer in enumerate(answers):
            context.set_response_status(answer.status.value, answer.status.phrase, index)
            context.set_response_content_type(index, answer.content_type)
        return [
            _with_status(answer) if request.over_grpc else answer.body
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _answers(self, requests: Sequence[Request]) -> list[Answer]:
        answers = {index: Answer(body=self._description) for index, request in enumerate(requests) if request.describes}
        inputs: dict[int, Tensors] = {}
        for index, request in enumerate(requests):
            if index in answers:
                continue
            try:
                inputs[index] = decode(*request.body(), self._tensors, limit=self._limit)
            except InvalidInput as error:
                answers[index] = _refuse(error)
        for index, result in zip(inputs, self._predict(list(inputs.values())), strict=True):
            answers[index] = _encode(result, requests[index])
        return [answers[index] for index in range(len(requests))]

    def _predict(self, inputs: list[Tensors]) -> Sequence[Tensors | Exception]:
        if not inputs:
            return []
        try:
            return self._runtime.predict_many(inputs)
        except Exception as error:  # noqa: BLE001  # whatever a model raises is an answer's business, not the worker's
            return [error] * len(inputs)


def _encode(result: Tensors | Exception, request: Request) -> Answer:
    if isinstance(result, Exception):
        return _refuse(result)
    wanted = request.wanted()
    try:
        return Answer(body=encode(result, wanted), content_type=wanted)
    except ValueError as error:
        return _refuse(error)


def _refuse(error: Exception) -> Answer:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, TooLarge):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    elif isinstance(error, InvalidInput):
        status = HTTPStatus.BAD_REQUEST
    else:
        logger.error("modelport: a request failed", exc_info=error)
    return Answer(body=json.dumps({"error": str(error)}, ensure_ascii=False).encode(), status=status)


def _with_status(answer: Answer) -> bytes:
    """Give a body that tells by itself whose fault a refusal is."""
    if answer.status is HTTPStatus.OK:
        return answer.body
    return json.dumps({**json.loads(answer.body), "status": answer.status.value}, ensure_ascii=False).encode()


def _raise_refusal(answer: Answer) -> None:
    if answer.status is HTTPStatus.OK:
        return
    from ts.utils.util import PredictionException

    raise PredictionException(json.loads(answer.body)["error"], answer.status.value)


def _read_field(name: str, value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the field {name!r} is no JSON: {error}") from error
