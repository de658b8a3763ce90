"""How a Bento is spoken to: ``POST /predict``, ``GET /metadata``, ``GET /readyz``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelport.client.arrays import as_arrays, is_npz, read_body, write_body
from modelport.client.base import Client, ModelMetadata, ModelNotFound, ServerError
from modelport.client.description import is_description, read_description
from modelport.client.exchange import Call, Steps, ask
from modelport.client.judging import judge, read_json
from modelport.client.session import open_client
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from modelport_runtime.signature import TensorSpec


class BentoDialect:
    """Conversations with one Bento, which may stand below a path: ``http://host/digits``."""

    backend = "bentoml"

    def __init__(self, address: Address, settings: Settings) -> None:
        if address.grpc:
            raise SpecError(f"{address.url}: a Bento speaks no gRPC; write {address.url.replace('grpc', 'http', 1)}")
        self._base = _base(address)
        self._settings = settings
        self._known: ModelMetadata | None = None

    @staticmethod
    def claims(address: Address) -> bool:
        """Never: a Bento's URL has no form of its own."""
        del address
        return False

    @staticmethod
    def recognize(address: Address, settings: Settings) -> Steps[bool]:
        """Ask for ``/metadata``, which only these services have."""
        if address.grpc:
            return False
        call = Call(method="GET", target=f"{_base(address)}/metadata")
        reply = yield from ask(call, lambda _: None, retries=settings.retries)
        return is_description(read_json(reply.body))

    def predict(self, inputs: Mapping[str, ArrayLike]) -> Steps[dict[str, np.ndarray[Any, Any]]]:
        """Send npz, get npz; JSON both ways where npz cannot carry the text."""
        body, kind = write_body(as_arrays(inputs))
        yield from self._check_choice()
        call = Call(target=f"{self._base}/predict", headers={"content-type": kind, "accept": kind}, body=body)
        reply = yield from ask(call, judge, retries=self._settings.retries)
        arrays = read_body(reply)
        return arrays if is_npz(reply) else read_body(reply, (yield from self._outputs()))

    def ready(self) -> Steps[bool]:
        """Ask ``/readyz``, which is 200 once a sample was answered."""
        reply = yield from ask(Call(method="GET", target=f"{self._base}/readyz"), judge)
        yield from self._check_choice()
        return reply.ok

    def metadata(self) -> Steps[ModelMetadata]:
        """Ask for ``modelport.json``."""
        call = Call(method="GET", target=f"{self._base}/metadata")
        reply = yield from ask(call, judge, retries=self._settings.retries)
        known = read_description(self.backend, reply)
        if known is None:
            raise ServerError(f"{call.target}: the server answers, but is no Bento of modelport", status=reply.status)
        self._known = known
        return known

    def _outputs(self) -> Steps[tuple[TensorSpec, ...] | None]:
        known = self._known or (yield from self.metadata())
        return known.signature.outputs if known.signature else None

    def _check_choice(self) -> Steps[None]:
        """A Bento holds one model: refuse to take it for another one that the caller has named."""
        model, version = self._settings.model, self._settings.version
        if model is None and version is None:
            return
        known = self._known or (yield from self.metadata())
        if model not in {None, known.name} or version not in {None, known.version}:
            self._known = None  # it may be replaced by the right one
            raise ModelNotFound(
                f"this Bento serves {known.name} {known.version}, not {model or known.name} {version or ''}".rstrip()
            )


def connect(url: str, **settings: Any) -> Client:
    """Connect to a running Bento; see `modelport.connect`."""
    return open_client(BentoDialect, url, settings)


def _base(address: Address) -> str:
    return "".join(f"/{quote(segment, safe='')}" for segment in address.segments)
