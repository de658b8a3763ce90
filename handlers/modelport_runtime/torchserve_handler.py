"""The TorchServe handler: it stands at the root of an archive, beside the model and the runtime that loads it.

It is one class, as TorchServe demands, and imports nothing that could be missing: an import error of this module would
make TorchServe look for a handler of its own, and name that one in the log.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class ModelportHandler:
    """Answers batches of requests with the model that lies in the archive; see `torchserve_service`."""

    def initialize(self, context: Any) -> None:
        """Load the model and let it answer its samples; the worker is ready when this returns.

        Args:
            context: TorchServe's context; its ``model_dir`` is the unpacked archive.

        Raises:
            Exception: The model cannot be loaded, or fails on its own samples; TorchServe then tries again.
        """
        folder = Path(context.system_properties["model_dir"]).resolve()
        # Bodies shall come as they were sent, whatever the server's configuration says of them.
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        gpu = context.system_properties.get("gpu_id")
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = _visible_device(int(gpu), os.environ.get("CUDA_VISIBLE_DEVICES"))
        try:
            self._service = _load(folder)
        except Exception as error:
            logger.exception("modelport: the model did not load (%s: %s)", type(error).__name__, error)  # noqa: TRY401  # the runner reads one line
            raise

    def handle(self, batch: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch of requests, one body a request.

        Args:
            batch: A mapping a request: ``{"body": bytes}``, or bytes by the names of form fields or gRPC keys.
            context: TorchServe's context: headers in, status codes and content types out.
        """
        bodies: list[bytes] = self._service.answer(batch, context)
        return bodies


def _visible_device(gpu: int, visible: str | None) -> str:
    """Give the one device that this worker may see, so that the runtime's ``cuda`` is the GPU that it was given.

    Args:
        gpu: TorchServe's number of it, counted over the visible ones.
        visible: ``CUDA_VISIBLE_DEVICES`` as inherited, or None.
    """
    return visible.split(",")[gpu].strip() if visible else str(gpu)


def _load(folder: Path) -> Any:
    # The archive's own runtime, not one that happens to be installed where the server runs.
    sys.path.insert(0, str(folder))
    import modelport_runtime

    origin = Path(modelport_runtime.__file__ or "").resolve().parent
    if origin != folder / "modelport_runtime":
        raise FileNotFoundError(f"the archive holds no modelport_runtime; {origin} would be used instead")
    from modelport_runtime.runtime import Runtime
    from modelport_runtime.torchserve_service import TorchServeService

    return TorchServeService(Runtime.load(folder))
