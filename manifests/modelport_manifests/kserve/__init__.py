"""KServe: what fits its deployment mode, and an error for what the mode would ignore."""

from .target import KServe

__all__ = ["KServe"]
