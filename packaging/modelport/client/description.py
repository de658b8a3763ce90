"""What a server that was built by modelport says of itself: ``modelport.json``, over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport.client.base import ModelMetadata, ServerError
from modelport.client.exchange import Reply
from modelport.client.judging import read_json


def is_description(raw: Any) -> bool:
    """Whether a JSON value is a ``modelport.json``."""
    return isinstance(raw, Mapping) and "modelport" in raw and "served" in raw


def read_description(backend: str, reply: Reply) -> ModelMetadata | None:
    """Read a ``modelport.json``; keys that are not known here are passed over. None where it is none.

    Raises:
        ServerError: It is one, but no signature can be read in it.
    """
    from modelport_runtime.signature import Signature

    raw = read_json(reply.body)
    if not is_description(raw):
        return None
    try:
        signature = Signature.from_json(raw["served"]) if raw.get("served_known", True) else None
        return ModelMetadata(backend=backend, name=str(raw["name"]), version=str(raw["version"]), signature=signature)
    except (KeyError, TypeError, ValueError) as error:
        text = f"the server's modelport.json cannot be read: {type(error).__name__}: {error}"
        raise ServerError(text, status=reply.status) from error
