"""One deployment at a time: two that change the same place would each take the other for what ran before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelport.errors import ServerFailed


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Keep other deployments of ``what`` on this machine away for the length of the block.

    A process that is killed gives its turn back. The file that is locked stays: one that is removed while somebody
    waits for it is no lock.

    Raises:
        ServerFailed: One is under way.
    """
    path = lock_file(what)
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServerFailed(f"{path}: {error.strerror}; it keeps two deployments of {what} apart") from error
    with os.fdopen(number, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = file.read().strip() or "unknown"
            raise ServerFailed(
                f"{what}: another deployment is under way (process {other}), and nothing was changed; wait until it "
                "has ended"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def lock_file(what: str) -> Path:
    """Give the file that stands for the turn: the same for all processes of this user."""
    name = hashlib.sha256(what.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"modelport-{os.getuid()}-{name}.lock"
