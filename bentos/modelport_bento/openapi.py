"""The operations of the service, in OpenAPI's words."""

from __future__ import annotations

from typing import Any

from modelport_bento.schemas import object_schema
from modelport_runtime.codec import JSON, NPZ
from modelport_runtime.description import ModelDescription

TAG = "Service APIs"  # BentoML's own name for what is not infrastructure
NPZ_SCHEMA = {"type": "string", "format": "binary", "description": "A numpy .npz archive, one array a tensor."}
ERRORS = {
    400: "The inputs are not what the model takes.",
    413: "The request is too long.",
    500: "The model failed.",
    503: "Too many requests are in work.",
    504: "The answer was not there in time.",
}


def predict_operation(description: ModelDescription) -> dict[str, Any]:
    """Describe ``POST /predict``."""
    served = description.served
    known = description.served_known
    inputs = object_schema(served.inputs if known else None)
    outputs = object_schema(served.outputs if known else None)
    return {
        "tags": [TAG],
        "operationId": "predict",
        "summary": f"Ask {description.name} {description.version}.",
        "description": (
            "Numbers may be the tokens NaN, Infinity and -Infinity, in requests and in answers. "
            f"The answer is JSON, or npz where the request accepts {NPZ}. "
            f"At most {description.max_request_bytes} bytes are taken."
        ),
        "requestBody": {"required": True, "content": _content(inputs)},
        "responses": {
            "200": {"description": "All outputs.", "content": _content(outputs)},
            **{str(status): _error(text) for status, text in ERRORS.items()},
        },
        "x-bentoml-name": "predict",
    }


def metadata_operation() -> dict[str, Any]:
    """Describe ``GET /metadata``."""
    return {
        "tags": [TAG],
        "operationId": "metadata",
        "summary": "Tell what the model is: its name, version, format and signature.",
        "responses": {"200": {"description": "The model.", "content": {JSON: {"schema": {"type": "object"}}}}},
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON: {"schema": schema}, NPZ: {"schema": NPZ_SCHEMA}}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
