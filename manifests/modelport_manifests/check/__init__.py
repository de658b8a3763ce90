"""Checks manifests, generated or edited by hand, for what works otherwise than it reads.

A file is read with the position of every key (`reading`), sorted into what is applied together (`folder`,
`kustomize`), seen as objects and their pods (`objects`), and each rule gives findings: of fields (`fields`) and their
values (`values`, `amounts`), pods (`pods`, `running`, `rights`, `storage`), references (`selecting`), replicas
(`scaling`), KServe (`kserve`), Compose (`compose`) and the servers' own configuration (`servers`). Rules are functions
of a `World`; they know nothing of files.
"""

from modelport_manifests.check.finding import Finding, Severity
from modelport_manifests.check.folder import check_folder

__all__ = ["Finding", "Severity", "check_folder"]
