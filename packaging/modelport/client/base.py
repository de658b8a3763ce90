"""What a client is, whichever server answers, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modelport.errors import ModelportError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from modelport_runtime.signature import Signature


class ClientError(ModelportError):
    """Base of everything that a prediction can raise.

    Attributes:
        status: The server's own code: an HTTP status, a gRPC code's name, or None where no answer came.
    """

    exit_code = 5

    def __init__(self, message: str, *, status: int | str | None = None) -> None:
        super().__init__(message)
        self.status = status


class InvalidInput(ClientError):
    """The server refused the input: a name, a dtype, a shape, a value or a size."""

    exit_code = 2


class ModelNotFound(ClientError):
    """The server knows no such model or version."""


class NotReady(ClientError):
    """The server is not there, or its model is not loaded (yet)."""


class Overloaded(ClientError):
    """The server refused because it has too much to do."""


class Timeout(ClientError):
    """No answer came in time."""


class ServerError(ClientError):
    """The server failed while it answered, or answered what no such server answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What a running server says of its model.

    Attributes:
        backend: ``bentoml``, ``torchserve``, ``tfserving``, …
        name: The model's name on the server.
        version: The version that answers, in the server's words; None where it does not say.
        signature: None where the server does not say.
    """

    backend: str
    name: str
    version: str | None
    signature: Signature | None


class Client(Protocol):
    """A connection to one model on one server; many threads may use it at once."""

    backend: str
    url: str

    def predict(
        self, inputs: Mapping[str, ArrayLike], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Send all inputs, get all outputs, by name. dtypes are the model's.

        Raises:
            ClientError: One of its subclasses.
        """
        ...

    def ready(self) -> bool:
        """Whether the model is loaded and would answer; never raises for a server that is not there."""
        ...

    def metadata(self) -> ModelMetadata:
        """Ask the server what it serves."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class AsyncClient(Protocol):
    """The same, awaited."""

    backend: str
    url: str

    async def predict(
        self, inputs: Mapping[str, ArrayLike], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """As `Client.predict`."""
        ...

    async def ready(self) -> bool:
        """As `Client.ready`."""
        ...

    async def metadata(self) -> ModelMetadata:
        """As `Client.metadata`."""
        ...

    async def close(self) -> None:
        """As `Client.close`."""
        ...
