"""Kubernetes manifests: builders by kind that return data, and the target that arranges them for Kustomize."""

from .base import plan_base
from .overlays import canary_overlays
from .target import Kubernetes

__all__ = ["Kubernetes", "canary_overlays", "plan_base"]
