"""One model spec, served alike by BentoML, TorchServe and TensorFlow Serving.

``modelport.connect(url)`` gives a client for a running model, whichever of the servers answers.
"""

from __future__ import annotations

from modelport._version import VERSION

__version__ = VERSION

TYPE_CHECKING = False  # importing `typing` for it would cost more than all of `modelport --version`

if TYPE_CHECKING:
    from modelport.client.base import ClientError as ClientError
    from modelport.client.base import InvalidInput as InvalidInput
    from modelport.client.base import ModelNotFound as ModelNotFound
    from modelport.client.base import NotReady as NotReady
    from modelport.client.base import Overloaded as Overloaded
    from modelport.client.base import ServerError as ServerError
    from modelport.client.base import Timeout as Timeout
    from modelport.client.discovery import connect as connect
    from modelport.client.discovery import connect_async as connect_async

__all__ = [
    "ClientError",
    "InvalidInput",
    "ModelNotFound",
    "NotReady",
    "Overloaded",
    "ServerError",
    "Timeout",
    "__version__",
    "connect",
    "connect_async",
]


def __getattr__(name: str) -> object:
    """Import the client when it is first asked for: importing modelport itself costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'modelport' has no attribute {name!r}")
    from modelport.client import base, discovery

    found: object = getattr(discovery if name.startswith("connect") else base, name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
