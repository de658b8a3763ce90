"""Helm charts: the objects of plain Kubernetes with places to fill in, the values that fill them, and their schema."""

from .target import Helm

__all__ = ["Helm"]
