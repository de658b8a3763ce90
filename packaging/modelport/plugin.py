"""Plug-ins: classes that installed distributions name in an entry-point group."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from modelport.errors import SpecError


def plugin_names(group: str) -> tuple[str, ...]:
    """Names of all that is registered in a group, sorted."""
    return tuple(sorted(_registered(group)))


def load_plugin(group: str, name: str, what: str) -> tuple[object, str]:
    """Make one: its class without arguments.

    Args:
        group: The entry-point group.
        name: The name that it is registered by.
        what: What such a plug-in is, for messages: ``"backend"``.

    Returns:
        The object, and where it comes from (``package.module:Class``).

    Raises:
        SpecError: No installed distribution registers the name.
    """
    registered = _registered(group)
    if name not in registered:
        near = get_close_matches(name, registered, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"no {what} is called {name!r}; installed: {', '.join(sorted(registered))}.{hint}")
    return registered[name].load()(), registered[name].value


def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
