"""The actions of GitHub's marketplace that a workflow uses, each at one commit.

A tag can be moved to other code; a commit cannot. No commit here was guessed: each stands with the same version in
several public repositories that pin it, and `Action.version` is what they call it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Attributes:
        name: Owner and repository.
        version: The release's tag.
        commit: What the tag pointed to: 40 hexadecimal digits.
    """

    name: str
    version: str
    commit: str

    @property
    def use(self) -> str:
        """What stands after ``uses:``."""
        return f"{self.name}@{self.commit}"


CHECKOUT = Action("actions/checkout", "v6.0.2", "de0fac2e4500dabe0009e67214ff5f5447ce83dd")
SETUP_PYTHON = Action("actions/setup-python", "v6.2.0", "a309ff8b426b58ec0e2a45f0f869d46889d02405")
UPLOAD = Action("actions/upload-artifact", "v6.0.0", "b7c566a772e6b6bfb58ed0dc250532a479d7789f")
DOWNLOAD = Action("actions/download-artifact", "v7.0.0", "37930b1c2abaa49bbe596cd826c3c89aef350131")
CACHE = Action("actions/cache", "v5.0.3", "cdf6c1fa76f9f475f3d7449005a359c84ca0f306")
SETUP_QEMU = Action("docker/setup-qemu-action", "v3.7.0", "c7c53464625b32c7a7e944ae62b3e17d2b600130")
SBOM = Action("anchore/sbom-action", "v0.24.0", "e22c389904149dbc22b58101806040fa8d37a610")
SCAN = Action("anchore/scan-action", "v7.4.0", "e1165082ffb1fe366ebaf02d8526e7c4989ea9d2")
COSIGN = Action("sigstore/cosign-installer", "v4.0.0", "faadad0cce49287aee09b3a48701e75088a2c6ad")

ACTIONS = (CHECKOUT, SETUP_PYTHON, UPLOAD, DOWNLOAD, CACHE, SETUP_QEMU, SBOM, SCAN, COSIGN)


def note_versions(text: str) -> str:
    """Write the version behind each action of a workflow, for people and for what renews the pins."""
    for action in ACTIONS:
        text = text.replace(f"uses: {action.use}\n", f"uses: {action.use}  # {action.version}\n")
    return text
